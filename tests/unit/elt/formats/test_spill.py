"""Columns whose pages are too large to be unpacked side by side: read in parts, and the same rows."""

from itertools import accumulate, pairwise
from uuid import UUID

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from elt.formats.parquet_reader import ParquetReader
from elt.formats.spill import side_by_side, spilled

ROWS = 120_000


def every_kind() -> pa.Table:
    """Three times what may be unpacked at once, where rows are short."""
    numbers = range(ROWS)
    columns = {
        "list": pa.array([[n] for n in numbers]),
        "id": pa.array(numbers),
        "few": pa.array([f"text {n % 50}" for n in numbers]),
        # Its dictionary is full after a while.
        "many": pa.array([f"a rather long text {n}" for n in numbers]),
        "half": pa.array([n / 2 if n % 3 else None for n in numbers]),
        "uuid": pa.array([UUID(int=n).bytes for n in numbers], pa.uuid()),
        "again": pa.array(numbers),
    }
    return pa.table(columns)


def int96(last: str) -> pa.Table:
    """Moments, the last of them another than there are in microseconds."""
    moments = pa.array(range(ROWS - 1)).cast(pa.timestamp("ns"))
    moments = pa.concat_arrays([moments, pa.array([last]).cast(pa.timestamp("ns"))])
    return pa.table({"id": range(ROWS), "at": moments, "text": [f"text number {n}" for n in range(ROWS)]})


@pytest.mark.parametrize(
    "table", [every_kind(), int96("2024-01-01T12:00:00.000000001")], ids=["every kind", "INT96"]
)
def test_a_row_group_has_the_same_rows_read_in_parts(table, tmp_path):
    """Its pages take more than is unpacked at once where the longest row is short."""
    file = tmp_path / "wide.parquet"
    pages = {"data_page_size": 1 << 30, "max_rows_per_page": 1 << 30, "row_group_size": ROWS - 1_000}
    pq.write_table(table, file, use_deprecated_int96_timestamps=True, **pages)

    def read(longest: int) -> list[pa.RecordBatch]:
        with file.open("rb") as content:
            return list(ParquetReader(content, set(table.column_names), longest))

    whole, parts = read(1 << 24), read(1 << 12)
    assert [batch.schema.names for batch in parts] == [table.column_names] * len(parts)
    for name in table.column_names:
        values = [value for batch in parts for value in batch.column(name).to_pylist()]
        assert values == [value for batch in whole for value in batch.column(name).to_pylist()]


CUTS = st.lists(st.integers(0, 20), max_size=20)


@given(CUTS, CUTS)
def test_columns_that_are_cut_at_other_rows_are_put_side_by_side(one, two):
    rows = max(sum(one), sum(two))

    def part(name: str, cuts: list[int]) -> list[pa.RecordBatch]:
        ends = [*accumulate(cuts), rows]
        return [pa.record_batch({name: range(start, end)}) for start, end in pairwise([0, *ends])]

    batches = list(side_by_side([part("a", one), part("b", two)]))
    assert [row for batch in batches for row in batch.to_pylist()] == [{"a": n, "b": n} for n in range(rows)]


def test_a_column_with_fewer_rows_than_another_is_refused():
    parts = [[pa.record_batch({name: range(rows)})] for name, rows in (("a", 2), ("b", 3))]
    with pytest.raises(ValueError, match="different numbers of rows"):
        list(side_by_side(parts))


def test_batches_come_back_as_they_were_whatever_their_schemas():
    texts = pa.array(["a", "b", "a"]).dictionary_encode()
    batches = [pa.record_batch({"x": column}) for column in ([1, 2], [3], texts, texts.slice(1), ["a"])]
    with spilled(batches) as again:
        assert list(again) == batches
    with spilled([]) as again:
        assert list(again) == []
