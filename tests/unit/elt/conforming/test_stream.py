"""A raw file on its way to Parquet: its rows, or nothing, and in either case no file or thread left open.

Errors are held until all is checked, and with them whatever their frames still refer to.
"""

import gzip
import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from taxi import parquet, trips

from elt.catalogue import Column, Dataset
from elt.catalogue.model import LONGEST_ROW
from elt.catalogue.registry import DATASETS
from elt.conforming.rows import RowCountError, conform
from elt.conforming.schema import bind
from elt.conforming.stream import Split, write
from elt.errors import PermanentError, TransientError
from elt.formats.batches import BEGINNING
from elt.formats.parquet_writer import GROUP_ROWS, ParquetWriter
from elt.periods import Month

YELLOW, JANUARY = DATASETS["yellow"], Month(2024, 1)
OWN = Dataset(
    "own", "Own", "/own.csv", "own", "id", (Column("id", "int64", "Key."), Column("note", "string", "Any.")),
)  # fmt: skip


def open_files() -> int:
    return len(list(Path("/dev/fd").iterdir()))


def prefetching() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "prefetch"]


def csv(rows: int, last: bytes = b"") -> io.BytesIO:
    return io.BytesIO(b"id,note\n" + b"".join(b"%d,%s\n" % (n, b"x" * 50) for n in range(rows)) + last)


def test_a_file_is_written_as_two_and_its_counts_add_up():
    with Split(io.BytesIO(parquet(trips(rows=300, strays=5))), YELLOW, JANUARY) as parts:
        typed, quarantine = write(parts)
    with typed, quarantine:
        assert (parts.rows, parts.quarantined) == (295, 5)
        assert (pq.read_table(typed).num_rows, pq.read_table(quarantine).num_rows) == (295, 5)


def test_without_rows_for_quarantine_there_is_no_file_of_them():
    before = open_files()
    with Split(csv(3), OWN, None) as parts:
        typed, quarantine = write(parts)
    assert quarantine is None
    assert open_files() == before + 1
    typed.close()


@pytest.mark.parametrize("how", ["no row fits", "ended before the end"])
def test_a_refused_file_leaves_neither_open_files_nor_threads(how: str):
    if how == "no row fits":
        content, entry = csv(0, b"x,y\n" * 2_000), OWN
    else:
        # Several row groups are through by then.
        content = io.BytesIO(gzip.compress(csv(2 * GROUP_ROWS).getvalue(), 1)[:-9])
        entry = replace(OWN, path="/own.csv.gz")
    before = open_files()
    with pytest.raises(PermanentError, match=how) as refusal, Split(content, entry, None) as parts:
        typed, quarantine = write(parts)
        with typed, quarantine:
            parts.refuse_if_empty()
    assert (open_files(), prefetching()) == (before, [])
    assert refusal.value.__traceback__ is not None


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"x,y\n", "id x is not int64"),
        (b"1,2,3\n", "the line has 3 values for 2 columns ('1,2,3')"),
        (b'1,"open\n', "the line is not CSV: unexpected end of data ('1,\"open')"),
    ],
)
def test_a_file_of_which_no_row_fits_is_refused_with_the_first_reason(line: bytes, reason: str):
    with Split(csv(0, line), OWN, None) as parts:
        list(parts)
        with pytest.raises(PermanentError) as refusal:
            parts.refuse_if_empty("gs://lake/there")
    assert str(refusal.value) == (
        f"own.csv: no row fits (1 rows, all for quarantine). The first: {reason}. Look at them in gs://lake/there"
    )


def test_a_file_of_too_many_names_is_refused_in_a_sentence_of_readable_length():
    names = ",".join(f"{n}{'x' * 99}" for n in range(9_000)).encode()
    with pytest.raises(PermanentError, match=r"column id is lost .*… and 8,980 more") as refusal:
        Split(io.BytesIO(names), OWN, None)
    assert len(str(refusal.value)) < 2_000


@pytest.mark.parametrize("name", ["reason", "Reason", "source_line", "note"])
def test_readers_can_open_a_quarantine_of_columns_with_any_name(name: str):
    content = b"id,note,%s\nx,a,b\n1,2,3\n" % name.encode()
    ds = replace(OWN, columns=(OWN.columns[0],))
    with Split(io.BytesIO(content), ds, None) as parts:
        typed, quarantine = write(parts)
    with typed, quarantine:
        (row,) = pq.read_table(quarantine).to_pylist()
    assert row == {
        "id": "x", "note": "a", f"{name}_2": "b", "source_line": None, "reason": "id x is not int64"
    }  # fmt: skip


class Full(io.BytesIO):
    """A disk that fills up."""

    def read(self, size: int = -1, /) -> bytes:
        if self.tell() > 5 << 20:
            raise OSError(28, "No space left on device")
        return super().read(size)


def test_an_error_that_is_not_the_files_closes_everything_too():
    before, content = open_files(), Full(csv(200_000).getvalue())
    with pytest.raises(PermanentError, match="No space left"), Split(content, OWN, None) as parts:
        write(parts)
    assert (open_files(), prefetching()) == (before, [])


def test_whoever_stops_reading_leaves_no_thread_behind():
    with Split(csv(200_000), OWN, None) as parts:
        assert next(iter(parts)).typed.num_rows
        assert prefetching() != []
    assert prefetching() == []


def test_a_file_that_lacks_a_column_is_not_read_ahead_any_more():
    content = io.BytesIO(b"id,other\n" + b"1,x\n" * 1_000_000)
    with pytest.raises(PermanentError, match="column note is lost") as refusal:
        Split(content, OWN, None)
    assert prefetching() == []
    assert refusal.value.__traceback__ is not None


def test_a_header_that_is_no_csv_is_not_read_ahead_any_more():
    with pytest.raises(PermanentError, match="corrupt CSV") as refusal:
        Split(io.BytesIO(b'id,"note\n' + b"1,x\n" * 1_000_000), OWN, None)
    assert prefetching() == []
    assert refusal.value.__traceback__ is not None


def test_a_writer_that_is_left_by_an_error_closes_its_file_even_when_it_was_finished():
    before, schema = open_files(), pa.schema([pa.field("id", pa.int64())])
    with pytest.raises(TransientError), ParquetWriter(schema) as writer:
        writer.add(pa.RecordBatch.from_pydict({"id": [1]}, schema))
        writer.finish()
        raise TransientError("the other file could not be finished")
    assert open_files() == before


def test_a_parquet_file_that_announces_more_rows_than_it_has_is_corrupt():
    content = parquet(trips(rows=4321))
    # Its row count as Thrift's compact protocol writes it; the row groups with theirs come behind.
    announced, more = b"\x16\xc2\x43\x19", b"\x16\xc4\x43\x19"
    with (
        Split(io.BytesIO(content.replace(announced, more, 1)), YELLOW, JANUARY) as parts,
        pytest.raises(PermanentError, match=r"corrupt Parquet \(it announces 4,322 rows and has 4,321\)"),
    ):
        write(parts)


class Longer:
    """A batch that claims a row more than its columns have."""

    def __init__(self, batch: pa.RecordBatch) -> None:
        self._batch, self.num_rows = batch, batch.num_rows + 1

    def __getattr__(self, name: str) -> object:
        return getattr(self._batch, name)


def test_rows_that_vanish_are_an_error_that_nobody_retries():
    table = pa.table({"id": ["1", "2"], "note": ["a", "b"]})
    with pytest.raises(
        RowCountError, match=r"own.csv: 3 rows became 2 typed and 0 quarantined. This is a defect of conform"
    ):
        list(conform([Longer(*table.to_batches())], bind(table.schema, OWN, None)))
    assert issubclass(RowCountError, PermanentError)


# A file of a few kB that is gigabytes once it is decoded


TEXTS = replace(OWN, path="/own.parquet")
MIB = 1 << 20


# What was allocated from a pool needs it to the end.
POOLS: list[pa.MemoryPool] = []


@contextmanager
def counted() -> Iterator[pa.MemoryPool]:
    """Arrow's memory, counted from here on."""
    before = pa.default_memory_pool()
    POOLS.append(pool := pa.proxy_memory_pool(before))
    pa.set_memory_pool(pool)
    try:
        yield pool
    finally:
        pa.set_memory_pool(before)


def bomb(rows: int, column: str = "note", key: int | None = 1, *, typed: bool = False) -> io.BytesIO:
    """One text, and for each row a number that refers to it."""
    note = pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), pa.array(["x" * MIB]))
    table = pa.table({"id": pa.array([key] * rows, pa.int64()), column: note})
    if column != "note":
        table = table.append_column("note", pa.array(["y"] * rows))
    file = io.BytesIO()
    # As most writers leave it: the pages have a dictionary, and the file's schema says text.
    pq.write_table(table, file, dictionary_pagesize_limit=64 * MIB, compression="zstd", store_schema=typed)
    assert file.tell() < 20_000
    file.seek(0)
    return file


@pytest.mark.parametrize("how", [{}, {"typed": True}, {"key": None}])
def test_a_small_file_of_a_huge_text_is_read_in_pieces_of_bounded_bytes(how):
    """Also where its schema says dictionary, and where each row goes into quarantine."""
    file, rows, largest = bomb(200, **how), 0, 0
    with counted() as pool, Split(file, TEXTS, None) as parts:
        for part in conform(parts._raw.batches, parts._binding):
            rows += part.typed.num_rows + part.rejected
            largest = max(largest, part.typed.nbytes)
    assert rows == 200
    assert largest < 16 * MIB
    assert pool.max_memory() < 100 * MIB


def test_groups_are_written_as_large_as_memory_allows_and_no_larger():
    """A reader of many small groups is slow, and a group is in memory until it is written."""
    with Split(csv(2 * GROUP_ROWS + 1), OWN, None) as parts:
        typed, _ = write(parts)
    with typed:
        written = pq.ParquetFile(typed).metadata
    sizes = [written.row_group(number).num_rows for number in range(written.num_row_groups)]
    assert sum(sizes) == 2 * GROUP_ROWS + 1
    assert all(GROUP_ROWS <= rows < 1.3 * GROUP_ROWS for rows in sizes[:-1])


def test_a_group_to_write_is_bounded_in_bytes_too():
    file = bomb(150)
    with counted() as pool, Split(file, TEXTS, None) as parts:
        typed, _ = write(parts)
    with typed:
        assert pq.ParquetFile(typed).metadata.num_rows == 150
    assert pool.max_memory() < 150 * MIB


@pytest.mark.parametrize("encoding", ["DELTA_BYTE_ARRAY", "DELTA_LENGTH_BYTE_ARRAY", "PLAIN"])
def test_texts_are_read_whatever_they_are_written_as(encoding: str):
    file = io.BytesIO()
    rows = [{"id": n, "note": f"note {n}"} for n in range(30_000)]
    how = {"use_dictionary": False, "column_encoding": {"note": encoding}}
    pq.write_table(pa.Table.from_pylist(rows), file, row_group_size=20_000, **how)
    with Split(file, replace(OWN, path="/own.parquet"), None) as parts:
        assert [row for part in parts for row in part.typed.to_pylist()] == rows


@pytest.mark.parametrize("dictionary", [True, False])
def test_a_value_that_is_too_long_is_quarantined_by_its_beginning(dictionary: bool):
    file = io.BytesIO()
    notes = ["a", "x" * (LONGEST_ROW + 1), "b"]
    pq.write_table(pa.table({"id": [1, 2, 3], "note": notes}), file, use_dictionary=dictionary)
    with Split(file, replace(OWN, path="/own.parquet"), None) as parts:
        found = list(parts)
    assert [row["id"] for part in found for row in part.typed.to_pylist()] == [1, 3]
    (row,) = [row for part in found if part.quarantined for row in part.quarantined.to_pylist()]
    assert (row["id"], row["note"]) == ("2", "x" * BEGINNING)
    assert row["reason"].startswith("the row has 16,777,217 bytes of text, and 16,777,216 at most are read")


def test_a_column_that_nobody_knows_is_not_decoded():
    file = bomb(200, column="payload")
    chunk = pq.read_metadata(file).row_group(0).column(1)
    # Its pages are none: whoever reads them fails.
    file.seek(chunk.dictionary_page_offset)
    file.write(b"\xff" * chunk.total_compressed_size)
    file.seek(0)
    with counted() as pool, Split(file, TEXTS, None) as parts:
        assert sum(part.typed.num_rows for part in parts) == 200
    assert parts.drift == ("payload",)
    assert pool.max_memory() < 16 * MIB
