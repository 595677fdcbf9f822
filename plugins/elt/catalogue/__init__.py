"""What an entry of the catalogue is made of. `elt.catalogue.registry` finds the entries there are."""

from elt.catalogue.model import Audit, Column, Dataset, Feed, Format, Mart, Type

__all__ = ["Audit", "Column", "Dataset", "Feed", "Format", "Mart", "Type"]
