"""The emulated cloud for tests: its services as processes, on free ports, with data of their own."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import recorded

PROJECT = "taxiway-test"


def free_port() -> int:
    """Return a port of the loopback interface that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Service:
    """One service as a process; it keeps its port and its log when it is started again."""

    def __init__(
        self,
        module: str,
        folder: Path,
        options: tuple[str, ...],
        port: int = 0,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._module, self._options, self.folder = module, options, folder
        self._environment = {**os.environ, **(environment or {})}
        self._log, self.exchanges = folder / f"{module}.log", folder / f"{module}.exchanges"
        self._port = port or free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"http://127.0.0.1:{self._port}"

    def start(self) -> Self:
        """Start it; it is not healthy yet."""
        command = [
            sys.executable,
            recorded.__file__,
            str(self.exchanges),
            f"taxiway.emulators.{self._module}",
        ]
        command += ["--port", str(self._port)]
        with self._log.open("ab") as stream:
            self._process = subprocess.Popen(
                [*command, *self._options], stdout=stream, stderr=stream, env=self._environment
            )
        return self

    def wait_until_healthy(self, seconds: float = 120) -> Self:
        """Return once /healthz answers. Raises TimeoutError with the end of the log."""
        deadline = time.monotonic() + seconds
        while self._process and self._process.poll() is None and time.monotonic() < deadline:
            try:
                with urllib.request.urlopen(f"{self.url}/healthz", timeout=1):
                    return self
            except (urllib.error.URLError, OSError):
                time.sleep(0.02)
        raise TimeoutError(f"{self.url} did not become healthy:\n{self._log.read_text()[-2000:]}")

    @property
    def pid(self) -> int:
        """The process's id."""
        assert self._process is not None
        return self._process.pid

    def kill(self) -> None:
        """End it as a power cut would."""
        if self._process:
            self._process.kill()
            self._process.wait()

    def stop(self) -> int:
        """End it politely, after ten seconds otherwise; return its exit code."""
        if self._process is None:
            return 0
        self._process.terminate()
        try:
            return self._process.wait(10)
        except subprocess.TimeoutExpired:
            self.kill()
            return -9

    def wait(self, seconds: float = 30) -> int:
        """Return its exit code once it has ended of itself."""
        return self._process.wait(seconds) if self._process else 0

    def log(self) -> str:
        """Return all that it logged."""
        return self._log.read_text()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()
        self.judge()

    def judge(self) -> None:
        """Fail if it was asked or answered what Google's discovery documents do not know."""
        faults = recorded.faults_in(self.exchanges)
        assert not faults, "\n".join(faults)


@dataclass(frozen=True)
class Emulators:
    """The running services: base URLs without a trailing slash, and where their data lies."""

    folder: Path
    storage_url: str
    bigquery_url: str
    control_plane_url: str
    source_url: str
    bigquery_grpc: str
    token: str = ""
    project: str = PROJECT
    location: str = "US"

    def environment(self) -> dict[str, str]:
        """Return the variables that point Google's clients, and the library, at these services."""
        return {
            "STORAGE_EMULATOR_HOST": self.storage_url,
            "BIGQUERY_EMULATOR_HOST": self.bigquery_url,
            "GCP_PROJECT_ID": self.project,
            "GOOGLE_CLOUD_PROJECT": self.project,
            "GCP_LOCATION": self.location,
            "AIRFLOW_CONN_TAXI_SOURCE": json.dumps({"conn_type": "http", "host": self.source_url}),
        }


def services(folder: Path, grpc_port: int = 0, token: str = "") -> list[Service]:
    """Return storage, warehouse, control plane and sample source, not started; their data is in `folder`.

    With a `token`, all but the sample source answer only clients that carry it.
    """
    lake = folder / "gcs" / "objects"
    warehouse = ("--data", str(folder / "bigquery"), "--lake-root", str(lake), "--grpc-port", str(grpc_port))
    guarded: tuple[str, ...] = ()
    if token:
        (folder / "token").write_text(token + "\n")
        guarded = ("--token-file", str(folder / "token"))
    return [
        Service("gcs", folder, ("--data", str(folder / "gcs"), *guarded)),
        Service("bigquery", folder, (*warehouse, *guarded)),
        Service("iam", folder, ("--data", str(folder / "control_plane"), *guarded)),
        Service("tlc_sample", folder, ("--cache", str(folder / "sample_source"), "--rows", "2000")),
    ]


@contextmanager
def running(folder: Path, token: str = "") -> Iterator[Emulators]:
    """Run all services; their data go with them, so there is nothing to save at the end."""
    with ExitStack() as stack:
        grpc_port = free_port()
        started = services(folder, grpc_port, token)
        for service in started:
            stack.callback(service.judge)
            stack.callback(service.start().kill)
        urls = [service.wait_until_healthy().url for service in started]
        yield Emulators(folder, *urls, f"127.0.0.1:{grpc_port}", token)
