"""Yellow taxi trips: hailed in the street, since 2009.

TLC has changed these files 29 times. A name that a file once had for a column is an alias of it; a column
that came later has the first month that must have it.
"""

from elt.catalogue import STANDARD_AUDITS, Column, Dataset
from elt.periods import Month
from nyc_taxi.audits import amounts_add_up, amounts_plausible, durations
from nyc_taxi.marts import daily_zone_revenue, hourly_demand, payment_mix
from nyc_taxi.tlc import (
    CBD_CONGESTION_FEE,
    CONGESTION_SURCHARGE,
    FLAGS,
    IMPROVEMENT_SURCHARGE,
    PAYMENTS,
    TLC,
    VENDORS,
)


def _coordinate(name: str, what: str, alias: str) -> Column:
    """A column of the files until 2010; those since have zones instead."""
    return Column(
        name,
        "float64",
        f"{what}, as long as there were no zones.",
        "degrees (WGS 84)",
        aliases=(alias,),
        until=Month(2010, 12),
    )


YELLOW = Dataset(
    name="yellow",
    title="Yellow taxi trips",
    source=TLC,
    path="/trip-data/yellow_tripdata_{year}-{month}.parquet",
    table="yellow_trips",
    key="tpep_pickup_datetime",
    first=Month(2009, 1),
    # January comes in March, on any day of it.
    lag=2,
    starter=True,
    # Nearly every question is of a place and a time.
    cluster=("pu_location_id", "tpep_pickup_datetime"),
    audits=(
        *STANDARD_AUDITS,
        amounts_add_up(
            "total_amount",
            "fare_amount",
            "extra",
            "mta_tax",
            "tip_amount",
            "tolls_amount",
            "improvement_surcharge",
            "airport_fee",
            "cbd_congestion_fee",
        ),
        amounts_plausible("total_amount"),
        durations("tpep_pickup_datetime", "tpep_dropoff_datetime"),
    ),
    feeds=(
        daily_zone_revenue("tpep_pickup_datetime", "total_amount"),
        hourly_demand("tpep_pickup_datetime"),
        payment_mix("tpep_pickup_datetime", "total_amount"),
    ),
    columns=(
        Column(
            "vendor_id",
            "int16",
            "Provider of the record (1 CMT, 2 VTS, later Curb, 3 DDS until 2010, 6 Myle, 7 Helix).",
            aliases=("VendorID", "vendor_name"),
            codes=VENDORS,
        ),
        Column(
            "tpep_pickup_datetime",
            "datetime",
            "When the meter was engaged.",
            "New York local time",
            # The names of 2009 and of 2010. Since 2011 a TPEP prefix says which kind of meter wrote it.
            aliases=("Trip_Pickup_DateTime", "pickup_datetime"),
        ),
        Column(
            "tpep_dropoff_datetime",
            "datetime",
            "When the meter was disengaged.",
            "New York local time",
            aliases=("Trip_Dropoff_DateTime", "dropoff_datetime"),
        ),
        # Whole numbers, but floating point in many files: they have nulls, for which pandas had no integers.
        Column("passenger_count", "int16", "Passengers in the vehicle, entered by the driver.", "persons"),
        Column("trip_distance", "float64", "Distance by the taximeter.", "miles"),
        Column(
            "ratecode_id",
            "int16",
            "Final rate in effect (1 standard … 99 unknown).",
            aliases=("RatecodeID", "rate_code"),
        ),
        Column(
            "store_and_fwd_flag",
            "string",
            "Y: the record was held in the vehicle before sending.",
            aliases=("store_and_forward",),
            codes=FLAGS,
        ),
        # Zones came in 2011. A file without them is complete all the same if it has coordinates.
        Column(
            "pu_location_id",
            "int16",
            "Taxi zone of the pickup, since 2011.",
            aliases=("PULocationID",),
            instead="pickup_longitude",
        ),
        Column(
            "do_location_id",
            "int16",
            "Taxi zone of the drop-off, since 2011.",
            aliases=("DOLocationID",),
            instead="dropoff_longitude",
        ),
        Column(
            "payment_type",
            "int16",
            "How the passenger paid (0 flex, 1 card, 2 cash, 3 no charge, 4 dispute, 5 unknown, 6 voided).",
            codes=PAYMENTS,
        ),
        # From here on: money. What a trip is charged in all is the sum of it, which an audit checks.
        Column("fare_amount", "float64", "Time-and-distance fare.", "USD", aliases=("Fare_Amt",)),
        Column("extra", "float64", "Miscellaneous extras and surcharges.", "USD", aliases=("surcharge",)),
        Column("mta_tax", "float64", "Tax triggered by the metered rate.", "USD"),
        Column("tip_amount", "float64", "Tip; cash tips are not included.", "USD", aliases=("Tip_Amt",)),
        Column("tolls_amount", "float64", "All tolls paid in the trip.", "USD", aliases=("Tolls_Amt",)),
        IMPROVEMENT_SURCHARGE,
        Column("total_amount", "float64", "Total charged, without cash tips.", "USD", aliases=("Total_Amt",)),
        # Files of years before have this column and airport_fee too, empty, and now and then without a type.
        CONGESTION_SURCHARGE,
        # Airport_fee since 2023-02; case makes no difference.
        Column("airport_fee", "float64", "Pickups at LaGuardia and JFK.", "USD", since=Month(2022, 4)),
        CBD_CONGESTION_FEE,
        _coordinate("pickup_longitude", "Longitude of the pickup", "Start_Lon"),
        _coordinate("pickup_latitude", "Latitude of the pickup", "Start_Lat"),
        _coordinate("dropoff_longitude", "Longitude of the drop-off", "End_Lon"),
        _coordinate("dropoff_latitude", "Latitude of the drop-off", "End_Lat"),
    ),
)
