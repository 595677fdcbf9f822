"""The marts, tables built from published months, and how a dataset feeds each of them.

The SQL is in `sql/`, in three files for each mart: `marts/` fills BigQuery's table, `postgres/` is the same
for Postgres, and `views/` is what people read in both. A dataset says in its entry which columns stand for
the template variables there, by the functions at the end of this file.
"""

from elt.catalogue import Column, Feed, Mart, Preview

# TLC's times are New York's wall clock, without zone: an hour of each autumn is there twice.

_ZONE = Column("pu_location_id", "int64", "Taxi zone of the pickup.")
_DAY = Column("pickup_date", "date", "Day of the pickup.", "New York local time")

DAILY_ZONE_REVENUE = Mart(
    name="daily_zone_revenue",
    title="Trips and revenue by day and pickup zone",
    cluster=("pickup_date", "pu_location_id"),
    columns=(
        _DAY,
        _ZONE,
        Column("trips", "int64", "Trips that began there that day.", "trips"),
        Column("revenue", "float64", "What these trips were charged in all.", "USD"),
    ),
    # Its view has the zones' names.
    lookups=("zones",),
    # What scripts/up ends with: the first day's best zones.
    preview=Preview(
        columns=("dataset", "pickup_date", "borough", "zone", "trips", "revenue"),
        order=("pickup_date", "revenue DESC"),
    ),
)

HOURLY_DEMAND = Mart(
    name="hourly_demand",
    title="Trips by hour and pickup zone",
    cluster=("pickup_hour", "pu_location_id"),
    columns=(
        Column("pickup_hour", "datetime", "Hour of the pickup, by its beginning.", "New York local time"),
        _ZONE,
        Column("trips", "int64", "Trips that began there in that hour.", "trips"),
    ),
    lookups=("zones",),
)

PAYMENT_MIX = Mart(
    name="payment_mix",
    title="Trips, revenue and tips by day and kind of payment",
    cluster=("pickup_date", "payment_type"),
    columns=(
        _DAY,
        Column("payment_type", "int64", "How the passengers paid, as in the trips."),
        Column("trips", "int64", "Trips of that day paid so.", "trips"),
        Column("revenue", "float64", "What these trips were charged in all.", "USD"),
        Column("tips", "float64", "Tips among that; cash tips are not known.", "USD"),
    ),
)


def daily_zone_revenue(pickup: str, revenue: str, zone: str = "pu_location_id") -> Feed:
    """Feed it by the pickup's time and zone, and by SQL for what a trip was charged."""
    return Feed("daily_zone_revenue", {"pickup": pickup, "zone": zone, "revenue": revenue})


def hourly_demand(pickup: str, zone: str = "pu_location_id") -> Feed:
    """Feed it by the pickup's time and zone."""
    return Feed("hourly_demand", {"pickup": pickup, "zone": zone})


def payment_mix(pickup: str, revenue: str, payment: str = "payment_type", tips: str = "tip_amount") -> Feed:
    """Feed it by the pickup's time, the kind of payment, and SQL for the amounts."""
    return Feed("payment_mix", {"pickup": pickup, "payment": payment, "revenue": revenue, "tips": tips})
