"""What becomes of every row of a raw file, whatever its shape. No I/O."""

import datetime as dt
from decimal import Decimal

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from taxi import trips, with_column

from elt.catalogue import Column, Dataset
from elt.catalogue.registry import DATASETS
from elt.conforming.casting import as_text, cast
from elt.conforming.rows import Conformed, conform
from elt.conforming.schema import ARROW, bind, quarantine_schema, typed_schema
from elt.errors import PermanentError
from elt.periods import Month

YELLOW, JANUARY = DATASETS["yellow"], Month(2024, 1)


def run(table: pa.Table, ds: Dataset = YELLOW, month: Month | None = JANUARY, size: int = 40) -> Conformed:
    """Conform a whole table in batches; both parts in one piece."""
    parts = list(conform(table.to_batches(max_chunksize=size), bind(table.schema, ds, month)))
    typed = pa.Table.from_batches([part.typed for part in parts], typed_schema(ds)).combine_chunks()
    rejected = [part.quarantined for part in parts if part.quarantined is not None]
    quarantined = pa.Table.from_batches(rejected, quarantine_schema(table.schema))
    assert len(typed) + len(quarantined) == len(table)
    return Conformed(typed, quarantined)


def reasons(table: pa.Table, **how: object) -> list[str]:
    return run(table, **how).quarantined["reason"].to_pylist()


def test_todays_layout_comes_out_in_the_catalogues_schema():
    typed, quarantined, _ = run(trips())
    assert typed.schema == typed_schema(YELLOW)
    assert len(quarantined) == 0
    assert typed["pu_location_id"].to_pylist() == trips()["PULocationID"].to_pylist()
    assert typed["total_amount"].to_pylist() == trips()["total_amount"].to_pylist()


def test_rows_of_another_month_are_quarantined_whole_with_the_reason():
    typed, quarantined, _ = run(trips(strays=3))
    assert len(typed) == 97
    assert quarantined.schema.names == [*trips().schema.names, "reason"]
    assert quarantined["reason"][0].as_py() == (
        "tpep_pickup_datetime 2008-12-31 23:02:30.000000 is outside 2024-01"
    )
    assert quarantined["fare_amount"].to_pylist() == ["10.25", "17.25", "24.25"]


@pytest.mark.parametrize(
    ("moment", "inside"),
    [("2024-01-01T00:00:00", True), ("2023-12-31T23:59:59.999999", False),
     ("2024-01-31T23:59:59.999999", True), ("2024-02-01T00:00:00", False)],
)  # fmt: skip
def test_a_month_begins_and_ends_at_midnight(moment, inside):
    pickup = pa.array([dt.datetime.fromisoformat(moment)], pa.timestamp("us"))
    typed, _, _ = run(with_column(trips(rows=1), "tpep_pickup_datetime", pickup))
    assert len(typed) == inside


def test_a_row_without_its_key_is_quarantined():
    table = trips(rows=3)
    pickups = table["tpep_pickup_datetime"].to_pylist()
    table = with_column(table, "tpep_pickup_datetime", pa.array([None, *pickups[1:]], pa.timestamp("us")))
    assert reasons(table) == ["tpep_pickup_datetime (null) is missing"]


def test_a_fraction_of_a_passenger_is_quarantined_and_a_whole_one_is_not():
    table = with_column(trips(rows=4), "passenger_count", pa.array([1.0, 1.5, None, 2.0]))
    assert run(table).typed["passenger_count"].to_pylist() == [1, None, 2]
    assert reasons(table) == ["passenger_count 1.5 is not int16"]


def test_a_number_too_large_is_quarantined():
    table = with_column(trips(rows=2), "PULocationID", pa.array([70_000, 1], pa.int64()))
    assert reasons(table) == ["PULocationID 70000 is not int16"]


def test_all_reasons_of_a_row_are_told():
    table = with_column(trips(rows=2, strays=1), "passenger_count", pa.array([1.5, 1.0]))
    assert reasons(table) == [
        "tpep_pickup_datetime 2008-12-31 23:02:30.000000 is outside 2024-01; passenger_count 1.5 is not int16"
    ]


def test_nan_where_a_whole_number_belongs_is_no_value():
    table = with_column(trips(rows=2), "passenger_count", pa.array([float("nan"), 1.0]))
    assert run(table).typed["passenger_count"].to_pylist() == [None, 1]


def test_nan_of_an_amount_stays():
    table = with_column(trips(rows=1), "tip_amount", pa.array([float("nan")]))
    assert pc.is_nan(run(table).typed["tip_amount"]).to_pylist() == [True]


@pytest.mark.parametrize(
    "name", ["congestion_surcharge", "Airport_fee", "passenger_count", "store_and_fwd_flag"]
)
def test_an_untyped_column_becomes_nulls_of_its_type(name):
    table = with_column(trips(rows=5), name, pa.nulls(5))
    typed, quarantined, _ = run(table)
    assert typed[name.lower()].null_count == 5
    assert len(quarantined) == 0


@pytest.mark.parametrize("kind", [pa.int8(), pa.int32(), pa.int64(), pa.uint64(), pa.float32(), pa.float64()])
def test_a_flip_of_number_types_changes_nothing(kind):
    table = trips(rows=20)
    flipped = with_column(table, "PULocationID", table["PULocationID"].combine_chunks().cast(kind))
    assert run(flipped).typed.equals(run(table).typed)


def test_amounts_may_come_as_whole_numbers_or_decimals():
    whole = with_column(trips(rows=2), "extra", pa.array([1, 2], pa.int32()))
    exact = with_column(trips(rows=2), "extra", pa.array([Decimal("1.00"), Decimal("2.00")]))
    assert run(whole).typed["extra"].to_pylist() == run(exact).typed["extra"].to_pylist() == [1.0, 2.0]


@pytest.mark.parametrize("unit", ["s", "ms", "ns"])
def test_a_flip_of_time_units_changes_nothing(unit):
    table = trips(rows=20)
    pickups = table["tpep_pickup_datetime"].combine_chunks().cast(pa.timestamp(unit))
    assert run(with_column(table, "tpep_pickup_datetime", pickups)).typed.equals(run(table).typed)


@pytest.mark.parametrize("spelling", ["airport_fee", "Airport_fee", "AIRPORT_FEE", " Airport_fee"])
def test_a_columns_case_does_not_matter(spelling):
    table = trips(rows=2)
    renamed = table.rename_columns([spelling if n == "Airport_fee" else n for n in table.schema.names])
    assert run(renamed).typed["airport_fee"].to_pylist() == [0.0, 0.0]


def test_a_column_is_missed_in_months_that_had_it_only():
    older = trips("2018-06", rows=3).drop_columns(["congestion_surcharge", "Airport_fee"])
    typed, _, _ = run(older, month=Month(2018, 6))
    assert typed["congestion_surcharge"].null_count == typed["airport_fee"].null_count == 3
    with pytest.raises(PermanentError, match="column congestion_surcharge is lost"):
        run(trips("2019-06").drop_columns(["congestion_surcharge"]), month=Month(2019, 6))
    with pytest.raises(PermanentError, match="column cbd_congestion_fee is lost"):
        run(trips("2025-01").drop_columns(["cbd_congestion_fee"]), month=Month(2025, 1))


def test_coordinates_stand_in_for_zones_in_years_without_them_only():
    table = trips("2014-03", rows=2).drop_columns(["PULocationID"])
    with pytest.raises(PermanentError, match="column pu_location_id is lost"):
        run(table, month=Month(2014, 3))
    typed, _, _ = run(table.append_column("pickup_longitude", pa.array([-73.9, -73.8])), month=Month(2014, 3))
    assert typed["pu_location_id"].null_count == 2
    assert typed["pickup_longitude"].to_pylist() == [-73.9, -73.8]
    of_2010 = trips("2010-03", rows=2).append_column("pickup_longitude", pa.array([-73.9, -73.8]))
    with pytest.raises(PermanentError, match="column pickup_latitude is lost"):
        run(of_2010, month=Month(2010, 3))


def test_texts_become_the_codes_they_stand_for():
    table = with_column(trips(rows=4), "payment_type", pa.array(["CSH", " No ", "Credit", None]))
    assert run(table).typed["payment_type"].to_pylist() == [2, 3, 1, None]
    table = with_column(trips(rows=3), "VendorID", pa.array(["2", "VTS", "2.0"]).dictionary_encode())
    assert run(table).typed["vendor_id"].to_pylist() == [2, 2, 2]


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string()])
def test_a_text_that_is_no_known_code_quarantines_its_row(kind):
    table = with_column(trips(rows=2), "payment_type", pa.array(["Bitcoin", "CSH"], kind))
    assert reasons(table) == ["payment_type Bitcoin is not a known code"]
    assert run(table).typed["payment_type"].to_pylist() == [2]


@pytest.mark.parametrize(
    ("given", "flags"),
    [(pa.array([0.0, 1.0, float("nan")]), ["N", "Y", None]), (pa.array([0, 1, None]), ["N", "Y", None]),
     (pa.array(["Y", " ", "*"]), ["Y", None, None]), (pa.nulls(3), [None] * 3)],
)  # fmt: skip
def test_a_flag_may_have_been_a_number(given, flags):
    table = with_column(trips(rows=3), "store_and_fwd_flag", given)
    assert run(table).typed["store_and_fwd_flag"].to_pylist() == flags


OWN = Dataset(
    name="own", title="Own", path="/{year}-{month}.parquet", table="own", key="at",
    first=Month(2024, 1),
    columns=(
        Column("at", "timestamp", "Key."), Column("open", "bool", "Whether."), Column("on", "date", "Day."),
    ),
)  # fmt: skip


def test_moments_with_a_zone_are_instants_and_their_month_is_utc():
    at = pa.array(
        ["2024-01-31T23:59:59Z", "2024-01-31T23:00:00-02:00", "2024-02-01T00:30:00+01:00", "2024-01-02"]
    )
    table = pa.table({"at": at, "open": ["true", "0", None, "1"], "on": ["2024-01-01", None, None, None]})
    typed, quarantined, _ = run(table, ds=OWN)
    assert [str(moment) for moment in typed["at"].to_pylist()] == [
        "2024-01-31 23:59:59+00:00",
        "2024-01-31 23:30:00+00:00",
    ]
    assert typed["open"].to_pylist() == [True, None]
    assert quarantined["reason"].to_pylist() == [
        "at 2024-01-31T23:00:00-02:00 is outside 2024-01",
        "at 2024-01-02 is not timestamp",
    ]


def test_a_lost_column_stops_the_load_and_is_named():
    with pytest.raises(PermanentError, match=r"yellow_tripdata_2024-01.parquet: column total_amount is lost"):
        run(trips().drop_columns(["total_amount"]))


def test_an_unknown_column_is_reported_as_drift_and_ignored():
    table = trips(rows=2).append_column("__index_level_0__", pa.array([1, 2]))
    assert bind(table.schema, YELLOW, JANUARY).drift == ("__index_level_0__",)
    assert run(table).typed.equals(run(trips(rows=2)).typed)


def test_two_columns_for_one_are_refused():
    table = trips(rows=1).append_column("airport_fee", pa.array([1.0]))
    with pytest.raises(PermanentError, match="Airport_fee and airport_fee are both airport_fee"):
        run(table)


@pytest.mark.parametrize("kind", [pa.int64(), pa.float64(), pa.bool_()])
def test_a_number_is_not_taken_for_a_time(kind):
    table = with_column(trips(rows=1), "tpep_pickup_datetime", pa.array([1]).cast(kind))
    with pytest.raises(
        PermanentError, match=rf"tpep_pickup_datetime has type {kind}, which cannot become datetime"
    ):
        run(table)


def test_a_nested_column_is_not_taken_for_a_number():
    table = with_column(trips(rows=1), "extra", pa.array([[1.0]]))
    with pytest.raises(PermanentError, match="cannot become float64"):
        run(table)


def test_a_nested_column_that_nobody_knows_still_reaches_the_quarantine():
    table = trips(rows=1, strays=1).append_column("extras", pa.array([[1.0, 2.0]]))
    assert run(table).quarantined["extras"].to_pylist() == ["[1.0, 2.0]"]


def test_text_with_a_nul_or_broken_utf8_is_quarantined_legibly():
    flags = pa.array([b"N", b"a\0b", b"\xff"]).view(pa.string())
    table = with_column(trips(rows=3), "store_and_fwd_flag", flags)
    typed, quarantined, _ = run(table)
    assert len(typed) == 1
    assert quarantined["store_and_fwd_flag"].to_pylist() == ["a\0b", "\\xff"]
    quarantined.validate(full=True)


def test_dictionary_encoded_text_is_text():
    table = trips(rows=4)
    encoded = table["store_and_fwd_flag"].combine_chunks().dictionary_encode()
    assert run(with_column(table, "store_and_fwd_flag", encoded)).typed.equals(run(table).typed)


def test_a_file_of_text_only_conforms_like_a_typed_one():
    table = trips(rows=20)
    text = pa.table({name: as_text(table[name].combine_chunks()) for name in table.schema.names})
    assert run(text).typed.equals(run(table).typed)


def test_text_that_is_no_time_is_quarantined():
    table = with_column(
        trips(rows=2), "tpep_pickup_datetime", pa.array(["2024-13-45", "2024-01-02 03:04:05"])
    )
    assert reasons(table) == ["tpep_pickup_datetime 2024-13-45 is not datetime"]


def test_a_dataset_without_months_takes_rows_of_any_time():
    zones = pa.table({"LocationID": ["1", "x", None], "Borough": ["a", "b", "c"], "Zone": ["z", "z", "z"],
                      "service_zone": [None, "s", "s"]})  # fmt: skip
    typed, quarantined, _ = run(zones, ds=DATASETS["zones"], month=None)
    assert typed["location_id"].to_pylist() == [1]
    assert quarantined["reason"].to_pylist() == ["LocationID x is not int16", "LocationID (null) is missing"]


def test_a_batch_without_rows_comes_out_as_a_batch_without_rows():
    table = trips(rows=0)
    assert table.to_batches() == []
    (part,) = conform([pa.RecordBatch.from_pylist([], table.schema)], bind(table.schema, YELLOW, JANUARY))
    assert part.typed.schema == typed_schema(YELLOW)
    assert (part.typed.num_rows, part.quarantined, part.rejected) == (0, None, 0)


def test_a_whole_number_may_end_with_its_decimal_point():
    texts = pa.array(["5.", "5.0", "5.00", "-5.", "5.5", ".", "5.0."])
    array, mask = cast(texts, pa.int16())
    assert array.to_pylist() == [5, 5, 5, -5, None, None, None]
    assert mask.to_pylist() == [False] * 4 + [True] * 3


# Whatever a file has, no row is lost, invented or changed.

ANYTHING = {
    "float": st.floats(allow_subnormal=False),
    "int": st.integers(-(2**63), 2**63 - 1),
    "text": st.text(max_size=5) | st.sampled_from(["1", "1.5", "nan", "2024-01-15 10:00:00", ""]),
    "time": st.datetimes(dt.datetime.fromisoformat("2023-12-30"), dt.datetime.fromisoformat("2024-02-02")),
}
KINDS = {"float": pa.float64(), "int": pa.int64(), "text": pa.string(), "time": pa.timestamp("us")}
SMALL = Dataset(
    name="small", title="For properties", path="/{year}-{month}.parquet", table="small", key="at",
    first=Month(2024, 1),
    columns=(
        Column("at", "datetime", "Key."), Column("count", "int16", "Whole."),
        Column("amount", "float64", "Any."), Column("note", "string", "Text."),
    ),
)  # fmt: skip
sources = st.tuples(
    st.sampled_from(["time", "text"]), st.sampled_from(["float", "int", "text"]),
    st.sampled_from(["float", "int", "text"]), st.sampled_from(["text", "int", "float"]),
)  # fmt: skip


@st.composite
def tables(draw: st.DrawFn) -> pa.Table:
    kinds, rows = draw(sources), draw(st.integers(0, 30))
    columns = [draw(st.lists(st.none() | ANYTHING[kind], min_size=rows, max_size=rows)) for kind in kinds]
    arrays = [pa.array(column, KINDS[kind]) for column, kind in zip(columns, kinds, strict=True)]
    return pa.table(dict(zip(["at", "count", "amount", "note"], arrays, strict=True)))


@settings(max_examples=200, deadline=None)
@given(tables(), st.integers(1, 31))
def test_typed_and_quarantined_are_the_source_row_by_row(table, size):
    typed, quarantined, _ = run(table, ds=SMALL, size=size)
    numbers = pa.types.is_floating(table.schema.field("note").type)

    def shown(notes: list[str | None]) -> list[str]:
        # pandas writes a missing text as NaN.
        return sorted("None" if numbers and note == "nan" else str(note) for note in notes)

    note = as_text(table["note"].combine_chunks()).to_pylist()
    kept = typed["note"].to_pylist()
    assert shown(kept + quarantined["note"].to_pylist()) == shown(note)
    assert all(reason for reason in quarantined["reason"].to_pylist())
    assert all(at.year == 2024 and at.month == 1 for at in typed["at"].to_pylist())


@settings(max_examples=200, deadline=None)
@given(st.lists(st.none() | st.floats(allow_nan=False), max_size=40))
def test_a_cast_keeps_every_value_that_fits_and_marks_every_other(values):
    fits = [v is None or (v == int(v) and -(2**15) <= v < 2**15 if abs(v) < 1e9 else False) for v in values]
    array, mask = cast(pa.array(values, pa.float64()), ARROW["int16"])
    assert array.to_pylist() == [v if ok else None for v, ok in zip(values, fits, strict=True)]
    assert (mask.to_pylist() if mask is not None else [False] * len(values)) == [not ok for ok in fits]
