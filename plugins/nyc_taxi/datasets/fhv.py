"""Trips in for-hire vehicles: livery, luxury and black cars, since 2015.

Each base sends its own records, so these are the files with the most gaps: no fares, often no zones.
"""

from elt.catalogue import STANDARD_AUDITS, Column, Dataset
from elt.periods import Month
from nyc_taxi.audits import durations
from nyc_taxi.marts import hourly_demand
from nyc_taxi.tlc import TLC

FHV = Dataset(
    name="fhv",
    title="For-hire vehicle trips",
    source=TLC,
    path="/trip-data/fhv_tripdata_{year}-{month}.parquet",
    table="fhv_trips",
    key="pickup_datetime",
    first=Month(2015, 1),
    lag=2,
    cluster=("dispatching_base_num", "pu_location_id"),
    audits=(*STANDARD_AUDITS, durations("pickup_datetime", "dropoff_datetime")),
    feeds=(hourly_demand("pickup_datetime"),),
    columns=(
        # Only this and the pickup's time have been in all files.
        Column("dispatching_base_num", "string", "Licence of the base that dispatched the trip."),
        Column(
            "pickup_datetime",
            "datetime",
            "When the trip began.",
            "New York local time",
            aliases=("Pickup_date",),
        ),
        # Files spell it dropOff_datetime, dropoff_datetime and DropOff_datetime; at first they lack it.
        Column(
            "dropoff_datetime",
            "datetime",
            "When the trip ended.",
            "New York local time",
            since=Month(2017, 1),
        ),
        # PUlocationID, PULocationID, and locationID as long as there was no other.
        Column(
            "pu_location_id",
            "int16",
            "Taxi zone of the pickup; often not given.",
            aliases=("PUlocationID", "locationID"),
        ),
        Column(
            "do_location_id",
            "int16",
            "Taxi zone of the drop-off; often not given.",
            aliases=("DOlocationID",),
            since=Month(2017, 1),
        ),
        Column(
            "sr_flag",
            "int16",
            "1: part of a shared ride; null: not.",
            aliases=("SR_Flag",),
            since=Month(2017, 7),
        ),
        Column(
            "affiliated_base_number",
            "string",
            "Licence of the base the vehicle belongs to.",
            aliases=("Affiliated_base_number",),
            since=Month(2020, 1),
        ),
    ),
)
