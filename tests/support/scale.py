"""Years of partitions that nobody has loaded: entries, and rows in the load log and of audits."""

from __future__ import annotations

import datetime as dt
import random
from typing import TYPE_CHECKING

import psutil

from elt.catalogue import Dataset
from elt.layout import AUDIT_RESULTS, LOAD_LOG
from elt.periods import Day, Month
from elt.stores.bigquery import Parameter, Warehouse

if TYPE_CHECKING:
    from checkout import Checkout

MONTHS, DAYS = 180, 3_650
NAMES = tuple(f"months_{n}" for n in range(1, 5))
SOURCE = "https://publisher.test"
# What is due on the day of the test, the first period so long before that there are as many.
_LAST_DAY = Day.of(dt.datetime.now(dt.UTC).replace(tzinfo=None))
_FIRST_DAY = _LAST_DAY.shift(1 - DAYS)
_FIRST_MONTH = Month.of(_LAST_DAY.start).shift(1 - MONTHS)
_ENTRIES = f"""
from elt.catalogue import STANDARD_AUDITS, Column, Dataset, Publisher
from elt.periods import Day, Month


def entry(name, parts, first):
    columns = (Column("at", "timestamp", "When."), Column("amount", "float64", "Any."))
    return Dataset(name, name, f"/{{name}}_{{parts}}.csv", name, "at", columns, first=first, lag=0,
                   postgres=False, audits=STANDARD_AUDITS, source=Publisher("scale", "{SOURCE}"))


MONTHS_1, MONTHS_2, MONTHS_3, MONTHS_4 = (
    entry(name, "{{year}}-{{month}}", {_FIRST_MONTH!r}) for name in {NAMES!r}
)
DAYS = entry("days", "{{year}}-{{month}}-{{day}}", {_FIRST_DAY!r})
"""


_SPLIT = """FROM (
  SELECT SPLIT(partition, ' ') AS parts FROM UNNEST(SPLIT(@partitions, ',')) AS partition
)"""
_LOGGED = f"""
INSERT INTO {{table}} (dataset, month, stage, row_count, quarantined_count, byte_count, checksum,
  schema_version, source, run_id, started_at, finished_at)
SELECT @dataset, parts[OFFSET(0)], stage, CAST(parts[OFFSET(1)] AS INT64),
  CAST(parts[OFFSET(2)] AS INT64), 1, 'a', @version, @source, 'scale',
  CURRENT_TIMESTAMP(), CURRENT_TIMESTAMP()
{_SPLIT} CROSS JOIN UNNEST(['raw', 'typed', 'warehouse']) AS stage
"""
_JUDGED = f"""
INSERT INTO {{table}} (dataset, month, run_id, audit, severity, passed, found, checked_at)
SELECT @dataset, parts[OFFSET(0)], 'scale', audit, 'warn', LENGTH(parts[OFFSET(2)]) > 1, parts[OFFSET(2)],
  CURRENT_TIMESTAMP()
{_SPLIT} CROSS JOIN UNNEST(SPLIT(@audits, ',')) AS audit
"""


def add(checkout: Checkout) -> None:
    """Add the entries to a checkout whose platform runs, and say of each partition that it is loaded."""
    package = checkout.folder / "plugins" / "scale" / "datasets"
    package.mkdir(parents=True)
    for folder in (package.parent, package):
        (folder / "__init__.py").touch()
    (package / "entries.py").write_text(_ENTRIES)
    # The API server has read the catalogue; the process manager starts it again, and `up` waits for it.
    (server,) = (pid for pid, words in checkout.by_pid().items() if " airflow api_server " in f" {words} ")
    psutil.Process(server).terminate()
    psutil.wait_procs([psutil.Process(server)], timeout=60)
    checkout.command("up")
    entries: dict[str, object] = {}
    exec(_ENTRIES, entries)
    with checkout.connections.warehouse() as warehouse:
        for ds in entries.values():
            if isinstance(ds, Dataset) and ds.first:
                _fill(
                    warehouse,
                    ds,
                    [str(ds.first.shift(n)) for n in range(MONTHS if ds.every == "month" else DAYS)],
                )


def _fill(warehouse: Warehouse, ds: Dataset, keys: list[str]) -> None:
    chance = random.Random(ds.name)
    # Numbers that compress as badly as real ones do.
    partitions = [f"{key} {chance.randrange(10**7)} {chance.randrange(10**3)}" for key in keys]
    given = {
        "dataset": Parameter("STRING", ds.name),
        "partitions": Parameter("STRING", ",".join(partitions)),
        "version": Parameter("STRING", ds.schema_version),
        "source": Parameter("STRING", SOURCE),
        "audits": Parameter("STRING", ",".join(audit.name for audit in ds.audits)),
    }
    for text in (_LOGGED, _JUDGED):
        table = warehouse.name(LOAD_LOG if text is _LOGGED else AUDIT_RESULTS)
        warehouse.query(text.format(table=table), given, {"app": "taxiway", "step": "test"})
