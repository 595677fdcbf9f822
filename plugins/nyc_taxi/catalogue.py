"""The datasets: one entry each. Tables, DAGs, audits, docs and tests follow from an entry."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from nyc_taxi.errors import BadMonth, UnknownDataset
from nyc_taxi.months import Month

Type = Literal["int16", "int32", "int64", "float64", "string", "date", "datetime", "timestamp"]
Format = Literal["parquet", "csv"]

# Raise it when conform itself changes what becomes of a raw file: every month is then conformed again.
CONFORM_RULES = 1


@dataclass(frozen=True)
class Column:
    """One column of the typed schema.

    `aliases` are the names files have used for it, compared without regard to case; its own name
    is one of them. A file without a required column is refused, without another one it gets nulls.
    """

    name: str
    type: Type
    description: str
    unit: str = ""
    aliases: tuple[str, ...] = ()
    required: bool = True

    @property
    def known_names(self) -> frozenset[str]:
        """Every name a file may use for this column, in lower case."""
        return frozenset(name.lower() for name in (self.name, *self.aliases))


@dataclass(frozen=True)
class Audit:
    """A rule over a staged month: `sql/audits/<name>.sql`. Only *stop* keeps a month from publishing."""

    name: str
    severity: Literal["stop", "warn"] = "stop"


@dataclass(frozen=True)
class Mart:
    """A table built from published months by `sql/marts/<name>.sql`, whichever datasets feed it.

    Column 1 and 2 are always `dataset` and `source_month`, which say whose rows these are.
    """

    name: str
    title: str
    columns: tuple[Column, ...]
    cluster: tuple[str, ...] = ()


@dataclass(frozen=True)
class Feed:
    """That a dataset feeds a mart, and which of its columns stand for the words in the mart's SQL."""

    mart: str
    words: Mapping[str, str]


@dataclass(frozen=True)
class Dataset:
    """Where a dataset is published, what its rows look like and where they go.

    `path` is below the source's URL, with `{year}` and `{month}` when `monthly`. `key` is the column
    that no row may lack; in a monthly dataset it is the datetime that says which month a row is of.
    """

    name: str
    title: str
    path: str
    table: str
    key: str
    columns: tuple[Column, ...]
    format: Format = "parquet"
    monthly: bool = True
    first_month: Month | None = None
    lag_months: int = 0
    cluster: tuple[str, ...] = ()
    audits: tuple[Audit, ...] = ()
    feeds: tuple[Feed, ...] = ()
    postgres: bool = True

    @property
    def schema_version(self) -> str:
        """Changes when the same raw file would come out of conform differently."""
        rules = [(c.name, c.type, sorted(c.known_names), c.required) for c in self.columns]
        return hashlib.sha256(repr((CONFORM_RULES, self.key, rules)).encode()).hexdigest()[:12]

    def column(self, name: str) -> Column:
        """The typed column of that name; KeyError if there is none."""
        return next(column for column in self.columns if column.name == name)

    def source_path(self, month: Month | None) -> str:
        """Path of a month's file below the source's URL; BadMonth outside the dataset's months."""
        self.check_month(month)
        if month is None:
            return self.path
        return self.path.format(year=f"{month.year:04}", month=f"{month.month:02}")

    def file_name(self, month: Month | None) -> str:
        """Name of a month's file as published."""
        return self.source_path(month).rsplit("/", 1)[-1]

    def check_month(self, month: Month | None) -> None:
        """BadMonth unless this dataset can have that month (None: the whole, for one that has none)."""
        if self.monthly and month is None:
            raise BadMonth(f"{self.name} is published by month. Give one like {self.first_month}.")
        if not self.monthly and month is not None:
            raise BadMonth(f"{self.name} is one file without months. Leave {month} out.")
        if month and self.first_month and month < self.first_month:
            raise BadMonth(f"{self.name} begins with {self.first_month}; {month} is before that.")


_MONTHLY = (
    Audit("row_count"),
    Audit("key_present"),
    Audit("inside_month"),
    Audit("quarantine_share", "warn"),
)

_YELLOW = Dataset(
    name="yellow",
    title="Yellow taxi trips",
    path="/trip-data/yellow_tripdata_{year}-{month}.parquet",
    table="yellow_trips",
    key="tpep_pickup_datetime",
    # Files of 2009 and 2010 have coordinates instead of zones, and other columns altogether.
    first_month=Month(2011, 1),
    lag_months=2,
    cluster=("pu_location_id", "tpep_pickup_datetime"),
    audits=(*_MONTHLY, Audit("yellow_amounts", "warn"), Audit("yellow_durations", "warn")),
    feeds=(
        Feed(
            "daily_zone_revenue",
            {"pickup": "tpep_pickup_datetime", "zone": "pu_location_id", "revenue": "total_amount"},
        ),
    ),
    columns=(
        Column("vendor_id", "int16", "Provider of the record (1, 2, 6, 7).", aliases=("VendorID",)),
        Column("tpep_pickup_datetime", "datetime", "When the meter was engaged.", "New York local time"),
        Column("tpep_dropoff_datetime", "datetime", "When the meter was disengaged.", "New York local time"),
        Column("passenger_count", "int16", "Passengers in the vehicle, entered by the driver.", "persons"),
        Column("trip_distance", "float64", "Distance by the taximeter.", "miles"),
        Column(
            "ratecode_id", "int16", "Final rate in effect (1 standard … 99 unknown).", aliases=("RatecodeID",)
        ),
        Column("store_and_fwd_flag", "string", "Y: the record was held in the vehicle before sending."),
        Column("pu_location_id", "int16", "Taxi zone of the pickup.", aliases=("PULocationID",)),
        Column("do_location_id", "int16", "Taxi zone of the drop-off.", aliases=("DOLocationID",)),
        Column("payment_type", "int16", "How the passenger paid (0 flex, 1 card, 2 cash, 3 no charge, …)."),
        Column("fare_amount", "float64", "Time-and-distance fare.", "USD"),
        Column("extra", "float64", "Miscellaneous extras and surcharges.", "USD"),
        Column("mta_tax", "float64", "Tax triggered by the metered rate.", "USD"),
        Column("tip_amount", "float64", "Tip; cash tips are not included.", "USD"),
        Column("tolls_amount", "float64", "All tolls paid in the trip.", "USD"),
        Column("improvement_surcharge", "float64", "Surcharge at flag drop, since 2015.", "USD"),
        Column("total_amount", "float64", "Total charged, without cash tips.", "USD"),
        Column(
            "congestion_surcharge",
            "float64",
            "New York State's surcharge, since 2019.",
            "USD",
            required=False,
        ),
        Column("airport_fee", "float64", "Pickups at LaGuardia and JFK.", "USD", required=False),
        Column(
            "cbd_congestion_fee",
            "float64",
            "Congestion relief zone charge, since 2025.",
            "USD",
            required=False,
        ),
    ),
)

_ZONES = Dataset(
    name="zones",
    title="Taxi zones",
    path="/misc/taxi_zone_lookup.csv",
    table="zones",
    key="location_id",
    format="csv",
    monthly=False,
    cluster=("location_id",),
    audits=(Audit("row_count"), Audit("key_present"), Audit("key_unique")),
    postgres=False,
    columns=(
        Column("location_id", "int16", "Number of the zone.", aliases=("LocationID",)),
        Column("borough", "string", "Borough the zone lies in."),
        Column("zone", "string", "Name of the zone."),
        Column("service_zone", "string", "Yellow Zone, Boro Zone, Airports or EWR."),
    ),
)

MARTS: Mapping[str, Mart] = {
    "daily_zone_revenue": Mart(
        name="daily_zone_revenue",
        title="Trips and revenue by day and pickup zone",
        cluster=("pickup_date", "pu_location_id"),
        columns=(
            Column("pickup_date", "date", "Day of the pickup.", "New York local time"),
            Column("pu_location_id", "int64", "Taxi zone of the pickup."),
            Column("trips", "int64", "Trips that began there that day.", "trips"),
            Column("revenue", "float64", "What these trips were charged in all.", "USD"),
        ),
    )
}

DATASETS: Mapping[str, Dataset] = {entry.name: entry for entry in (_YELLOW, _ZONES)}


def dataset(name: str) -> Dataset:
    """The entry of that name; UnknownDataset names the valid ones."""
    if name not in DATASETS:
        raise UnknownDataset(f"dataset {name!r} is unknown. Choose one of: {', '.join(sorted(DATASETS))}.")
    return DATASETS[name]
