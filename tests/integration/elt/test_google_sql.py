"""Audits, marts and views say the same of the same rows in the emulated BigQuery and by Google's evaluator.

Random rows of all that is awkward: nulls, NaN, infinity, negative and half cents, the borders of months.
"""

import datetime as dt
import io
import math
import random
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from elt.catalogue.registry import DATASETS
from elt.layout import mart_table
from elt.periods import Month
from elt.stages.warehouse import _insert
from elt.stores import period_column
from elt.stores.bigquery import Parameter, Work
from elt.stores.gcs import Content
from elt.warehouse import tables
from elt.warehouse.audits import rules
from elt.warehouse.load_log import period_values
from stacks import Stack

pytestmark = pytest.mark.emulators
MONTH = Month(2024, 3)
# Two of these are 1.25 per cent, of which a tenth is printed.
ROWS = 160
AMOUNTS = (
    0.0, -0.0, 0.005, -0.005, 0.015, 1.005, 2.675, -2.675, 12.345, 9.99, -7.5, 0.1, 0.2, 5000.005, 250.0,
)  # fmt: skip
STRANGE = (math.nan, math.inf, -math.inf, 1e30)
BORDERS = tuple(
    map(
        dt.datetime.fromisoformat,
        ("2024-02-29T23:59:59.999999", "2024-03-01T00:00:00", "2024-03-10T02:30:00", "2024-03-05T16:59:59",
         "2024-03-05T17:00:00", "2024-03-31T23:59:59.999999", "2024-04-01T00:00:00", "2008-12-31T23:02:30"),
    )
)  # fmt: skip
TABULAR = [name for name, ds in DATASETS.items() if ds.tabular]


def random_rows(ds, chosen, months=()):
    """Random rows of a dataset, of some of these months if there are any."""
    # Published columns are null more often than staged ones, or less often.
    nulls = {column.name: chosen.choice((0.0, 0.05, 0.1, 0.3)) for column in ds.columns}
    rows = [
        {
            column.name: None if chosen.random() < nulls[column.name] else random_value(column.type, chosen)
            for column in ds.columns
        }
        for _ in range(ROWS)
    ]
    return [row | ({"source_month": chosen.choice(months)} if months else {}) for row in rows]


def random_value(kind, chosen):
    if kind == "float64":
        return chosen.choice(STRANGE if chosen.random() < 0.03 else AMOUNTS)
    if kind == "numeric":
        return Decimal(str(chosen.choice(AMOUNTS)))
    if kind in ("datetime", "timestamp", "date"):
        moment = chosen.choice(BORDERS) + chosen.choice((0, 0, 1, 30)) * dt.timedelta(hours=1)
        as_kind = {"datetime": moment, "timestamp": moment.replace(tzinfo=dt.UTC), "date": moment.date()}
        return as_kind[kind]
    if kind == "bool":
        return chosen.random() < 0.5
    return chosen.choice(("", "Y", "N", "ü")) if kind == "string" else chosen.randrange(-1, 6)


class Both:
    """One set of tables in the emulated warehouse and in Google's evaluator."""

    def __init__(self, stack: Stack, google_sql, warehouse):
        self._stack, self._warehouse, self.rows = stack, warehouse, {}
        tables.ensure(warehouse)
        made = tables.all_tables(warehouse.name)
        self._schemas = {
            self._plain(name): {field["name"]: field["type"] for field in table["schema"]["fields"]}
            for name, table in made.items()
            if "schema" in table
        }
        self.views = {name: table["view"]["query"] for name, table in made.items() if "view" in table}
        self._google_sql = google_sql

    def sql(self, name):
        """A table's name for SQL."""
        return self._warehouse.name(name)

    def _plain(self, name):
        return self.sql(name).strip("`")

    def put(self, name, columns, rows):
        """Load rows as a run does, creating the table unless it is there."""
        fields = tables.fields(columns)
        self._warehouse.create(name, {"schema": {"fields": fields}})
        kinds = {"INTEGER": pa.int64(), "DATE": pa.date32(), "DATETIME": pa.timestamp("us"),
                 "TIMESTAMP": pa.timestamp("us", "UTC"), "FLOAT": pa.float64(), "STRING": pa.string(),
                 "BOOLEAN": pa.bool_(), "NUMERIC": pa.decimal128(38, 9)}  # fmt: skip
        schema = pa.schema([(field["name"], kinds[field["type"]]) for field in fields])
        file = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(rows, schema), file)
        size = file.tell()
        file.seek(0)
        with self._stack.lake() as lake:
            stored = lake.write(f"test/{name}", Content(file, size, "application/octet-stream", {}))
            uri = lake.uri(stored.name)
        self._warehouse.load(name, uri, fields, Work(f"put-{self._plain(name).replace('.', '-')}", {}))
        self._schemas[self._plain(name)] = {field["name"]: field["type"] for field in fields}
        self.rows[self._plain(name)] = rows

    def select(self, query, values=()):
        """What each of the two answers."""
        given = dict(values)
        google = self._google_sql.catalog(self._schemas).select(
            query, self.rows, {name: (p.type, p.value) for name, p in given.items()}
        )
        return self._warehouse.query(query, given, {"app": "test"}), google

    def insert(self, statement, name, values):
        """The rows that each of the two has in a table after a statement that fills it."""
        self._warehouse.query(statement, values, {"app": "test"})
        emulated = self._warehouse.query(f"SELECT * FROM {self.sql(name)}", {}, {"app": "test"})
        google = self._google_sql.catalog(self._schemas).inserted(
            statement, self.rows, {key: (p.type, p.value) for key, p in values.items()}
        )
        self.rows[self._plain(name)] = google
        return emulated, google


@pytest.fixture
def both(stack, google_sql):
    with stack.warehouse() as warehouse:
        yield Both(stack, google_sql, warehouse)


def ordered(rows):
    """Rows in an order that does not depend on amounts, in which NaN is NaN."""
    found = [
        {
            name: "NaN" if isinstance(value, float) and math.isnan(value) else value
            for name, value in row.items()
        }
        for row in rows
    ]
    return sorted(found, key=lambda row: [str(v) for v in row.values() if not isinstance(v, float)])


@pytest.mark.parametrize("name", TABULAR)
def test_audits_marts_and_views_say_the_same_on_both(name, both):
    ds, chosen = DATASETS[name], random.Random(name)
    months = [dt.date(2023, 11, 1), dt.date(2023, 12, 1), *(dt.date(2024, n, 1) for n in (1, 2, 3))]
    columns = (period_column("month"), *ds.columns) if ds.every else ds.columns
    both.put("staging", ds.columns, random_rows(ds, chosen))
    both.put(ds.table, columns, random_rows(ds, chosen, months if ds.every else ()))
    if name != "zones":
        zones = [{"location_id": n, "zone": f"Zone {n}"} for n in range(3)]
        both.put("zones", DATASETS["zones"].columns, zones)

    values = {"rows": Parameter("INT64", ROWS), "quarantined": Parameter("INT64", 3)}
    month = period_values(MONTH if ds.every else None)
    emulated, google = both.select(rules(ds, both.sql("staging"), both.sql(ds.table)), values | month)
    assert ordered(emulated) == ordered(google)
    assert len(google) == len(ds.audits)
    for feed in ds.feeds:
        filling = _insert(ds, feed.mart, both.sql(mart_table(feed.mart)), both.sql(ds.table))
        values = {"dataset": Parameter("STRING", name), **month}
        emulated, google = both.insert(filling, mart_table(feed.mart), values)
        assert ordered(emulated) == ordered(google)
        assert google
        emulated, google = both.select(both.views[feed.mart])
        assert ordered(emulated) == ordered(google)
