"""The layouts of TLC's files over the years: columns, order, and the types that flip between files."""

import pyarrow as pa

from taxiway.local.sample_source.months import Month

YELLOW = (
    "VendorID", "tpep_pickup_datetime", "tpep_dropoff_datetime", "passenger_count", "trip_distance",
    "RatecodeID", "store_and_fwd_flag", "PULocationID", "DOLocationID", "payment_type", "fare_amount",
    "extra", "mta_tax", "tip_amount", "tolls_amount", "improvement_surcharge", "total_amount",
    "congestion_surcharge", "airport_fee",
)  # fmt: skip
IDS = ("VendorID", "PULocationID", "DOLocationID", "payment_type")
TIMES = ("tpep_pickup_datetime", "tpep_dropoff_datetime")
AIRPORT, CONGESTION, IMPROVEMENT = "airport_fee", "congestion_surcharge", "improvement_surcharge"
COUNTS = ("passenger_count", "RatecodeID")

# (first month, columns, type from then on), as found in the real files' footers, 2011 to 2024.
YELLOW_CHANGES: tuple[tuple[str, tuple[str, ...], pa.DataType], ...] = (
    ("2011-02", (AIRPORT, CONGESTION), pa.null()),
    ("2011-03", (CONGESTION,), pa.float64()),
    ("2011-04", (CONGESTION,), pa.null()),
    ("2012-12", (CONGESTION,), pa.float64()),
    ("2013-01", (CONGESTION,), pa.null()),
    ("2013-05", (CONGESTION,), pa.float64()),
    ("2013-06", (CONGESTION,), pa.null()),
    ("2014-01", (CONGESTION,), pa.float64()),
    ("2014-02", (CONGESTION,), pa.null()),
    ("2014-08", (IMPROVEMENT,), pa.null()),
    ("2014-09", (IMPROVEMENT,), pa.float64()),
    ("2018-01", (AIRPORT, CONGESTION), pa.float64()),
    ("2018-02", (AIRPORT, CONGESTION), pa.null()),
    ("2018-06", (CONGESTION,), pa.float64()),
    ("2018-07", (CONGESTION,), pa.null()),
    ("2018-07", COUNTS, pa.float64()),
    ("2018-09", (CONGESTION,), pa.float64()),
    ("2018-10", (CONGESTION,), pa.null()),
    ("2018-11", (CONGESTION,), pa.float64()),
    ("2018-12", (CONGESTION,), pa.null()),
    ("2019-01", (CONGESTION,), pa.float64()),
    ("2020-08", (AIRPORT,), pa.float64()),
    ("2020-10", (AIRPORT,), pa.null()),
    ("2020-11", (AIRPORT,), pa.float64()),
    ("2023-02", ("VendorID", "PULocationID", "DOLocationID"), pa.int32()),
    ("2023-02", COUNTS, pa.int64()),
)
RENAMED_FROM = Month(2023, 2)  # from then on the last column is spelt Airport_fee
CBD_FROM = Month(2025, 1)  # Manhattan's congestion relief zone


def yellow(month: Month) -> dict[str, pa.DataType]:
    """Return the month's columns in their order, by the names of before 2023-02, with their types."""
    types = dict.fromkeys(YELLOW, pa.float64())
    types |= dict.fromkeys(IDS + COUNTS, pa.int64()) | dict.fromkeys(TIMES, pa.timestamp("us"))
    types["store_and_fwd_flag"] = pa.string()
    for since, columns, kind in YELLOW_CHANGES:
        if Month.parse(since) <= month:
            types |= dict.fromkeys(columns, kind)
    if month >= CBD_FROM:
        types["cbd_congestion_fee"] = pa.float64()
    return types


def yellow_name(column: str, month: Month) -> str:
    """Return how the month's file spells `column`."""
    return "Airport_fee" if column == AIRPORT and month >= RENAMED_FROM else column


def compression(month: Month) -> str:
    """Return the codec of the month's real file."""
    if month.year < 2020:
        return "gzip"
    return "snappy" if month.year < 2023 else "zstd"
