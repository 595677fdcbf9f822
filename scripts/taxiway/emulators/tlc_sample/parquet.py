"""Columns as the Parquet file of their month."""

from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from taxiway.emulators.tlc_sample.months import Month
from taxiway.emulators.tlc_sample.rides import Columns

GROUP_ROWS = 1 << 17


def table(columns: Columns, types: Mapping[str, pa.DataType]) -> pa.Table:
    """Return the columns that `types` names, in its order and types; the month's spelling is in `spelt`."""
    names = columns.get("spelt", {})
    arrays = [_array(columns, name, kind) for name, kind in types.items()]
    return pa.Table.from_arrays(arrays, names=[names.get(name, name) for name in types])


def _array(columns: Columns, name: str, kind: pa.DataType) -> pa.Array:
    if pa.types.is_null(kind):
        return pa.nulls(len(columns["trip_distance"]))
    missing, values = columns["missing"].get(name), columns[name]
    if isinstance(values, pa.Array):
        return (values if missing is None else pc.if_else(missing, None, values)).cast(kind)
    return pa.array(values, mask=missing).cast(kind)


def write_parquet(path: Path, content: pa.Table, month: Month) -> None:
    """Write it as TLC wrote in that year."""
    pq.write_table(content, path, compression=compression(month), row_group_size=GROUP_ROWS, version="2.6")


def compression(month: Month) -> str:
    """Return the codec of the month's real file."""
    if month.year < 2020:
        return "gzip"
    return "snappy" if month.year < 2023 else "zstd"
