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

from elt.catalogue import Column, Dataset
from elt.conforming.stream import Split
from elt.errors import PermanentError
from elt.formats.parquet_pages import LONGEST_FOOTER

COLUMNS = (Column("id", "int64", "Key."), Column("note", "string", "Any.", required=False))
DATASET = Dataset("own", "Own", "/own.parquet", "own", "id", COLUMNS)
# MB of the whole process, with Arrow's libraries.
BOUND = 300
ROWS, WIDTH = 350, 1_000_000
CONFORM = """
import sys
from elt.catalogue import Column, Dataset
from elt.conforming.stream import Split, write
notes = sys.argv[3:]
columns = (Column("id", "int64", "Key."), *(Column(name, "string", "Any.", required=False) for name in notes))
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


def varint(value: int) -> bytes:
    return bytes([value & 127 | 128]) + varint(value >> 7) if value > 127 else bytes([value])


def pages(file: Path, texts: list[str], encoding: str = "PLAIN") -> None:
    """Texts in pages of one row group, none by a dictionary."""
    rows = pa.table({"id": range(len(texts)), "note": texts})
    how = {"use_dictionary": False, "column_encoding": {"note": encoding}, "compression": "zstd"}
    pq.write_table(rows, file, write_batch_size=8, max_rows_per_page=1 << 30, **how)


NOTES = [f"note_{n}" for n in range(100)]


def hundred(file: Path) -> None:
    """A hundred columns of texts, in one page of 4 MB each: some programs write a page for a row group."""
    texts = [pa.array([f"{n}{c:012d}" for n in range(200_000)]) for c in range(4)]
    rows = pa.table([pa.array(range(200_000)), *texts * 25], ["id", *NOTES])
    how = {"use_dictionary": False, "compression": "zstd", "data_page_size": 1 << 30}
    pq.write_table(rows, file, max_rows_per_page=1 << 30, **how)


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
    "pages.parquet": lambda file: pages(file, [f"{n}{WIDE[:400_000]}" for n in range(ROWS)]),
    "distinct.parquet": lambda file: pages(file, [f"{n:060d}" for n in range(700_000)]),
    "shared.parquet": lambda file: pages(file, [WIDE * 8] * 9 + ["x"] * ROWS, "DELTA_BYTE_ARRAY"),
    "parquet": lambda file: table(file, "note"),
    "hundred.parquet": hundred,
    "unknown.parquet": lambda file: table(file, "other"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_of_wide_rows_takes_no_more_memory_than_any_other(name: str, tmp_path: Path) -> None:
    file = tmp_path / name
    FILES[name](file)
    form = name.split(".", 1)[-1] if name.count(".") > ("gz" in name) else name
    notes = NOTES if name == "hundred.parquet" else ["note"]
    command = [sys.executable, "-c", CONFORM, file, form, *notes]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    rows, quarantined, peak = map(int, done.stdout.split())
    assert rows + quarantined >= (2 if name.startswith(("one-line", "unclosed")) else ROWS)
    assert peak < BOUND, f"{peak} MB"


def refused(file: Path) -> str:
    with (
        file.open("rb") as content,
        pytest.raises(PermanentError) as why,
        Split(content, DATASET, None) as parts,
    ):
        list(parts)
    return str(why.value)


def test_a_page_or_dictionary_that_unpacks_to_more_than_is_read_is_refused_with_the_remedy(tmp_path):
    texts = pa.table({"id": range(100), "note": [f"{n}{WIDE}" for n in range(100)]})
    for number, how in enumerate(({"use_dictionary": False}, {"dictionary_pagesize_limit": 1 << 30})):
        file = tmp_path / f"{number}.parquet"
        pq.write_table(texts, file, compression="zstd", data_page_size=1 << 30, **how)
        assert file.stat().st_size < WIDTH
        assert "at most are read. Write smaller pages, or longest_row=" in refused(file)


def test_what_a_footer_says_of_sizes_is_not_believed(tmp_path):
    """The page says otherwise: 100 MB, where the footer tells of 100 bytes."""
    texts = pa.table({"id": range(100), "note": [f"{n}{WIDE}" for n in range(100)]})
    file = tmp_path / "lie.parquet"
    pq.write_table(texts, file, compression="zstd", data_page_size=1 << 30, use_dictionary=False)
    content = file.read_bytes()
    about = pq.ParquetFile(file).metadata.row_group(0).column(1)
    told = varint(2 * about.total_uncompressed_size)
    # As long as the truth, so that nothing else moves.
    lie = bytes([*([0x80] * (len(told) - 1)), 1])
    assert content.count(told, len(content) // 2)
    head, _, tail = content.rpartition(told)
    file.write_bytes(head + lie + tail)
    assert (
        pq.ParquetFile(file).metadata.row_group(0).column(1).total_uncompressed_size == 1 << 7 * len(told) - 8
    )
    assert "at most are read" in refused(file)


def test_a_footer_that_is_too_long_is_refused(tmp_path):
    file = tmp_path / "long.parquet"
    rows = pa.table({"id": [1], "note": ["a"]}).replace_schema_metadata({"k": "x" * LONGEST_FOOTER})
    pq.write_table(rows, file)
    assert "its footer has" in refused(file)
