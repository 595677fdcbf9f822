"""What an entry of the catalogue is made of. `elt.catalogue.registry` finds the entries there are."""

from elt.catalogue.model import (
    STANDARD_AUDITS,
    Audit,
    Column,
    Dataset,
    Feed,
    Format,
    Mart,
    Preview,
    Publisher,
    Type,
)
from elt.catalogue.records import Api, Cursor, Database, NextLink, Offset, PageNumber
from elt.periods import Day, Hour, Month, Year

__all__ = [
    "STANDARD_AUDITS",
    "Api",
    "Audit",
    "Column",
    "Cursor",
    "Database",
    "Dataset",
    "Day",
    "Feed",
    "Format",
    "Hour",
    "Mart",
    "Month",
    "NextLink",
    "Offset",
    "PageNumber",
    "Preview",
    "Publisher",
    "Type",
    "Year",
]
