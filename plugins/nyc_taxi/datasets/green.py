"""Green taxi trips: hailed outside Manhattan's core, since August 2013.

Their meters are of another programme than yellow taxis' (LPEP), which is all that tells the columns apart.
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

GREEN = Dataset(
    name="green",
    title="Green taxi trips",
    source=TLC,
    path="/trip-data/green_tripdata_{year}-{month}.parquet",
    table="green_trips",
    key="lpep_pickup_datetime",
    first=Month(2013, 8),
    lag=2,
    cluster=("pu_location_id", "lpep_pickup_datetime"),
    audits=(
        *STANDARD_AUDITS,
        amounts_add_up(
            "total_amount",
            "fare_amount",
            "extra",
            "mta_tax",
            "tip_amount",
            "tolls_amount",
            "ehail_fee",
            "improvement_surcharge",
            "cbd_congestion_fee",
        ),
        amounts_plausible("total_amount"),
        durations("lpep_pickup_datetime", "lpep_dropoff_datetime"),
    ),
    feeds=(
        daily_zone_revenue("lpep_pickup_datetime", "total_amount"),
        hourly_demand("lpep_pickup_datetime"),
        payment_mix("lpep_pickup_datetime", "total_amount"),
    ),
    columns=(
        Column(
            "vendor_id", "int16", "Provider of the record (1, 2, 6).", aliases=("VendorID",), codes=VENDORS
        ),
        Column("lpep_pickup_datetime", "datetime", "When the meter was engaged.", "New York local time"),
        Column("lpep_dropoff_datetime", "datetime", "When the meter was disengaged.", "New York local time"),
        Column(
            "store_and_fwd_flag",
            "string",
            "Y: the record was held in the vehicle before sending.",
            codes=FLAGS,
        ),
        Column(
            "ratecode_id",
            "int16",
            "Final rate in effect (1 standard … 99 unknown).",
            aliases=("RatecodeID", "rate_code"),
        ),
        Column("pu_location_id", "int16", "Taxi zone of the pickup.", aliases=("PULocationID",)),
        Column("do_location_id", "int16", "Taxi zone of the drop-off.", aliases=("DOLocationID",)),
        Column("passenger_count", "int16", "Passengers in the vehicle, entered by the driver.", "persons"),
        Column("trip_distance", "float64", "Distance by the taximeter.", "miles"),
        Column("fare_amount", "float64", "Time-and-distance fare.", "USD"),
        Column("extra", "float64", "Miscellaneous extras and surcharges.", "USD"),
        Column("mta_tax", "float64", "Tax triggered by the metered rate.", "USD"),
        Column("tip_amount", "float64", "Tip; cash tips are not included.", "USD"),
        Column("tolls_amount", "float64", "All tolls paid in the trip.", "USD"),
        # Always empty, and not in every file: its type says nothing then.
        Column("ehail_fee", "float64", "Fee for hailing by telephone; never filled.", "USD", required=False),
        IMPROVEMENT_SURCHARGE,
        Column("total_amount", "float64", "Total charged, without cash tips.", "USD"),
        Column(
            "payment_type",
            "int16",
            "How the passenger paid (1 card, 2 cash, 3 no charge, 4 dispute, 5 unknown, 6 voided).",
            codes=PAYMENTS,
        ),
        Column("trip_type", "int16", "1: hailed in the street, 2: dispatched.", since=Month(2014, 1)),
        CONGESTION_SURCHARGE,
        CBD_CONGESTION_FEE,
    ),
)
