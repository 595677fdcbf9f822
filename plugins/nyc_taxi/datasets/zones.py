"""Taxi zones: the numbers that trips have for where they began and ended since 2011, and their names."""

from elt.catalogue import Audit, Column, Dataset
from nyc_taxi.tlc import TLC

ZONES = Dataset(
    name="zones",
    title="Taxi zones",
    source=TLC,
    path="/misc/taxi_zone_lookup.csv",
    table="zones",
    key="location_id",
    # Marts show the names.
    starter=True,
    cluster=("location_id",),
    audits=(Audit("row_count"), Audit("key_present"), Audit("key_unique")),
    columns=(
        Column("location_id", "int16", "Number of the zone.", aliases=("LocationID",)),
        Column("borough", "string", "Borough the zone lies in."),
        Column("zone", "string", "Name of the zone."),
        Column("service_zone", "string", "Yellow Zone, Boro Zone, Airports or EWR."),
    ),
)
