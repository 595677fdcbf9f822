"""Every change that TLC's yellow files are known to have made, 2009 to 2024: each shape conforms."""

import ast
import io
from typing import NamedTuple

import pyarrow as pa
import pytest
import taxi
from repository import TLC

from elt.catalogue.registry import DATASETS
from elt.conforming.stream import Split
from elt.periods import Month

YELLOW = DATASETS["yellow"]
RECORD = TLC / "yellow_drift_2009_2024.txt"


class Change(NamedTuple):
    """What is different from a month on, by column in lower case; physical types of Parquet."""

    month: str
    added: frozenset[str] = frozenset()
    lost: frozenset[str] = frozenset()
    types: tuple[tuple[str, str, str], ...] = ()


def change(month: str, *types: tuple[str, str, str], added: str = "", lost: str = "") -> Change:
    return Change(month, frozenset(added.split()), frozenset(lost.split()), types)


NULL, NUMBER, TEXT, WHOLE = (
    "INT32",
    "DOUBLE",
    "BYTE_ARRAY",
    "INT64",
)  # a column without type is written as INT32
CONGESTION, AIRPORT = "congestion_surcharge", "airport_fee"
CHANGES = (
    change(
        "2010-01", ("rate_code", NUMBER, TEXT),
        added="pickup_longitude tip_amount vendor_id tolls_amount dropoff_datetime dropoff_longitude "
        "pickup_latitude dropoff_latitude store_and_fwd_flag fare_amount pickup_datetime total_amount",
        lost="tip_amt store_and_forward total_amt trip_dropoff_datetime start_lat vendor_name end_lon "
        "end_lat tolls_amt trip_pickup_datetime start_lon fare_amt",
    ),
    change("2010-02", ("rate_code", TEXT, WHOLE), added="__index_level_0__"),
    change("2010-04", ("rate_code", WHOLE, TEXT), lost="__index_level_0__"),
    change(
        "2011-01", ("payment_type", TEXT, WHOLE),
        added="congestion_surcharge pulocationid vendorid improvement_surcharge tpep_dropoff_datetime "
        "airport_fee dolocationid extra tpep_pickup_datetime ratecodeid",
        lost="pickup_longitude vendor_id dropoff_datetime dropoff_longitude surcharge pickup_latitude "
        "rate_code dropoff_latitude pickup_datetime",
    ),
    change("2011-02", (AIRPORT, NUMBER, NULL), (CONGESTION, NUMBER, NULL)),
    change("2011-03", (CONGESTION, NULL, NUMBER)),
    change("2011-04", (CONGESTION, NUMBER, NULL)),
    change("2012-12", (CONGESTION, NULL, NUMBER)),
    change("2013-01", (CONGESTION, NUMBER, NULL)),
    change("2013-05", (CONGESTION, NULL, NUMBER)),
    change("2013-06", (CONGESTION, NUMBER, NULL)),
    change("2014-01", (CONGESTION, NULL, NUMBER)),
    change("2014-02", (CONGESTION, NUMBER, NULL)),
    change("2014-08", ("improvement_surcharge", NUMBER, NULL)),
    change("2014-09", ("improvement_surcharge", NULL, NUMBER)),
    change("2018-01", (AIRPORT, NULL, NUMBER), (CONGESTION, NULL, NUMBER)),
    change("2018-02", (AIRPORT, NUMBER, NULL), (CONGESTION, NUMBER, NULL)),
    change("2018-06", (CONGESTION, NULL, NUMBER)),
    change(
        "2018-07", ("passenger_count", WHOLE, NUMBER), (CONGESTION, NUMBER, NULL),
        ("ratecodeid", WHOLE, NUMBER),
    ),
    change("2018-09", (CONGESTION, NULL, NUMBER)),
    change("2018-10", (CONGESTION, NUMBER, NULL)),
    change("2018-11", (CONGESTION, NULL, NUMBER)),
    change("2018-12", (CONGESTION, NUMBER, NULL)),
    change("2019-01", (CONGESTION, NULL, NUMBER)),
    change("2020-08", (AIRPORT, NULL, NUMBER)),
    change("2020-10", (AIRPORT, NUMBER, NULL)),
    change("2020-11", (AIRPORT, NULL, NUMBER)),
    change(
        "2023-02", ("dolocationid", WHOLE, "INT32"), ("passenger_count", NUMBER, WHOLE),
        ("pulocationid", WHOLE, "INT32"), ("ratecodeid", NUMBER, WHOLE), ("vendorid", WHOLE, "INT32"),
    ),
)  # fmt: skip

# The columns of 2009 in their order, and how later files spell theirs.
FIRST = {
    **dict.fromkeys(("vendor_name", "Trip_Pickup_DateTime", "Trip_Dropoff_DateTime"), TEXT),
    "Passenger_Count": WHOLE,
    **dict.fromkeys(("Trip_Distance", "Start_Lon", "Start_Lat", "Rate_Code", "store_and_forward"), NUMBER),
    **dict.fromkeys(("End_Lon", "End_Lat"), NUMBER),
    "Payment_Type": TEXT,
    **dict.fromkeys(("Fare_Amt", "surcharge", "mta_tax", "Tip_Amt", "Tolls_Amt", "Total_Amt"), NUMBER),
}
SPELT = {"vendorid": "VendorID", "ratecodeid": "RatecodeID", "pulocationid": "PULocationID",
         "dolocationid": "DOLocationID"}  # fmt: skip
WHOLES = {"vendorid", "ratecodeid", "pulocationid", "dolocationid", "payment_type", "__index_level_0__"}
TEXTS = {"vendor_id", "pickup_datetime", "dropoff_datetime", "store_and_fwd_flag"}

# Of three trips: what typed columns shall hold, and how files write it where that is not the same.
EXPECTED = {
    "vendor_id": [2, 1, 3], "passenger_count": [1, 2, 5], "trip_distance": [0.5, 3.25, 12.0],
    "ratecode_id": [1, 2, 99], "store_and_fwd_flag": ["N", "Y", "N"], "payment_type": [1, 2, 3],
    "fare_amount": [4.5, 11.0, 52.0], "extra": [0.5, 0.0, 1.0], "mta_tax": [0.5, 0.5, 0.5],
    "tip_amount": [1.0, 0.0, 10.0], "tolls_amount": [0.0, 0.0, 5.76], "total_amount": [6.5, 11.5, 69.26],
    "pu_location_id": [230, 1, 265], "do_location_id": [48, 132, 264],
    "improvement_surcharge": [0.3, 0.3, 0.3], "congestion_surcharge": [2.5, 0.0, 2.5],
    "airport_fee": [0.0, 1.25, 0.0],
    "pickup_longitude": [-73.99, -73.78, 0.0], "pickup_latitude": [40.75, 40.64, 0.0],
    "dropoff_longitude": [-73.97, -73.87, 0.0], "dropoff_latitude": [40.76, 40.77, 0.0],
}  # fmt: skip
WRITTEN = {
    "vendor_name": ["VTS", "CMT", "DDS"], "vendor_id": ["VTS", "CMT", "DDS"],
    "Payment_Type": ["Credit", "CASH", "No Charge"], "payment_type": ["CRE", "CAS", "No "],
    "store_and_forward": [0.0, 1.0, 0.0], "__index_level_0__": [7, 8, 9],
}  # fmt: skip


def shape(month: str) -> dict[str, str]:
    """The columns of a month's file with their physical types."""
    columns = dict(FIRST)
    for made in CHANGES:
        if made.month > month:
            break
        for name, old, new in made.types:
            lower = {have.lower(): have for have in columns}
            at = lower.get(name)
            assert at is None or columns[at] == old, f"the record contradicts itself at {made.month} {name}"
            if at is not None:
                columns[at] = new
        if made.month == "2010-01":
            # The others are written in lower case from now on, too.
            columns = {name.lower(): kind for name, kind in columns.items()}
        columns = {name: kind for name, kind in columns.items() if name.lower() not in made.lost}
        for name in sorted(made.added):
            kind = TEXT if name in TEXTS else WHOLE if name in WHOLES else NUMBER
            columns[SPELT.get(name, name)] = "TIME" if name.startswith("tpep_") else kind
    if month >= "2023-02":
        columns["Airport_fee"] = columns.pop("airport_fee")
    return columns


def untyped(name: str, kind: str) -> bool:
    return kind == NULL and name.lower() not in WHOLES


def file(month: str) -> bytes:
    """Three trips as the month's file has them."""
    arrays = {}
    for name, kind in shape(month).items():
        values = written(name, month, kind)
        types = {
            TEXT: pa.string(),
            NUMBER: pa.float64(),
            WHOLE: pa.int64(),
            NULL: pa.int32(),
            "TIME": pa.timestamp("us"),
        }
        arrays[name] = pa.nulls(3) if untyped(name, kind) else pa.array(values).cast(types[kind])
    return taxi.parquet(pa.table(arrays))


def written(name: str, month: str, kind: str) -> list[object]:
    if name in WRITTEN and (kind == TEXT or name in ("store_and_forward", "__index_level_0__")):
        return WRITTEN[name]
    if "datetime" in name.lower():
        hours = (10, 11, 12) if "pickup" in name.lower() else (11, 12, 13)
        texts = [f"{month}-28 {hour}:15:30" for hour in hours]
        return texts if kind == TEXT else pa.array(texts).cast(pa.timestamp("us")).to_pylist()
    column = next(column for column in YELLOW.columns if name.lower() in column.known_names)
    return EXPECTED[column.name]


@pytest.mark.parametrize("month", ["2009-01", "2009-12", *(made.month for made in CHANGES), "2024-12"])
def test_a_file_of_every_recorded_shape_conforms_whole(month):
    parts = Split(io.BytesIO(file(month)), YELLOW, Month.parse(month))
    typed = pa.Table.from_batches([part.typed for part in parts])
    assert (parts.rows, parts.quarantined) == (3, 0)
    assert parts.drift == (("__index_level_0__",) if month == "2010-02" else ())
    given = {name.lower(): kind for name, kind in shape(month).items() if not untyped(name, kind)}
    for column in YELLOW.columns:
        values = typed[column.name].to_pylist()
        if column.type == "datetime":
            hours = (10, 11, 12) if "pickup" in column.name else (11, 12, 13)
            assert [str(value) for value in values] == [f"{month}-28 {hour}:15:30" for hour in hours]
        else:
            expected = EXPECTED.get(column.name) if column.known_names & given.keys() else None
            assert values == (expected or [None] * 3), column.name


def test_months_of_2009_and_2010_have_coordinates_and_later_ones_zones():
    for month in ("2009-12", "2010-12", "2011-01"):
        names = {name.lower() for name in shape(month)}
        assert ("pulocationid" in names) == (month > "2011")
        assert bool({"start_lon", "pickup_longitude"} & names) == (month < "2011")


def test_the_changes_are_those_on_record():
    found = []
    for line in RECORD.read_text().splitlines()[1:]:
        month, added, lost, types = ast.literal_eval(line)
        names = [frozenset(text.strip("[]").replace(",", " ").split()) for text in (added, lost)]
        changed = {(name, *kinds) for name, kinds in ast.literal_eval(types or "{}").items()}
        found.append((month, *names, changed))
    assert found == [(made.month, made.added, made.lost, set(made.types)) for made in CHANGES]
