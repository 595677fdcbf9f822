"""Each type of a file into each of the catalogue: what is typed is what another reader says, all else is in
quarantine. The other reader is DuckDB, over the same Parquet file.
"""

import datetime as dt
import io
import math
from decimal import Decimal
from pathlib import Path
from typing import Any, get_args

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from elt.catalogue import Column, Dataset
from elt.catalogue.model import Type
from elt.conforming.rows import conform
from elt.conforming.schema import bind
from elt.errors import PermanentError
from elt.formats.parquet_reader import ParquetReader

DAY, MIDNIGHT = dt.date(2024, 1, 1), dt.datetime.fromisoformat("2024-01-01")
NUMBERS = st.one_of(
    st.integers(-3, 3),
    st.integers(-(2**63), 2**63 - 1),
    st.sampled_from([2**53 + 1, -(2**53) - 1, 2**31, -(2**15) - 1, 10**18]),
)
MOMENTS = st.one_of(
    st.integers(-(10**10), 10**11),
    st.dates(dt.date(1600, 1, 1), dt.date(2300, 1, 1)).map(
        lambda day: (day - dt.date(1970, 1, 1)).days * 86400
    ),
)


def whole(kind: pa.DataType) -> st.SearchStrategy[Any]:
    limit = 2 ** (kind.bit_width - 1)
    low, high = (0, 2 * limit - 1) if pa.types.is_unsigned_integer(kind) else (-limit, limit - 1)
    return NUMBERS.map(lambda number: min(max(number, low), high))


def decimals(precision: int, scale: int) -> st.SearchStrategy[Any]:
    # By its text: arithmetic would round to 28 digits.
    return st.integers(1 - 10**precision, 10**precision - 1).map(lambda digits: Decimal(f"{digits}E-{scale}"))


def moments(unit: str) -> st.SearchStrategy[Any]:
    per = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[unit]
    limit = 2**63 - 1
    return st.builds(
        lambda seconds, part: min(max(seconds * per + part, -limit), limit),
        MOMENTS,
        st.one_of(st.just(0), st.integers(0, per - 1)),
    )


TEXTS = st.one_of(
    NUMBERS.map(str),
    NUMBERS.map("+{}".format),
    NUMBERS.map("{}.00".format),
    st.floats().map(repr),
    st.decimals(-(10**9), 10**9, places=2).map(str),
    st.builds("{}e{:+d}".format, st.decimals(-10, 10, places=4), st.integers(-40, 40)),
    st.dates().map(str),
    st.datetimes().map(str),
    st.datetimes().map(lambda moment: moment.isoformat() + "Z"),
    st.sampled_from(
        ["true", "FALSE", "0", "1", "2", "yes", "0x10", "1e3", "-1E-2", "1e400", "inf", "nan", "NULL"]
    ),
    st.sampled_from(
        ["", " ", " 5 ", "1_000", "1,5", "٣", "2024-01-01 00:00:00.1234560", "2024-02-30", "24:00"]
    ),
    st.text(max_size=5),
)
FLOATS = st.one_of(st.floats(), st.floats(-1e6, 1e6).map(lambda value: round(value, 2)), NUMBERS.map(float))
ASCII = st.characters(min_codepoint=32, max_codepoint=126)
SOURCES: dict[str, tuple[pa.DataType, st.SearchStrategy[Any]]] = {
    **{str(kind): (kind, whole(kind)) for kind in (
        pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()
    )},
    "float": (pa.float32(), st.floats(width=32)),
    "double": (pa.float64(), FLOATS),
    "decimal(9,2)": (pa.decimal128(9, 2), decimals(9, 2)),
    "decimal(38,0)": (pa.decimal128(38, 0), st.one_of(decimals(38, 0), decimals(31, 0), decimals(29, 0))),
    "decimal(38,9)": (pa.decimal128(38, 9), decimals(38, 9)),
    "decimal(38,20)": (pa.decimal128(38, 20), decimals(38, 20)),
    "bool": (pa.bool_(), st.booleans()),
    "string": (pa.string(), TEXTS),
    "large_string": (pa.large_string(), TEXTS),
    "binary": (pa.binary(), TEXTS.map(str.encode)),
    "string_view": (pa.string_view(), TEXTS),
    "binary_view": (pa.binary_view(), TEXTS.map(str.encode)),
    "uuid": (pa.uuid(), st.uuids().map(lambda value: value.bytes)),
    "fixed": (pa.binary(4), st.text(ASCII, min_size=4, max_size=4).map(str.encode)),
    "half": (pa.float16(), st.floats(width=16)),
    "dictionary": (pa.dictionary(pa.int32(), pa.string()), TEXTS),
    "date": (pa.date32(), st.one_of(MOMENTS.map(lambda s: s // 86400), st.integers(-(10**8), 10**8))),
    **{f"timestamp[{unit}]": (pa.timestamp(unit), moments(unit)) for unit in ("ms", "us", "ns")},
    **{f"timestamp[{unit}, UTC]": (pa.timestamp(unit, "UTC"), moments(unit)) for unit in ("ms", "us", "ns")},
}  # fmt: skip
# The catalogue's types in DuckDB.
TARGETS: dict[str, str] = {
    "int16": "SMALLINT", "int32": "INTEGER", "int64": "BIGINT", "float64": "DOUBLE", "bool": "BOOLEAN",
    "numeric": "DECIMAL(38, 9)", "string": "VARCHAR",
    "date": "DATE", "datetime": "TIMESTAMP", "timestamp": "TIMESTAMPTZ",
}  # fmt: skip


def table(kind: pa.DataType, values: list[Any]) -> pa.Table:
    number = pa.types.is_temporal(kind)
    given = (
        pa.array(values, pa.int32() if kind.bit_width == 32 else pa.int64()).view(kind) if number else None
    )
    return pa.table({"id": range(len(values)), "value": given if number else pa.array(values, kind)})


def conformed(file: io.BytesIO, target: str) -> tuple[dict[int, Any], dict[int, str]]:
    """Typed values as Arrow scalars, and reasons for quarantine, by row."""
    columns = (Column("id", "int64", "Row."), Column("value", target, "Any.", required=False))  # type: ignore[arg-type]
    ds = Dataset("own", "Own", "/own.parquet", "own", "id", columns)
    reader = ParquetReader(file, frozenset(("id", "value")))
    typed, reasons = {}, {}
    for part in conform(reader, bind(reader.schema, ds, None)):
        typed.update(zip(part.typed["id"].to_pylist(), part.typed["value"], strict=True))
        for row in part.quarantined.to_pylist() if part.quarantined else ():
            reasons[int(row["id"])] = row["reason"]
    return typed, reasons


def test_every_type_of_the_catalogue_is_tried() -> None:
    assert set(TARGETS) == set(get_args(Type))


@pytest.mark.parametrize("source", SOURCES)
@settings(deadline=None, max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_value_is_what_another_reader_says_or_in_quarantine(
    source: str, tmp_path: Path, data: st.DataObject
) -> None:
    kind, values = SOURCES[source]
    given = data.draw(st.lists(st.one_of(st.none(), values), min_size=1, max_size=25))
    pq.write_table(table(kind, given), tmp_path / "file.parquet")
    content = (tmp_path / "file.parquet").read_bytes()
    said = reference(tmp_path / "file.parquet")
    for number, target in enumerate(TARGETS):
        try:
            typed, reasons = conformed(io.BytesIO(content), target)
        except PermanentError as error:
            assert "which cannot become" in str(error) or "depends on the zone" in str(error)
            continue
        assert sorted([*typed, *reasons]) == list(range(len(given)))
        for row, value in typed.items():
            other = said[row][number]
            assert same(value, other, given[row]), (source, target, given[row], value, other)


def reference(path: Path) -> list[tuple[Any, ...]]:
    """DuckDB's value of each row in each type, moments as microseconds."""
    casts = [f"TRY_CAST(value AS {kind})" for kind in TARGETS.values()]
    moments = [f"epoch_us({cast})" if "TIMESTAMP" in cast else cast for cast in casts]
    with duckdb.connect() as db:
        db.execute("SET TimeZone = 'UTC'")
        file = f"read_parquet('{path}', binary_as_string=true)"
        return db.execute(f"SELECT {', '.join(moments)} FROM {file} ORDER BY id").fetchall()


def same(value: pa.Scalar, said: Any, given: Any) -> bool:
    """Whether a typed value is the other reader's."""
    if not value.is_valid:
        # pandas writes what is missing as NaN.
        return given is None or (isinstance(given, float) and math.isnan(given))
    found = value.value if pa.types.is_timestamp(value.type) else value.as_py()
    if isinstance(given, float) and not isinstance(found, float):
        # By its shortest spelling; DuckDB goes by the binary fraction, and writes 1 as 1.0.
        return float(found) == given or float(pa.scalar(float(found), pa.float32()).as_py()) == given
    if isinstance(given, Decimal) and isinstance(found, str):
        return Decimal(found) == Decimal(said)
    if isinstance(given, Decimal) and isinstance(found, float):
        # DuckDB rounds twice where there are more digits than a double has; Python once.
        return found == float(given)
    if said is None and isinstance(given, (str, bytes)) and isinstance(found, (int, float, Decimal)):
        # What DuckDB cannot read as this type, such as 0.0001e30, though it fits.
        return Decimal(given if isinstance(given, str) else given.decode()) == Decimal(found)
    if isinstance(found, float):
        return found == said or (math.isnan(found) and math.isnan(said))
    return type(found) is type(said) and bool(found == said)


@pytest.mark.parametrize(
    ("target", "texts", "typed"),
    [
        ("int64", ["+5", " 5", "5.", "5.000", "5e0", "0.5e1", "50E-1"], 5),
        ("int64", ["-0", "0e5", "+0.0"], 0),
        ("float64", ["+5", " 5 ", "5.", "5e0", "05"], 5.0),
        ("numeric", ["+5", " 5 ", "5.", "5e0", "5.0000000000000", "0.5E1"], Decimal(5)),
        ("numeric", ["1.2345678e+22", "12345678000000000000000"], Decimal(12345678000000000000000)),
        ("date", ["2024-01-01", " 2024-01-01", "2024-01-01 00:00:00", "2024-01-01T00:00:00.000"], DAY),
        ("datetime", ["2024-01-01", "2024-01-01 00:00", "2024-01-01T00:00:00.0000000"], MIDNIGHT),
        ("bool", ["true", " TRUE", "1"], True),
    ],
)  # fmt: skip
def test_a_spelling_that_leaves_the_value_as_it_is_is_taken(
    target: str, texts: list[str], typed: Any
) -> None:
    file = io.BytesIO()
    pq.write_table(table(pa.string(), texts), file)
    found, reasons = conformed(file, target)
    assert not reasons
    assert [value.as_py() for value in found.values()] == [typed] * len(texts)


@pytest.mark.parametrize(
    ("target", "texts"),
    [
        (
            "int64",
            ["0x10", "1_000", "1,000", "5.5", "1e-1", "+-5", "٣", "9223372036854775808", "1e99", "5 5", ""],
        ),
        ("float64", ["0x10", "1_000", "1e400", "-1e999", "--5", "1,5", ""]),
        (
            "numeric",
            [
                "0.0000000001",
                "1e30",
                "1e400",
                "6.61018477230794e-228",
                "1.7976e+30",
                "1" + "0" * 99,
                "nan",
                "inf",
                "0x1",
            ],
        ),
        ("date", ["2024-02-30", "2024-01-01 12:00:00", "0000-12-31", "10000-01-01", "01/02/2024", ""]),
        (
            "datetime",
            ["2024-01-01 00:00:00.0000001", "2024-01-01T00:00:00Z", "2024-01-01 24:00:00", "0000-01-01"],
        ),
        ("timestamp", ["2024-01-01 00:00:00", "0001-01-01T00:00:00+01:00", "9999-12-31T23:59:59-01:00"]),
        ("bool", ["yes", "t", "2", "-1", "1.0", ""]),
    ],
)
def test_a_text_that_would_become_another_value_is_quarantined(target: str, texts: list[str]) -> None:
    file = io.BytesIO()
    pq.write_table(table(pa.string(), texts), file)
    _, reasons = conformed(file, target)
    assert list(reasons.values()) == [f"value {text} is not {target}" for text in texts]


@pytest.mark.parametrize("target", ["date", "datetime"])
def test_a_moment_in_a_zone_is_not_taken_for_a_local_time(target: str) -> None:
    file = io.BytesIO()
    pq.write_table(table(pa.timestamp("us", "America/New_York"), [0]), file)
    with pytest.raises(PermanentError, match=r"moments in America/New_York, .* Describe it as a timestamp"):
        conformed(file, target)
    typed, _ = conformed(file, "timestamp")
    assert typed[0].value == 0


def test_bytes_of_a_fixed_length_are_a_uuid_or_text_as_the_file_says() -> None:
    file = io.BytesIO()
    values = [bytes(range(16)), None, b"0123456789abcdef"]
    pq.write_table(table(pa.uuid(), values), file, store_schema=False)
    found, _ = conformed(file, "string")
    assert found[0].as_py() == "00010203-0405-0607-0809-0a0b0c0d0e0f"
    assert [value.is_valid for value in found.values()] == [True, False, True]
    plain = io.BytesIO()
    pq.write_table(table(pa.binary(16), [*values[1:], b"\xff" * 16]), plain)
    found, reasons = conformed(plain, "string")
    assert [value.as_py() for value in found.values()] == [None, "0123456789abcdef"]
    assert list(reasons) == [2]
