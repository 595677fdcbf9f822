"""A mart in pictures: what it measures by day, by hour of the day, and by what its rows are of."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self

from elt.catalogue import Mart
from elt.connections import Connections
from elt.errors import TableNotFoundError
from elt.stores.bigquery import Warehouse
from elt.warehouse.load_log import labels

# Rows of a chart by category, and categories of a mart, that the page has room for.
TOP, CATEGORIES = 12, 3
_NUMBERS = ("int16", "int32", "int64", "float32", "float64", "numeric")
_TIMES = ("date", "datetime", "timestamp")


@dataclass(frozen=True)
class Shape:
    """What the columns of a mart's view are: when, how much, and of what.

    Numbers that a mart is not clustered by are measured. Rows are of the texts in its view, else of the rest.
    """

    times: Mapping[str, str]
    measures: Mapping[str, str]
    categories: tuple[str, ...]

    @classmethod
    def of(cls, mart: Mart, fields: Mapping[str, str]) -> Self:
        """Read the catalogue's columns, and the view's own (`fields`: BigQuery's types by name)."""
        measured = [c for c in mart.columns if c.type in _NUMBERS and c.name not in mart.cluster]
        names = [name for name, kind in fields.items() if kind == "STRING" and name != "dataset"]
        numbers = [c.name for c in mart.columns if c.type not in _TIMES and c not in measured]
        return cls(
            {c.name: c.type for c in mart.columns if c.type in _TIMES},
            {c.name: c.unit for c in measured},
            tuple(names or numbers)[:CATEGORIES],
        )

    def charts(self) -> Iterator[tuple[str, str, str]]:
        """Title, SQL that rows are grouped by, and order of each chart."""
        for name, kind in list(self.times.items())[:1]:
            yield "by day", f"DATE({name})", "grouped"
            if kind != "date":
                yield "by hour of the day", f"EXTRACT(HOUR FROM {name})", "grouped"
        for name in self.categories:
            yield f"by {name}", name, f"{next(iter(self.measures))} DESC LIMIT {TOP}"


def read(connections: Connections, mart: Mart) -> dict[str, Any]:
    """The charts of a mart; none before there is one. The columns that are drawn are read for each chart."""
    with connections.warehouse() as warehouse:
        try:
            shape = Shape.of(mart, warehouse.plan(f"SELECT * FROM {warehouse.name(mart.name)}").fields)  # noqa: S608
            drawn = list(_drawn(warehouse, mart, shape)) if shape.measures else []
        except TableNotFoundError:
            shape, drawn = Shape.of(mart, {}), []
    return {"name": mart.name, "title": mart.title, "measures": shape.measures, "charts": drawn}


def _drawn(warehouse: Warehouse, mart: Mart, shape: Shape) -> Iterator[dict[str, Any]]:
    sums = ", ".join(f"SUM({name}) AS {name}" for name in shape.measures)
    for title, grouped, order in shape.charts():
        text = (
            f"SELECT {grouped} AS grouped, {sums} FROM {warehouse.name(mart.name)} "  # noqa: S608
            f"GROUP BY grouped ORDER BY {order}"
        )
        rows = warehouse.query(text, {}, labels("report"))
        keys = [_key(row["grouped"]) for row in rows]
        values = {name: [_plain(row[name]) for row in rows] for name in shape.measures}
        yield {"title": title, "ranked": "DESC" in order, "keys": keys, "values": values}


def _key(value: Any) -> str:
    return "none" if value is None else value.isoformat() if isinstance(value, dt.date) else str(value)


def _plain(value: Any) -> float | None:
    """A sum as JSON has it: to draw, not to reckon with. What is no number (NaN) is not drawn."""
    number = None if value is None else float(value)
    return number if number is not None and abs(number) < float("inf") else None
