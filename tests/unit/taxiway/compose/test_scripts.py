"""The scripts of the image, run here: what a component is started with, what is reported if it cannot be."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import jwt
import pytest
from airflow.api_fastapi.auth.tokens import JWTValidator
from repository import REPOSITORY

SCRIPTS = REPOSITORY / "airflow"
NOBODY = 54321
SECRET = "s" * 64


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """AIRFLOW_HOME as the services have it."""
    for path in (tmp_path, *tmp_path.parents):
        if path.stat().st_uid == os.getuid() and path != Path("/"):
            path.chmod(path.stat().st_mode | 0o011)
    for name in ("dags", "dags_local", "plugins", "logs"):
        (tmp_path / name).mkdir()
    (tmp_path / "logs").chmod(0o777)
    tmp_path.chmod(0o777)
    return tmp_path


def entrypoint(home: Path, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Start `command` as a service would be, as nobody where the tests run as root."""
    drop = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"] if os.getuid() == 0 else []
    environment = {"PATH": os.environ["PATH"], "AIRFLOW_HOME": str(home), "TMPDIR": str(home), **variables}
    return subprocess.run(
        [*drop, "bash", SCRIPTS / "entrypoint", *command],
        env=environment, capture_output=True, text=True, cwd="/", timeout=60,
    )  # fmt: skip


def started_with(home: Path, **variables: str) -> dict[str, str]:
    """The variables that a component finds."""
    done = entrypoint(home, "env", "-0", TAXIWAY_SERVICE="x", **variables)
    assert done.returncode == 0, done.stderr
    text = log_once(home, lambda text: "PATH=" in text)
    return dict(pair.split("=", 1) for pair in text.split("\0") if "=" in pair)


def log_once(home: Path, complete: Callable[[str], bool]) -> str:
    """The component's log as soon as it is complete: its writer outlives the component for a moment."""
    deadline = time.monotonic() + 30
    while not complete(text := (home / "logs" / "x.log").read_text()):
        assert time.monotonic() < deadline, text
    return text


def test_an_empty_variable_is_no_variable(home: Path) -> None:
    found = started_with(home, STORAGE_EMULATOR_HOST="", GCP_LOCATION="EU")
    assert "STORAGE_EMULATOR_HOST" not in found
    assert found["GCP_LOCATION"] == "EU"


def test_without_emulators_nothing_points_at_them(home: Path) -> None:
    addresses = {
        "STORAGE_EMULATOR_HOST": "http://gcs:9023",
        "AIRFLOW_CONN_TAXI_SOURCE": "http://sample-source:9080",
    }
    assert set(addresses) <= set(started_with(home, **addresses))
    (home / "logs" / "x.log").unlink()
    kept = {"EMULATORS_OFF": "1", "BIGQUERY_EMULATOR_HOST": "http://127.0.0.1:1"}
    found = started_with(home, **addresses, **kept)
    assert not set(addresses) & set(found)
    assert found["BIGQUERY_EMULATOR_HOST"] == "http://127.0.0.1:1"


def test_what_prepare_decided_is_taken_unless_something_else_is_set(home: Path) -> None:
    (home / "environment").write_text("TAXI_SCHEDULE_START=2026-01-01\n")
    settings = {"TAXIWAY_SETTINGS": str(home)}
    assert started_with(home, **settings)["TAXI_SCHEDULE_START"] == "2026-01-01"
    (home / "logs" / "x.log").unlink()
    assert (
        started_with(home, TAXI_SCHEDULE_START="2020-02-02", **settings)["TAXI_SCHEDULE_START"]
        == "2020-02-02"
    )


def test_a_component_ends_as_its_program_does_and_its_log_is_kept(home: Path) -> None:
    done = entrypoint(home, "bash", "-c", "echo said; echo wrong >&2; exit 7", TAXIWAY_SERVICE="x")
    assert done.returncode == 7
    assert log_once(home, lambda text: text.count("\n") == 2) == "said\nwrong\n"


@pytest.mark.skipif(os.getuid() != 0, reason="a file that one cannot read oneself takes root to make")
def test_a_credential_file_that_cannot_be_read_is_reported_with_owner_mode_and_remedy(home: Path) -> None:
    file = home / "google_credentials"
    file.write_text("{}")
    file.chmod(0o600)
    done = entrypoint(home, "true", GOOGLE_APPLICATION_CREDENTIALS=str(file))
    assert done.returncode == 1
    assert f"google_credentials cannot be read by uid {NOBODY}" in done.stderr
    assert "owned by 0:0 with mode 600" in done.stderr
    assert "AIRFLOW_UID" in done.stderr


def test_a_token_folder_that_is_not_there_is_reported_by_its_variable(home: Path) -> None:
    done = entrypoint(home, "true", GOOGLE_TOKEN_FOLDER="/nowhere")
    assert done.returncode == 1
    assert "GOOGLE_TOKEN_FOLDER: there is no /nowhere" in done.stderr


def test_a_secret_that_is_not_there_is_reported_by_its_variable(home: Path) -> None:
    done = entrypoint(home, "true", AIRFLOW__CORE__FERNET_KEY_CMD="cat /nowhere/fernet_key")
    assert done.returncode == 1
    assert "AIRFLOW__CORE__FERNET_KEY_CMD: there is no /nowhere/fernet_key" in done.stderr
    assert "prepare" in done.stderr


def test_logs_that_cannot_be_written_are_reported(home: Path) -> None:
    (home / "logs").chmod(0o555)
    done = entrypoint(home, "true") if os.getuid() == 0 else pytest.skip("the owner may always write")
    assert done.returncode == 1
    assert "./logs cannot be written" in done.stderr


def test_the_password_file_that_airflow_opens_for_writing_is_a_private_copy(home: Path) -> None:
    file = home / "passwords.json"
    file.write_text("{}")
    file.chmod(0o444)
    variable = "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE"
    copy = Path(started_with(home, **{variable: str(file)})[variable])
    assert copy != file
    assert copy.stat().st_mode & 0o777 == 0o600


SLEEP = """#!/bin/sh
echo "$1" >>"$TMPDIR/slept"
[ "$(wc -l <"$TMPDIR/slept")" -lt 3 ] || touch "$TMPDIR/ready"
"""


def test_a_probe_waits_for_the_first_success_and_sleeps_before_each_later_one(tmp_path: Path) -> None:
    """With a `sleep` that takes no time: at its third call the service is ready."""
    sleep = tmp_path / "bin" / "sleep"
    sleep.parent.mkdir()
    sleep.write_text(SLEEP)
    sleep.chmod(0o755)
    paths = {"PATH": f"{sleep.parent}:{os.environ['PATH']}", "TMPDIR": str(tmp_path)}
    command = ["bash", SCRIPTS / "probe", "test", "-e", tmp_path / "ready"]

    def slept() -> list[str]:
        return (tmp_path / "slept").read_text().split()

    assert subprocess.run(command, env={**paths, "PROBE_PAUSE": "7"}, timeout=60).returncode == 0
    assert slept() == ["0.3"] * 3
    assert subprocess.run(command, env={**paths, "PROBE_PAUSE": "7"}, timeout=60).returncode == 0
    assert slept()[3:] == ["7"]
    command[-1] = tmp_path / "gone"
    assert subprocess.run(command, env={**paths, "PROBE_PAUSE": "7"}, timeout=60).returncode != 0


class Server(ThreadingHTTPServer):
    """An API server as far as its health and its tokens go, which it judges as Airflow's does."""

    path = "/execution"
    validator = JWTValidator(
        secret_key=SECRET,
        audience="urn:airflow.apache.org:task",
        required_claims=frozenset({"aud", "exp", "iat"}),
        leeway=0,
    )


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        if self.path == f"{self.server.path}/health":
            return self._answer(200)
        if not self.path.startswith(f"{self.server.path}/variables/"):
            return self._answer(404)
        bearer = self.headers.get("Authorization", "").removeprefix("Bearer ")
        try:
            claims = self.server.validator.validated_claims(bearer)
        except jwt.InvalidTokenError:
            return self._answer(403)
        # A token for workloads alone may do no more than start one.
        return self._answer(404 if claims["sub"] and claims["scope"] == "execution" else 500)

    def _answer(self, code: int) -> None:
        body = json.dumps({"dag_processor": {"status": "healthy"}}, separators=(",", ":")).encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None: ...


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server(("127.0.0.1", 0), Handler)
    threading.Thread(target=made.serve_forever, daemon=True).start()
    yield made
    made.shutdown()
    made.server_close()


def accepts(url: str, **variables: str) -> subprocess.CompletedProcess[str]:
    script = REPOSITORY / "scripts" / "taxiway" / "compose" / "api_accepts.py"
    environment = {
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": url,
        "AIRFLOW_HOME": os.environ["AIRFLOW_HOME"],
        "PATH": os.environ["PATH"],
        "TAXIWAY_API_SECONDS": "0.2",
        **variables,
    }
    return subprocess.run(
        [sys.executable, script, "svc"], env=environment, capture_output=True, text=True, timeout=120
    )


def test_a_server_that_accepts_this_services_tokens_is_waited_for_in_silence(
    server: Server, tmp_path: Path
) -> None:
    url = f"http://127.0.0.1:{server.server_port}/execution/"
    # As the shell reads it: Airflow splits the command so, and a folder may have a space in its name.
    (tmp_path / "the secret").write_text(SECRET)
    by_command = {"AIRFLOW__API_AUTH__JWT_SECRET_CMD": f"cat '{tmp_path / 'the secret'}'"}
    for variables in ({}, by_command):
        done = accepts(url, **variables)
        assert (done.returncode, done.stderr) == (0, "")


def test_another_secret_than_the_servers_is_named_as_the_cause(server: Server) -> None:
    url = f"http://127.0.0.1:{server.server_port}/execution/"
    done = accepts(url, AIRFLOW__API_AUTH__JWT_SECRET="another" * 10)
    assert done.returncode == 1
    assert "AIRFLOW__API_AUTH__JWT_SECRET is not the same" in done.stderr
    assert "another" not in done.stderr


def test_an_execution_url_where_no_server_is_is_named_as_the_cause(server: Server) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        nowhere = f"http://127.0.0.1:{probe.getsockname()[1]}/execution/"
    for url in (
        nowhere,
        f"http://127.0.0.1:{server.server_port}/wrong/",
        "http://no.such.host.invalid/execution/",
    ):
        done = accepts(url)
        assert done.returncode == 1
        assert f"AIRFLOW__CORE__EXECUTION_API_SERVER_URL={url}" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "well"),
    [
        (("/execution/health",), True),
        (("/execution/health", '"dag_processor":{"status":"healthy"'), True),
        (("/execution/health", '"dag_processor":{"status":"unhealthy"'), False),
        (("/nothing",), False),
    ],
)
def test_http_ok_tells_an_answer_of_200_from_any_other(
    server: Server, arguments: tuple[str, ...], well: bool
) -> None:
    command = ["bash", SCRIPTS / "http-ok", "127.0.0.1", str(server.server_port), *arguments]
    assert (subprocess.run(command).returncode == 0) == well


def test_http_ok_fails_where_nobody_listens() -> None:
    assert subprocess.run(["bash", SCRIPTS / "http-ok", "127.0.0.1", "1", "/"]).returncode != 0
