"""Files like TLC's, made on the spot."""

import datetime as dt
import io

import pyarrow as pa
import pyarrow.parquet as pq

YELLOW = "/trip-data/yellow_tripdata_{}.parquet"
ZONES = "/misc/taxi_zone_lookup.csv"
ZONES_CSV = (
    b'"LocationID","Borough","Zone","service_zone"\n'
    b'1,"EWR","Newark Airport","EWR"\n2,"Queens","Jamaica Bay","Boro Zone"\n264,"Unknown","N/A","N/A"\n'
)


def trips(month: str = "2024-01", rows: int = 100, strays: int = 0, seed: int = 0) -> pa.Table:
    """Yellow trips as TLC has them since 2023 (2025: with one more fee); the first `strays` are of 2008."""
    start = dt.datetime.fromisoformat(f"{month}-01T00:00:00")
    pickups = [start + dt.timedelta(minutes=n % 40_000) for n in range(rows)]
    pickups[:strays] = [dt.datetime.fromisoformat("2008-12-31T23:02:30")] * min(strays, rows)
    amounts = [round(10 + (n * 7 + seed) % 50 + 0.25, 2) for n in range(rows)]
    whole, small, money = pa.int64(), pa.int32(), pa.float64()
    fees = {"cbd_congestion_fee": pa.array([0.75] * rows, money)} if month >= "2025" else {}
    return pa.table(
        {
            "VendorID": pa.array([1 + n % 2 for n in range(rows)], small),
            "tpep_pickup_datetime": pa.array(pickups, pa.timestamp("us")),
            "tpep_dropoff_datetime": pa.array(
                [p + dt.timedelta(minutes=9) for p in pickups], pa.timestamp("us")
            ),
            "passenger_count": pa.array([None if n % 10 == 9 else n % 5 for n in range(rows)], whole),
            "trip_distance": pa.array([n % 20 / 2 for n in range(rows)], money),
            "RatecodeID": pa.array([1] * rows, whole),
            "store_and_fwd_flag": pa.array(["N"] * rows),
            "PULocationID": pa.array([1 + n % 2 for n in range(rows)], small),
            "DOLocationID": pa.array([1 + n % 2 for n in range(rows)], small),
            "payment_type": pa.array([1] * rows, whole),
            "fare_amount": pa.array(amounts, money),
            "extra": pa.array([1.0] * rows, money),
            "mta_tax": pa.array([0.5] * rows, money),
            "tip_amount": pa.array([2.0] * rows, money),
            "tolls_amount": pa.array([0.0] * rows, money),
            "improvement_surcharge": pa.array([1.0] * rows, money),
            "total_amount": pa.array([amount + 4.5 for amount in amounts], money),
            "congestion_surcharge": pa.array([2.5] * rows, money),
            "Airport_fee": pa.array([0.0] * rows, money),
            **fees,
        }
    )


def parquet(table: pa.Table, **options: object) -> bytes:
    """The table as a Parquet file."""
    file = io.BytesIO()
    pq.write_table(table, file, **options)
    return file.getvalue()


def with_column(table: pa.Table, name: str, array: pa.Array) -> pa.Table:
    """The table with one column replaced."""
    return table.set_column(table.schema.get_field_index(name), name, array)
