"""One answer in every store: what conform lets pass, lake, warehouse and Postgres hold, and hold alike."""

import datetime as dt
import math
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from faulty_source import FaultySource

import stacks
from elt.catalogue import Column, Dataset, Publisher
from elt.layout import quarantine_object, typed_object
from elt.warehouse.tables import dataset_table
from stacks import Stack

TYPES: dict[str, Any] = {
    "id": "int64", "small": "int16", "medium": "int32", "double": "float64", "money": "numeric",
    "note": "string", "day": "date", "local": "datetime", "moment": "timestamp", "flag": "bool",
}  # fmt: skip
FIRST, LAST = "0001-01-01", "9999-12-31"
END = "23:59:59.999999"
# Rows as CSV has them; each of the second kind has one value that some store could not hold.
GOOD = [
    "-9223372036854775808,-32768,-2147483648,-1.7976931348623157e308,-99999999999999999999999999999.999999999,"
    f'"two\nlines, ""quoted""",{FIRST},{FIRST} 00:00:00,{FIRST}T00:00:00Z,false',
    "9223372036854775807,32767,2147483647,5e-324,0.000000001,"
    f"\U0001f695 é\u0301,{LAST},{LAST} {END},{LAST}T{END}Z,true",
    "1,+5,1e3,19.99,19.99,0123,2024-01-01,2024-01-01T10:00:00.5000000,2024-01-01T10:00:00+02:00,1",
    "2,,,nan,,,,,,",
    "3,,,-inf,,NULL,,,,",
]
BAD = [
    "9223372036854775808,,,,,,,,,",
    "10,32768,,,,,,,,",
    "11,0x10,,,,,,,,",
    "12,,2147483648,,,,,,,",
    "13,,,1e400,,,,,,",
    "14,,,,0.0000000001,,,,,",
    "15,,,,1e30,,,,,",
    "16,,,,,a\0b,,,,",
    "17,,,,,,0000-12-31,,,",
    "18,,,,,,2024-01-01 12:00:00,,,",
    "19,,,,,,,0000-12-31 00:00:00,,",
    "20,,,,,,,2024-01-01 00:00:00.0000001,,",
    f"21,,,,,,,,{FIRST}T00:00:00+01:00,",
    "22,,,,,,,,2024-01-01 00:00:00,",
    "23,,,,,,,,,yes",
    "24,,,,,,,,,2",
]


def entry(form: str) -> Dataset:
    columns = tuple(Column(name, kind, "Any.", required=name == "id") for name, kind in TYPES.items())
    source = Publisher("taxi_source", "https://example.com")
    return Dataset("exact", "Exact", f"/exact.{form}", "exact", "id", columns, source=source)


def expected() -> list[tuple[Any, ...]]:
    iso, utc = dt.datetime.fromisoformat, dt.UTC
    least = Decimal("-99999999999999999999999999999.999999999")
    return [
        (-(2**63), -(2**15), -(2**31), -1.7976931348623157e308, least, 'two\nlines, "quoted"',
         dt.date.min, iso(FIRST), iso(FIRST).replace(tzinfo=utc), False),
        (1, 5, 1000, 19.99, Decimal("19.99"), "0123",
         dt.date(2024, 1, 1), iso("2024-01-01T10:00:00.5"), iso("2024-01-01T08:00:00+00:00"), True),
        (2, None, None, "nan", None, None, None, None, None, None),
        (3, None, None, -math.inf, None, "NULL", None, None, None, None),
        (2**63 - 1, 2**15 - 1, 2**31 - 1, 5e-324, Decimal("0.000000001"), "\U0001f695 é\u0301",
         dt.date.max, iso(f"{LAST} {END}"), iso(f"{LAST} {END}+00:00"), True),
    ]  # fmt: skip


def comparable(rows: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    """Rows by their id; NaN, which equals nothing, by its name."""
    found = sorted(({name: row[name] for name in TYPES} for row in rows), key=lambda row: row["id"])
    return [
        tuple("nan" if isinstance(value, float) and math.isnan(value) else value for value in row.values())
        for row in found
    ]


@pytest.fixture
def whole(stack: Stack, dsn: str) -> Stack:
    """With a database, too."""
    return stack.with_postgres(dsn)


def test_what_passes_is_the_same_in_every_store_and_all_else_in_quarantine(
    whole: Stack, dsn: str, faulty_source: FaultySource
) -> None:
    ds = entry("csv")
    faulty_source.serve("/exact.csv", "\n".join([",".join(TYPES), *GOOD, *BAD, ""]).encode())
    with whole.warehouse() as warehouse:
        # Of a dataset in the catalogue the stages create it.
        warehouse.create(ds.table, dataset_table(ds))
    for stage in ("download", "conform", "stage", "publish", "postgres"):
        whole.run(stage, ds, None)
    with whole.lake() as lake:
        files = {}
        for name in (typed_object(ds, None), quarantine_object(ds, None)):
            stored = lake.find(name)
            assert stored is not None
            with lake.fetch(stored) as file:
                files[name] = pq.read_table(file)
    typed, quarantine = files.values()
    assert typed.schema.field("money").type == pa.decimal128(38, 9)
    assert comparable(typed.to_pylist()) == expected()
    assert len(quarantine) == len(BAD)
    assert comparable(whole.select(f"SELECT {', '.join(TYPES)} FROM TABLE", "exact")) == expected()
    with stacks.database(dsn) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        cursor = connection.execute("SELECT * FROM exact")
        names = [column.name for column in cursor.description or ()]
        assert comparable([dict(zip(names, row, strict=True)) for row in cursor]) == expected()
