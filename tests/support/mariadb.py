"""A real MariaDB, where this machine has one (`apt-get install mariadb-server`)."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest
from emulators import free_port

from elt.connection_fields import ConnectionFields
from taxiway.embedded.postgres import as_ordinary_user


@contextmanager
def running(folder: Path) -> Iterator[ConnectionFields]:
    """Run one in a folder: the connection to its database `shop`. Skips where a program is missing."""
    os.environ["PATH"] = f"{os.environ['PATH']}:/usr/sbin"
    for program in ("mariadbd", "mariadb-install-db"):
        if not shutil.which(program):
            pytest.skip(f"{program} is not installed")
    pymysql = pytest.importorskip("pymysql")
    data = folder / "data"
    # It refuses to run as root.
    prefix = as_ordinary_user()
    subprocess.run(
        [*prefix, "mariadb-install-db", "--no-defaults", "--auth-root-authentication-method=normal",
         "--skip-test-db", f"--datadir={data}"],
        check=True, capture_output=True, timeout=120,
    )  # fmt: skip
    port = free_port()
    command = [
        *prefix, "mariadbd", "--no-defaults", f"--datadir={data}", f"--port={port}",
        "--bind-address=127.0.0.1", f"--socket={data}/socket", "--skip-log-bin",
    ]  # fmt: skip
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    found = ConnectionFields("mysql", "127.0.0.1", "shop", "root", "", port)
    try:
        _wait(found, pymysql, process)
        yield found
    finally:
        process.terminate()
        process.wait(30)


def _wait(found: ConnectionFields, pymysql, process: subprocess.Popen) -> None:
    for _ in range(300):
        try:
            connection = pymysql.connect(host=found.host, port=found.port, user="root", connect_timeout=5)
        except pymysql.OperationalError:
            with suppress(subprocess.TimeoutExpired):
                process.wait(0.1)
                raise
        else:
            with closing(connection), connection.cursor() as cursor:
                cursor.execute("CREATE DATABASE shop CHARACTER SET utf8mb4")
            return
    raise TimeoutError("mariadbd does not answer")


def execute(found: ConnectionFields, *statements: str) -> None:
    """Run statements, each committed."""
    import pymysql

    how = {"host": found.host, "port": found.port, "user": "root", "database": found.schema}
    with closing(pymysql.connect(**how, autocommit=True)) as connection, connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
