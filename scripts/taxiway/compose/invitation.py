"""All that a worker on another host is trusted with, as a tar file."""

from __future__ import annotations

import sys
import tarfile
from pathlib import Path
from typing import IO

FILES = (
    "broker/broker_url", "broker/result_backend", "taxi/pg_service.conf",
    "emulator/credentials.json", "google/secret", "gateway/worker.pem",
    "gateway/gateway.crt", "settings/environment",
)  # fmt: skip
"""What an `airflow-worker` of this host has, and the worker's end of the gateway."""


def write(to: IO[bytes], root: Path = Path("/run/taxiway")) -> None:
    """Write it; whoever unpacks it owns it."""
    with tarfile.open(fileobj=to, mode="w|") as tar:
        for name in FILES:
            entry = tar.gettarinfo(root / name, name)
            entry.mode = 0o440
            with (root / name).open("rb") as content:
                tar.addfile(entry, content)


if __name__ == "__main__":
    write(sys.stdout.buffer)
