"""Taxi zones."""

from elt.catalogue.model import Audit, Column, Dataset

ZONES = Dataset(
    name="zones",
    title="Taxi zones",
    path="/misc/taxi_zone_lookup.csv",
    table="zones",
    key="location_id",
    monthly=False,
    cluster=("location_id",),
    audits=(Audit("row_count"), Audit("key_present"), Audit("key_unique")),
    columns=(
        Column("location_id", "int16", "Number of the zone.", aliases=("LocationID",)),
        Column("borough", "string", "Borough the zone lies in."),
        Column("zone", "string", "Name of the zone."),
        Column("service_zone", "string", "Yellow Zone, Boro Zone, Airports or EWR."),
    ),
)
