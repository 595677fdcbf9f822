"""What an entry of the catalogue is made of. `elt.catalogue.registry` finds the entries there are."""

from elt.catalogue.model import MONTHLY, Audit, Column, Dataset, Feed, Format, Mart, Preview, Publisher, Type

__all__ = ["MONTHLY", "Audit", "Column", "Dataset", "Feed", "Format", "Mart", "Preview", "Publisher", "Type"]
