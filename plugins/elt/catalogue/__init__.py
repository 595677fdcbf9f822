"""What an entry of the catalogue is made of. `elt.catalogue.registry` finds the entries there are."""

from elt.catalogue.model import MONTHLY, Audit, Column, Dataset, Feed, Format, Mart, Preview, Publisher, Type
from elt.catalogue.records import Api, Cursor, Database, NextLink, Offset, PageNumber

__all__ = [
    "MONTHLY", "Api", "Audit", "Column", "Cursor", "Database", "Dataset", "Feed", "Format", "Mart",
    "NextLink", "Offset", "PageNumber", "Preview", "Publisher", "Type",
]  # fmt: skip
