"""Memory that does not grow with a file, however wide its rows: each file in a process of its own."""

import gzip
import io
import json
import subprocess
import sys
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

# MB of the whole process, with Arrow's libraries.
BOUND = 300
ROWS, WIDTH = 350, 1_000_000
CONFORM = """
import sys
from elt.catalogue import Column, Dataset
from elt.conforming.stream import Split, write
columns = (Column("id", "int64", "Key."), Column("note", "string", "Any.", required=False))
ds = Dataset("own", "Own", "/own." + sys.argv[2], "own", "id", columns)
with open(sys.argv[1], "rb") as file, Split(file, ds, None) as parts:
    typed, rejected = write(parts)
peak = int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0]) // 1024
print(parts.rows, parts.quarantined, peak)
"""


def compressed(lines: Iterable[bytes]) -> bytes:
    buffer = io.BytesIO()
    with gzip.GzipFile(fileobj=buffer, mode="wb", compresslevel=1) as file:
        file.writelines(lines)
    return buffer.getvalue()


def csv(note: str) -> Iterator[bytes]:
    yield b"id,note\n"
    yield from (f"{n},{note}\n".encode() for n in range(ROWS))


def table(file: Path, name: str) -> None:
    """350 MB of texts in few bytes; `name`: of a column that somebody knows, or not."""
    texts = pa.DictionaryArray.from_arrays(pa.array([0] * ROWS, pa.int32()), ["x" * WIDTH])
    pq.write_table(pa.table({"id": range(ROWS), name: texts}), file)


WIDE = "x" * WIDTH
FILES = {
    "jsonl.gz": lambda file: file.write_bytes(
        compressed(json.dumps({"id": n, "note": WIDE}).encode() + b"\n" for n in range(ROWS))
    ),
    "csv.gz": lambda file: file.write_bytes(compressed(csv(WIDE))),
    "quoted.csv.gz": lambda file: file.write_bytes(compressed(csv(f'"{WIDE[1:]}\n"'))),
    "malformed.csv.gz": lambda file: file.write_bytes(compressed(csv(f'"{WIDE}"x'))),
    "unclosed.csv.gz": lambda file: file.write_bytes(compressed(csv(f'"{WIDE}'))),
    "one-line.jsonl.gz": lambda file: file.write_bytes(
        compressed(chain([b'{"id": 1}\n'], (WIDE.encode() for _ in range(ROWS))))
    ),
    "parquet": lambda file: table(file, "note"),
    "unknown.parquet": lambda file: table(file, "other"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_of_wide_rows_takes_no_more_memory_than_any_other(name: str, tmp_path: Path) -> None:
    file = tmp_path / name
    FILES[name](file)
    form = name.split(".", 1)[-1] if name.count(".") > ("gz" in name) else name
    command = [sys.executable, "-c", CONFORM, file, form]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    rows, quarantined, peak = map(int, done.stdout.split())
    assert rows + quarantined >= (2 if name.startswith(("one-line", "unclosed")) else ROWS)
    assert peak < BOUND, f"{peak} MB"
