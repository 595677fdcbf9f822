"""The load log: one row per stage result that readers can see. The latest row of a stage is its state."""

import datetime as dt
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from elt.errors import PermanentError, TableNotFoundError
from elt.layout import LOAD_LOG, digest
from elt.periods import Grain, Partition, Period
from elt.provenance import Loaded, Origin
from elt.stage_request import StageRequest
from elt.stores import period_column, period_value
from elt.stores.bigquery import Parameter, Warehouse, Work
from elt.warehouse.sql import statement
from elt.warehouse.tables import TYPES, widen_log, with_tables

# Periods before one that its audits compare it with: a few, so that none stands for all.
COMPARED: Mapping[Grain, int] = {"hour": 24, "day": 7, "month": 3, "year": 1}

# The log's column `stage` names what has become visible, which is less than there are stages.
LogStage = Literal["raw", "typed", "warehouse", "mart", "postgres"]


@dataclass(frozen=True)
class LogRow:
    """A row of the log; `rows` and `quarantined` are None for raw bytes."""

    partition: Partition
    stage: LogStage
    rows: int | None
    quarantined: int | None
    bytes: int | None
    origin: Origin
    run_id: str
    started_at: dt.datetime
    finished_at: dt.datetime

    @classmethod
    def read(cls, row: Mapping[str, Any]) -> "LogRow":
        """A row as a query returns it."""
        origin = Origin(row["checksum"], row["schema_version"], row["source_etag"], row["source"])
        return cls(
            Partition.parse(row["dataset"], row["month"]),
            row["stage"],
            row["row_count"],
            row["quarantined_count"],
            row["byte_count"],
            origin,
            row["run_id"],
            row["started_at"],
            row["finished_at"],
        )


class Entry(NamedTuple):
    """A row to add: what a stage has made for a request."""

    request: StageRequest
    stage: LogStage
    loaded: Loaded


Log = Mapping[tuple[Partition, LogStage], LogRow]


def latest(warehouse: Warehouse, partitions: Collection[Partition] | None = None) -> Log:
    """The latest row of each stage of some partitions (None: of all); nothing where there is no log yet."""
    condition, given = among(partitions)
    text = statement("log_latest", load_log=warehouse.name(LOAD_LOG), partitions=condition)
    try:
        found = warehouse.query(text, given, labels("log"))
    except TableNotFoundError:
        # Reading creates nothing: `status` of an empty stack leaves it empty.
        return {}
    except PermanentError:
        if not widen_log(warehouse):
            raise
        found = warehouse.query(text, given, labels("log"))
    return {(row.partition, row.stage): row for row in map(LogRow.read, found)}


def record(
    warehouse: Warehouse, request: StageRequest, stage: LogStage, loaded: Loaded, *, repeated: bool = False
) -> None:
    """Add a row; `repeated`: only if the latest row of the stage says something else.

    A stage that finds its work done passes `repeated`: a predecessor that was killed may have done the work
    and not have added its row.
    """
    if not repeated:
        return record_all(warehouse, [Entry(request, stage, loaded)])
    text, given = statement("log_once", load_log=warehouse.name(LOAD_LOG)), values(request, stage, loaded)
    with_tables(warehouse, lambda: warehouse.query(text, given, labels("log", request.partition)))
    return None


def record_all(warehouse: Warehouse, entries: Sequence[Entry]) -> None:
    """Add rows of partitions of a dataset by one statement."""
    if not entries:
        return
    partitions = {entry.request.partition for entry in entries}
    first = entries[0].request.partition
    about = labels("log", first if len(partitions) == 1 else Partition(first.dataset))
    # No job with an id of ours: a row too many is harmless, and the query answers in one request.
    text, given = added(warehouse.name(LOAD_LOG)), listed(entries)
    with_tables(warehouse, lambda: warehouse.query(text, given, about))


def added(table: str, rows: str = "CAST(JSON_VALUE(entry, '$.rows') AS INT64)", counts: str = "") -> str:
    """The statement that adds the rows of `listed`; `counts` joins a table that `rows` may take them from."""
    return statement("log", load_log=table, rows=rows, counts=counts)


def listed(entries: Iterable[Entry]) -> dict[str, Parameter]:
    """The value of `@entries`."""

    def shown(entry: Entry) -> dict[str, Any]:
        given = {name: p.value for name, p in values(*entry).items()}
        period = entry.request.period
        return {**given, "start": period and period_value(period)}

    return {"entries": Parameter("STRING", json.dumps([shown(entry) for entry in entries], default=str))}


def values(request: StageRequest, stage: LogStage, loaded: Loaded) -> dict[str, Parameter]:
    """The values of a row, as `log_once.sql` wants them."""
    counted = stage != "raw"
    return {
        **owner(request),
        "stage": Parameter("STRING", stage),
        "rows": Parameter("INT64", loaded.rows if counted else None),
        "quarantined": Parameter("INT64", loaded.quarantined if counted else None),
        "bytes": Parameter("INT64", loaded.bytes),
        "checksum": Parameter("STRING", loaded.origin.checksum),
        "schema_version": Parameter("STRING", loaded.origin.schema_version),
        "source_etag": Parameter("STRING", loaded.origin.source_etag),
        "source": Parameter("STRING", loaded.origin.source),
        "started_at": Parameter("TIMESTAMP", request.started_at),
    }


def owner(request: StageRequest) -> dict[str, Parameter]:
    """The values of `@dataset`, `@month` and `@run_id`."""
    partition = request.partition
    names = {"dataset": partition.dataset, "month": partition.key, "run_id": request.run_id}
    return {name: Parameter("STRING", value) for name, value in names.items()}


def period_start(period: Period | None) -> dict[str, Parameter]:
    """The value of `@source_month` (or its like); nothing where there is no period."""
    if period is None:
        return {}
    column = period_column(period.grain)
    return {column.name: Parameter(TYPES[column.type], period_value(period))}


def period_values(period: Period | None) -> dict[str, Parameter]:
    """The value of `@source_month` (or its like), and a period's bounds; nothing where there is none."""
    if period is None:
        return {}
    column = period_column(period.grain)
    return {
        **period_start(period),
        "period_start": Parameter("DATETIME", period.start),
        "period_end": Parameter("DATETIME", period.end),
        "compared_since": Parameter(TYPES[column.type], period_value(period.shift(-COMPARED[period.grain]))),
    }


def among(partitions: Collection[Partition] | None) -> tuple[str, dict[str, Parameter]]:
    """A condition upon the columns `dataset` and `month`, and its values; None: all partitions.

    It holds for these partitions and for those between them: a year of hours would be too many terms.
    """
    if partitions is None:
        return "TRUE", {}
    # Plain comparisons: by these BigQuery reads few blocks of a clustered table, by functions all of them.
    terms, given = list[str](), dict[str, Parameter]()
    for number, dataset in enumerate(sorted({partition.dataset for partition in partitions})):
        given[f"dataset_{number}"] = Parameter("STRING", dataset)
        keys = sorted(p.key for p in partitions if p.dataset == dataset and p.key)
        between = "IS NULL"
        if keys:
            between = f"BETWEEN @first_{number} AND @last_{number}"
            given |= {
                f"{name}_{number}": Parameter("STRING", key)
                for name, key in zip(("first", "last"), (keys[0], keys[-1]), strict=True)
            }
        terms.append(f"(dataset = @dataset_{number} AND month {between})")
    return " OR ".join(terms) or "FALSE", given


def work_of(step: str, request: StageRequest, since: str) -> Work:
    """Name a job by what it does, for whom and with what (`since`), so that a retry finds it."""
    return work_of_all(step, [request], since)


def work_of_all(step: str, requests: Sequence[StageRequest], since: str) -> Work:
    """Name a job that works on several partitions of a dataset in one run."""
    request, periods = requests[0], [str(r.period) for r in (requests[0], *requests[1:][-1:]) if r.period]
    # All stacks of a project share one name space of jobs, and may have runs of the same id.
    run = digest(f"{request.settings.dataset} {request.run_id}")
    parts = ("taxiway", step, request.dataset.name, *periods, run, since)
    of = request.partition if len(requests) == 1 else Partition(request.dataset.name)
    return Work("-".join(parts), labels(step, of), request.awaited)


def labels(step: str, partition: Partition | None = None) -> dict[str, str]:
    """Labels of a job, by which costs can be told apart in BigQuery's billing export."""
    # BigQuery takes no capitals in labels.
    period = (partition.key or "").lower() if partition else ""
    of = {"dataset": partition.dataset, "period": period} if partition else {}
    return {"app": "taxiway", "step": step, **{name: value for name, value in of.items() if value}}
