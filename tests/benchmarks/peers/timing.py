"""How long the work takes, without the imports, as the last line of the output; and a file by its address."""

import json
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager

import requests


@contextmanager
def timed() -> Iterator[None]:
    """Print the seconds that the block takes as a JSON object."""
    started = time.monotonic()
    yield
    print("\n" + json.dumps({"seconds": time.monotonic() - started}))  # noqa: T201


def fetch(address: str, path: str) -> None:
    """Download a file."""
    with requests.get(address, stream=True, timeout=600) as answer, open(path, "wb") as out:
        answer.raise_for_status()
        shutil.copyfileobj(answer.raw, out, 1 << 20)


def local(address: str) -> str:
    """A path as it is; what an address leads to, as a file that is gone after the program."""
    if "://" not in address:
        return address
    file = tempfile.NamedTemporaryFile(suffix=".parquet")  # noqa: SIM115 - open to the end
    _open.append(file)
    fetch(address, file.name)
    return file.name


_open: list[object] = []
