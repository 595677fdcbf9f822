"""Trips of high-volume services (Uber, Lyft, Via, Juno), since February 2019: 20 million a month.

Until then their trips are among those of fhv, without fares.
"""

from elt.catalogue import STANDARD_AUDITS, Column, Dataset
from elt.periods import Month
from nyc_taxi.audits import amounts_plausible, durations, total_of
from nyc_taxi.marts import daily_zone_revenue, hourly_demand
from nyc_taxi.tlc import CBD_CONGESTION_FEE, TLC

_LOCAL = "New York local time"
# The files have no total: what a passenger was charged is the sum of these, null where it does not apply.
_CHARGED = total_of(
    "base_passenger_fare",
    "tolls",
    "bcf",
    "sales_tax",
    "congestion_surcharge",
    "airport_fee",
    "tips",
    "cbd_congestion_fee",
)

FHVHV = Dataset(
    name="fhvhv",
    title="High-volume for-hire vehicle trips",
    source=TLC,
    path="/trip-data/fhvhv_tripdata_{year}-{month}.parquet",
    table="fhvhv_trips",
    key="pickup_datetime",
    first=Month(2019, 2),
    lag=2,
    # Most questions are of one service: Uber has two trips in three.
    cluster=("hvfhs_license_num", "pu_location_id", "pickup_datetime"),
    audits=(*STANDARD_AUDITS, amounts_plausible(_CHARGED), durations("pickup_datetime", "dropoff_datetime")),
    feeds=(daily_zone_revenue("pickup_datetime", _CHARGED), hourly_demand("pickup_datetime")),
    columns=(
        Column(
            "hvfhs_license_num",
            "string",
            "Licence of the service (HV0002 Juno, HV0003 Uber, HV0004 Via, HV0005 Lyft).",
        ),
        Column("dispatching_base_num", "string", "Licence of the base that dispatched the trip."),
        Column("originating_base_num", "string", "Licence of the base that received the request."),
        Column("request_datetime", "datetime", "When the passenger asked to be picked up.", _LOCAL),
        Column(
            "on_scene_datetime",
            "datetime",
            "When the driver arrived; only of wheelchair-accessible and some other vehicles.",
            _LOCAL,
        ),
        Column("pickup_datetime", "datetime", "When the trip began.", _LOCAL),
        Column("dropoff_datetime", "datetime", "When the trip ended.", _LOCAL),
        Column("pu_location_id", "int16", "Taxi zone of the pickup.", aliases=("PULocationID",)),
        Column("do_location_id", "int16", "Taxi zone of the drop-off.", aliases=("DOLocationID",)),
        Column("trip_miles", "float64", "Distance of the trip.", "miles"),
        Column("trip_time", "int32", "Time of the trip.", "seconds"),
        Column("base_passenger_fare", "float64", "Fare before tolls, tips, taxes and fees.", "USD"),
        Column("tolls", "float64", "All tolls paid in the trip.", "USD"),
        Column("bcf", "float64", "Contribution to the Black Car Fund.", "USD"),
        Column("sales_tax", "float64", "New York State's sales tax.", "USD"),
        Column("congestion_surcharge", "float64", "New York State's surcharge.", "USD"),
        Column("airport_fee", "float64", "Drop-offs and pickups at LaGuardia, Newark and JFK.", "USD"),
        Column("tips", "float64", "Tips from the passenger.", "USD"),
        Column("driver_pay", "float64", "What the driver was paid, without tolls, tips and taxes.", "USD"),
        Column("shared_request_flag", "string", "Y: the passenger agreed to share the ride."),
        Column("shared_match_flag", "string", "Y: the ride was shared with another passenger."),
        Column("access_a_ride_flag", "string", "Y: made for the MTA's Access-A-Ride; blank: not said."),
        Column("wav_request_flag", "string", "Y: a wheelchair-accessible vehicle was asked for."),
        Column("wav_match_flag", "string", "Y: the vehicle was wheelchair-accessible."),
        CBD_CONGESTION_FEE,
    ),
)
