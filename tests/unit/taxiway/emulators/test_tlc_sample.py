"""The generator behind the sample source: TLC's layouts and dirt, the same every time."""

import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from repository import TLC

from elt.catalogue import registry as catalogue
from elt.conforming.stream import Split
from elt.periods import Month
from taxiway.emulators.tlc_sample import layouts, source, trips
from taxiway.emulators.tlc_sample.__main__ import main
from taxiway.emulators.tlc_sample.source import DATASETS, parse_month

ROWS = 20_000
JANUARY = parse_month("2024-01")


def table(month: str, rows: int = ROWS) -> pa.Table:
    """Generate a month."""
    buffer = io.BytesIO()
    trips.write_yellow(buffer, parse_month(month), rows)  # type: ignore[arg-type]
    return pq.read_table(buffer)


@pytest.fixture(scope="module")
def january() -> pa.Table:
    """A month of the newer layout."""
    return table("2024-01")


def outside(trips: pa.Table, year: int, month: int) -> list[Any]:
    """Return the pickups that are not in the month."""
    pickups = trips["tpep_pickup_datetime"].to_pylist()
    return [pickup for pickup in pickups if (pickup.year, pickup.month) != (year, month)]


@pytest.mark.parametrize("month", ["2019-01", "2019-02", "2020-04", "2020-12"])
def test_a_generated_month_has_the_layout_of_the_real_one(month: str) -> None:
    real = pq.read_schema(TLC / f"trip-data/yellow_tripdata_{month}.parquet")
    assert table(month, 10).schema.equals(real.remove_metadata())


def test_the_zones_are_the_real_ones() -> None:
    assert source.ZONES.read_bytes() == (TLC / "misc/taxi_zone_lookup.csv").read_bytes()


@pytest.mark.parametrize(
    ("month", "column", "kind"),
    [
        ("2009-01", "Trip_Pickup_DateTime", "string"),
        ("2009-12", "Rate_Code", "double"),
        ("2010-01", "rate_code", "string"),
        ("2010-02", "__index_level_0__", "int64"),
        ("2010-03", "rate_code", "int64"),
        ("2010-04", "rate_code", "string"),
        ("2011-01", "airport_fee", "double"),
        ("2012-11", "congestion_surcharge", "null"),
        ("2012-12", "congestion_surcharge", "double"),
        ("2018-06", "passenger_count", "int64"),
        ("2018-07", "passenger_count", "double"),
        ("2020-07", "airport_fee", "null"),
        ("2020-08", "airport_fee", "double"),
        ("2020-10", "airport_fee", "null"),
        ("2023-01", "VendorID", "int64"),
        ("2023-01", "airport_fee", "double"),
        ("2023-02", "VendorID", "int32"),
        ("2023-02", "PULocationID", "int32"),
        ("2023-02", "payment_type", "int64"),
        ("2023-02", "passenger_count", "int64"),
        ("2023-02", "Airport_fee", "double"),
        ("2025-01", "cbd_congestion_fee", "double"),
    ],
)
def test_types_and_spelling_change_when_tlcs_did(month: str, column: str, kind: str) -> None:
    assert str(table(month, 10).schema.field(column).type) == kind


def test_the_new_columns_are_not_there_before_their_time() -> None:
    assert table("2024-12", 10).schema.names[-1] == "Airport_fee"
    assert "Airport_fee" not in table("2023-01", 10).schema.names


def test_a_month_is_the_same_bytes_every_time(tmp_path: Path) -> None:
    for name in ("one", "two"):
        trips.write_yellow(tmp_path / name, JANUARY, 500)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


@pytest.mark.parametrize("rows", [1, 7, 100, 2_000])
def test_a_month_has_the_rows_asked_for(rows: int) -> None:
    assert table("2019-02", rows).num_rows == rows


def test_ten_rows_in_twenty_thousand_lie_outside_their_month(january: pa.Table) -> None:
    strays = outside(january, 2024, 1)
    assert len(strays) == 10
    assert len([stray for stray in strays if stray.year < 2010]) == 1
    assert {stray.month for stray in strays if stray.year >= 2023} == {12, 2}


def test_some_fares_are_negative_and_void_a_whole_trip(january: pa.Table) -> None:
    refunds = january.filter(pc.less(january["fare_amount"], 0))
    assert 40 < refunds.num_rows < 160
    assert pc.max(refunds["total_amount"]).as_py() < 0
    assert set(refunds["payment_type"].to_pylist()) <= {0, 3, 4}


def test_some_distances_are_zero(january: pa.Table) -> None:
    assert 80 < pc.sum(pc.equal(january["trip_distance"], 0)).as_py() < 320


def test_some_trips_end_before_they_begin(january: pa.Table) -> None:
    wrong = pc.less(january["tpep_dropoff_datetime"], january["tpep_pickup_datetime"])
    assert 0 < pc.sum(wrong).as_py() < 20


def test_a_trip_sent_in_by_other_means_lacks_what_the_meter_knows(january: pa.Table) -> None:
    gaps = january.filter(pc.is_null(january["passenger_count"]))
    assert 800 < gaps.num_rows < 1_200
    for column in ("RatecodeID", "store_and_fwd_flag", "congestion_surcharge", "Airport_fee"):
        assert gaps[column].null_count == gaps.num_rows == january[column].null_count
    assert set(gaps["payment_type"].to_pylist()) == {0}


def test_in_2020_such_a_trip_lacks_its_vendor_too() -> None:
    trips = table("2020-12")
    gaps = trips.filter(pc.is_null(trips["VendorID"]))
    assert gaps.num_rows > 800
    assert set(gaps["store_and_fwd_flag"].to_pylist()) == {""}


def test_the_parts_of_a_fare_add_up(january: pa.Table) -> None:
    paid = january.filter(pc.greater_equal(january["fare_amount"], 0)).drop_null()
    parts = [
        "fare_amount", "extra", "mta_tax", "tip_amount", "tolls_amount",
        "improvement_surcharge", "congestion_surcharge", "Airport_fee",
    ]  # fmt: skip
    for row in paid.slice(0, 200).to_pylist():
        assert sum(row[part] for part in parts) == pytest.approx(row["total_amount"], abs=0.011)


def test_most_trips_begin_in_manhattan_and_all_zones_are_real(january: pa.Table) -> None:
    zones = {int(line.split(",")[0]): line for line in source.ZONES.read_text().splitlines()[1:]}
    starts = january["PULocationID"].to_pylist()
    assert set(starts) <= set(zones)
    assert sum("Manhattan" in zones[start] for start in starts) > 0.7 * len(starts)


def test_evenings_are_busier_than_nights(january: pa.Table) -> None:
    hours = pc.hour(january["tpep_pickup_datetime"]).to_pylist()
    assert hours.count(18) > 3 * hours.count(4)


@pytest.mark.parametrize(
    "options", [["--first", "2024-13"], ["--last", "soon"], ["--rows", "0"], ["--rows", "many"]]
)
def test_a_bad_option_is_refused_by_name(options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(options)
    assert repr(options[1]) in capsys.readouterr().err


def test_every_column_of_every_layout_is_generated() -> None:
    for month in ("2009-01", "2010-01", "2010-02", "2011-01", "2019-01", "2023-02", "2025-01"):
        assert table(month, 10).num_columns == len(layouts.yellow(parse_month(month)))


TRIPS = {name: entry for name, entry in catalogue.DATASETS.items() if entry.every}


def test_the_source_has_every_dataset_of_the_catalogue_from_its_first_month() -> None:
    assert {name: f"{entry.first:%Y-%m}" for name, entry in DATASETS.items()} == {
        name: str(entry.first) for name, entry in TRIPS.items()
    }


@pytest.mark.parametrize(
    ("name", "month"),
    [("yellow", "2009-02"), ("yellow", "2010-01"), ("yellow", "2010-02"), ("yellow", "2010-12")]
    + [(name, month) for name in TRIPS for month in ("2019-06", "2023-01", "2023-02", "2025-01")]
    + [("green", "2013-08"), ("fhv", "2015-01"), ("fhvhv", "2019-02")],
)  # fmt: skip
def test_what_is_generated_conforms_but_for_the_strays(name: str, month: str, tmp_path: Path) -> None:
    source.write_here(DATASETS[name], tmp_path / "file", parse_month(month), 2_000)
    with (tmp_path / "file").open("rb") as file:
        parts = Split(file, TRIPS[name], Month.parse(month))
        reasons = [
            reason for part in parts if part.quarantined for reason in part.quarantined["reason"].to_pylist()
        ]
    assert (parts.rows, parts.quarantined) == (1_998, 2)
    assert all("is outside" in reason for reason in reasons)
    assert parts.drift == (("__index_level_0__",) if month == "2010-02" else ())


@pytest.mark.parametrize("name", TRIPS)
def test_every_datasets_month_is_the_same_bytes_every_time(name: str, tmp_path: Path) -> None:
    source.write_here(DATASETS[name], tmp_path / "one", JANUARY, 300)
    source.write_elsewhere(DATASETS[name], tmp_path / "two", JANUARY, 300)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_the_server_writes_a_month_without_what_that_imports(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from taxiway.emulators.tlc_sample.__main__ import *; "
        "from taxiway.emulators.tlc_sample.source import *; month = parse_month('2024-01'); "
        "assert Store(Path(sys.argv[1]), 10, month, month, write_elsewhere)"
        ".find('/trip-data/yellow_tripdata_2024-01.parquet'); "
        "print(*{'pyarrow', 'numpy'} & {*sys.modules})"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path], capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout.strip() == ""


def test_a_large_month_is_written_in_parts_that_differ(tmp_path: Path) -> None:
    trips.write_fhvhv(tmp_path / "file", JANUARY, 1_000, part_rows=400)
    file = pq.ParquetFile(tmp_path / "file")
    assert [file.metadata.row_group(n).num_rows for n in range(3)] == [400, 400, 200]
    assert not file.read_row_group(0).slice(0, 200).equals(file.read_row_group(2))


def test_trips_of_2009_cost_what_their_parts_come_to() -> None:
    for row in table("2009-01", 200).to_pylist():
        parts = ("Fare_Amt", "surcharge", "mta_tax", "Tip_Amt", "Tolls_Amt")
        assert sum(row[part] for part in parts) == pytest.approx(row["Total_Amt"], abs=0.011)
