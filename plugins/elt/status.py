"""What there is, and what *loaded* means: for `status`, `run` and `up` alike.

A partition is loaded when the load log has every stage of it from the same file, which came from the source
that is configured now, by the catalogue's rules of today.
"""

import datetime as dt
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Self

from elt.catalogue import Dataset, Mart
from elt.catalogue.registry import DATASETS
from elt.connections import Connections
from elt.errors import InvalidPeriodError, TableNotFoundError
from elt.layout import Family
from elt.periods import KINDS, Partition, Period
from elt.provenance import read_drift, read_size, read_source
from elt.stages.warehouse import is_current_mart
from elt.stores import period_column, period_value
from elt.stores.bigquery import Parameter, Warehouse
from elt.stores.describing import is_sample
from elt.stores.gcs import Lake, Stored
from elt.warehouse import load_log
from elt.warehouse.audits import Tally
from elt.warehouse.load_log import Log, LogRow, LogStage

# Of a partition's rows in the log the first of these is shown.
_SHOWN: tuple[LogStage, ...] = ("warehouse", "postgres", "typed", "raw")

FAMILIES: Mapping[LogStage, Family] = {
    "raw": "to_lake",
    "typed": "to_lake",
    "warehouse": "to_warehouse",
    "mart": "to_warehouse",
    "postgres": "to_postgres",
}
"""The family of the DAG that makes each stage, the lake's first."""


def families(made: Iterable[LogStage] = FAMILIES) -> tuple[Family, ...]:
    """The families of the DAGs that make some stages, each once, in the stages' order."""
    return tuple(dict.fromkeys(FAMILIES[stage] for stage in made))


def stages(dataset: Dataset, *, has_postgres: bool = True) -> tuple[LogStage, ...]:
    """The load log's stages that a partition of a dataset goes through, in order."""
    if not dataset.tabular:
        return ("raw",)
    wanted: list[LogStage] = ["raw", "typed", "warehouse"]
    if dataset.feeds:
        wanted.append("mart")
    if dataset.in_postgres and has_postgres:
        wanted.append("postgres")
    return tuple(wanted)


def check_access(connections: Connections) -> None:
    """Ask lake and warehouse what every stage asks; AccessDeniedError if the account may not, or not yet."""
    with connections.lake() as lake:
        lake.find("raw/")
    with connections.warehouse() as warehouse:
        warehouse.tables()
        warehouse.query("SELECT 1 AS allowed", {}, {"step": "access"})


def missing(
    connections: Connections, partitions: Collection[Partition]
) -> dict[Partition, tuple[LogStage, ...]]:
    """The stages that each partition lacks, in order; none where it is loaded. It counts no table."""
    with connections.warehouse() as warehouse:
        log = load_log.latest(warehouse, partitions)
    return _missing(connections, partitions, _complete(connections, log))


@dataclass(frozen=True)
class Covered:
    """What the log says of a partition; `missing` are the stages that `run` would do, none if it is loaded.

    `logged` is the row of the last stage that it has, `source` where its file came from. `tally` has the
    audits that its latest judgement did not pass.
    """

    missing: tuple[LogStage, ...]
    logged: LogRow | None
    source: str | None
    tally: Tally


def coverage(
    connections: Connections, dataset: Dataset, first: Period | None, last: Period | None
) -> dict[Partition, Covered]:
    """What is logged of a dataset from one period to another (None: it has none), be there thousands.

    Two queries, whatever their number, and no look into a store: what somebody has deleted there since,
    `status` sees.
    """
    ends = {Partition(dataset.name, first), Partition(dataset.name, last)}
    with connections.warehouse() as warehouse:
        log, tallies = load_log.latest(warehouse, ends), Tally.latest(warehouse, ends)
    log = _complete(connections, log)
    partitions = {*tallies, *(partition for partition, _ in log)}
    found = {}
    for partition, lacking in _missing(connections, partitions, log).items():
        raw = log.get((partition, "raw"))
        source = raw.origin.source if raw else None
        found[partition] = Covered(lacking, _shown(log, partition), source, tallies.get(partition, Tally()))
    return found


def drift(connections: Connections, dataset: Dataset) -> dict[Partition, list[str]]:
    """The partitions whose file has columns that the catalogue does not know, and those columns."""
    with connections.lake() as lake:
        typed = _objects(lake, [f"typed/{dataset.name}/"])
    unknown = {partition: read_drift(stored.metadata) for partition, stored in typed.items()}
    return {partition: unknown[partition] for partition in sorted(unknown) if unknown[partition]}


def status(connections: Connections, partitions: Collection[Partition] | None = None) -> list[dict[str, Any]]:
    """Describe some partitions (None: every one that is anywhere), in the catalogue's order.

    `state` is *loaded* where no stage is missing and all stores have as many rows; *missing* where there is
    nothing; *partial* in between. `missing` are the stages that `run` would do. `postgres_rows` is None
    where there is no Postgres or the dataset does not go there; a dataset that is no table has no rows
    anywhere. `drift` are the columns of its file that the catalogue does not know. `audit_warnings` and
    `audit_failures` count the audits that its latest judgement did not pass, `audits` names them with what
    they found.
    """
    stores = _Stores.read(connections, partitions)
    if partitions is None:
        logged = {partition for partition, _ in stores.log}
        partitions = {
            *_whole(stores.raw),
            *stores.typed,
            *stores.warehouse,
            *(stores.postgres or ()),
            *logged,
        }
    places = {name: place for place, name in enumerate(DATASETS)}
    # What was loaded by an entry that is no longer there has nobody to say what it should be.
    known = {partition for partition in partitions if partition.dataset in DATASETS}
    wanted = sorted(known, key=lambda p: (places[p.dataset], p))
    lacking = _missing(connections, wanted, stores.log)
    return [_entry(partition, stores, lacking[partition]) for partition in wanted]


def mart_head(connections: Connections, mart: Mart, n: int) -> list[dict[str, Any]]:
    """The first rows of a mart, as its preview says, times as texts; none before there is a mart."""
    if mart.preview is None:
        return []
    with connections.warehouse() as warehouse:
        query = (
            f"SELECT {', '.join(mart.preview.columns)} FROM {warehouse.name(mart.name)} "  # noqa: S608
            f"ORDER BY {', '.join(mart.preview.order)} LIMIT @n"
        )
        try:
            rows = warehouse.query(query, {"n": Parameter("INT64", n)}, load_log.labels("report"))
        except TableNotFoundError:
            return []
    return [{name: str(v) if isinstance(v, dt.date) else v for name, v in row.items()} for row in rows]


@dataclass(frozen=True)
class _Stores:
    """What each store has, by partition. `postgres` is None where there is no Postgres."""

    raw: Mapping[Partition, Stored]
    typed: Mapping[Partition, Stored]
    warehouse: Mapping[Partition, int]
    postgres: Mapping[Partition, int] | None
    log: Log
    audits: Mapping[Partition, Tally]

    def raw_of(self, partition: Partition) -> Stored | None:
        """The file that a partition is in."""
        file = DATASETS[partition.dataset].file_period(partition.period)
        return self.raw.get(Partition(partition.dataset, file))

    @classmethod
    def read(cls, connections: Connections, partitions: Collection[Partition] | None) -> Self:
        """Ask all stores for some partitions (None: for everything)."""
        with connections.warehouse() as warehouse:
            log = load_log.latest(warehouse, partitions)
            counts = _warehouse_rows(warehouse, partitions)
            audits = Tally.latest(warehouse, partitions)
        with connections.lake() as lake:
            names = [""] if partitions is None else sorted({f"{p.dataset}/" for p in partitions})
            raw, typed = (_objects(lake, [f"{area}/{name}" for name in names]) for area in ("raw", "typed"))
        in_postgres = _postgres_rows(connections, partitions)
        return cls(raw, typed, counts, in_postgres, _with_sources(log, raw), audits)


def _missing(
    connections: Connections, partitions: Collection[Partition], log: Log
) -> dict[Partition, tuple[LogStage, ...]]:
    found = dict[Partition, tuple[LogStage, ...]]()
    for name in {partition.dataset for partition in partitions}:
        ds = DATASETS[name]
        with connections.source(ds) as source:
            base_url = source.base_url
        for partition in partitions:
            if partition.dataset == name:
                current = _current(partition, ds, log, base_url)
                wanted = stages(ds, has_postgres=connections.has_postgres)
                found[partition] = tuple(stage for stage in wanted if stage not in current)
    return found


def _current(partition: Partition, ds: Dataset, log: Log, source: str) -> set[LogStage]:
    """The stages whose results are of the file that is in raw/, by today's rules, from this source."""
    rows = {stage: row for stage in stages(ds) if (row := log.get((partition, stage)))}
    raw = rows.get("raw")
    # Rows of another source are not these rows, however complete they are: a sample never passes for real.
    if raw is None or raw.origin.source != source:
        return set()
    current = {
        stage
        for stage, row in rows.items()
        if row.origin.checksum == raw.origin.checksum
        # Raw bytes have no schema; a mart's version is made of the published one's and of its own SQL.
        and (stage in ("raw", "mart") or row.origin.schema_version == ds.schema_version)
    }
    if "warehouse" not in current or not is_current_mart(ds, rows.get("mart"), rows["warehouse"]):
        current.discard("mart")
    return current


def _shown(log: Log, partition: Partition) -> LogRow | None:
    return next((row for stage in _SHOWN if (row := log.get((partition, stage)))), None)


def _complete(connections: Connections, log: Log) -> Log:
    """The log with the sources that it lacks; the lake is asked only if there are such."""
    unknown = {p.dataset for (p, stage), row in log.items() if stage == "raw" and not row.origin.source}
    if not unknown:
        return log
    with connections.lake() as lake:
        return _with_sources(log, _objects(lake, [f"raw/{name}/" for name in sorted(unknown)]))


def _with_sources(log: Log, raw: Mapping[Partition, Stored]) -> Log:
    """The log with sources that an older version did not note: the raw objects say where they are from."""
    completed = dict(log)
    for (partition, stage), row in log.items():
        if stage == "raw" and not row.origin.source and partition in raw:
            origin = replace(row.origin, source=read_source(raw[partition].metadata))
            completed[partition, stage] = replace(row, origin=origin)
    return completed


def _entry(partition: Partition, stores: _Stores, lacking: tuple[LogStage, ...]) -> dict[str, Any]:
    raw, typed = stores.raw_of(partition), stores.typed.get(partition)
    facts: Mapping[str, str] = typed.metadata if typed else {}
    ds, rows = DATASETS[partition.dataset], dict[str, int]()
    if ds.tabular:
        rows = {
            "typed_rows": _number(facts.get("rows", "")),
            "warehouse_rows": stores.warehouse.get(partition, 0),
        }
        if stores.postgres is not None and ds.in_postgres:
            rows["postgres_rows"] = stores.postgres.get(partition, 0)
    tally = stores.audits.get(partition, Tally())
    logged = _shown(stores.log, partition)
    source = read_source(raw.metadata) if raw else None
    return {
        "dataset": partition.dataset,
        "period": partition.key,
        "raw_bytes": read_size(raw) if raw else 0,
        **dict.fromkeys(("typed_rows", "warehouse_rows", "postgres_rows")),
        **rows,
        "quarantined_rows": _number(facts.get("quarantined", "")) if rows else None,
        "drift": read_drift(facts),
        "audit_warnings": tally.warnings,
        "audit_failures": tally.failures,
        "audits": [f"{verdict.audit}: {verdict.found}" for verdict in tally.verdicts],
        "state": _state(partition, rows, stores, lacking),
        "missing": list(lacking),
        "source": source,
        "sample": is_sample(ds, source),
        "run_id": logged.run_id if logged else None,
        "loaded_at": logged.finished_at.isoformat() if logged else None,
        "checksum": logged.origin.checksum if logged else None,
    }


def _state(
    partition: Partition, rows: Mapping[str, int], stores: _Stores, lacking: tuple[LogStage, ...]
) -> str:
    raw, typed = stores.raw_of(partition), stores.typed.get(partition)
    if raw is None and not any(rows.values()):
        return "missing"
    # The log says what was done; what somebody has deleted or replaced since is seen in the stores only.
    logged = stores.log.get((partition, "raw"))
    objects = (raw, typed) if rows else (raw,)
    checksums = {stored.metadata.get("checksum") if stored else None for stored in objects}
    intact = logged is not None and checksums == {logged.origin.checksum} and len(set(rows.values())) <= 1
    return "loaded" if intact and not lacking else "partial"


def _objects(lake: Lake, prefixes: Iterable[str]) -> dict[Partition, Stored]:
    found = {}
    for stored in (stored for prefix in prefixes for stored in lake.list(prefix)):
        # What somebody else has put there says what it likes.
        with suppress(KeyError, InvalidPeriodError):
            found[Partition.parse(stored.metadata["dataset"], stored.metadata.get("month"))] = stored
    return found


def _whole(raw: Iterable[Partition]) -> Iterator[Partition]:
    """The raw objects that are a partition: a file of several is none of its own."""
    for partition in raw:
        ds = DATASETS.get(partition.dataset)
        if not (ds and ds.shares_files):
            yield partition


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() else 0


def _periods(ds: Dataset, partitions: Collection[Partition] | None) -> list[Period] | None:
    """The periods of a dataset among some partitions; None: all there are."""
    if partitions is None:
        return None
    return sorted(p.period for p in partitions if p.dataset == ds.name and p.period)


def _wanted(partitions: Collection[Partition] | None) -> list[Dataset]:
    names = DATASETS if partitions is None else {partition.dataset for partition in partitions}
    return [ds for ds in DATASETS.values() if ds.name in names and ds.tabular]


def _warehouse_rows(warehouse: Warehouse, partitions: Collection[Partition] | None) -> dict[Partition, int]:
    try:
        present = warehouse.tables()
    except TableNotFoundError:
        return {}
    counts = []
    for ds in _wanted(partitions):
        if ds.table not in present:
            continue
        # As a text, so that rows by dates, by times and by neither are one result.
        start = f"CAST({ds.period_column or 'NULL'} AS STRING)"
        counts.append(
            f"SELECT '{ds.name}' AS dataset, {start} AS start, COUNT(*) AS row_count "  # noqa: S608
            f"FROM {warehouse.name(ds.table)} {_between(ds, partitions)} GROUP BY start"
        )
    if not counts:
        return {}
    rows = warehouse.query("\nUNION ALL\n".join(counts), {}, load_log.labels("report"))
    found = {_partition(row["dataset"], row["start"]): row["row_count"] for row in rows if row["row_count"]}
    # Those between them were counted, too.
    wanted = found.keys() if partitions is None else set(partitions)
    return {partition: rows for partition, rows in found.items() if partition in wanted}


def _between(ds: Dataset, partitions: Collection[Partition] | None) -> str:
    """A condition upon the periods that are asked for, and those between them: few words for any number."""
    periods = _periods(ds, partitions)
    if not ds.every or not periods:
        return ""
    column = period_column(ds.every)
    kind = column.type.upper()
    first, last = (f"{kind} '{period_value(period).isoformat()}'" for period in (periods[0], periods[-1]))
    return f"WHERE {column.name} BETWEEN {first} AND {last}"


def _partition(dataset: str, start: str | None) -> Partition:
    """A partition by when it starts, as a table has it."""
    every = DATASETS[dataset].every
    period = KINDS[every].of(dt.datetime.fromisoformat(start)) if every and start else None
    return Partition(dataset, period)


def _postgres_rows(
    connections: Connections, partitions: Collection[Partition] | None
) -> dict[Partition, int] | None:
    if not connections.has_postgres:
        return None
    from elt.stores import postgres  # its drivers only where there is one

    with connections.postgres() as connection:
        return {
            Partition(ds.name, period): rows
            for ds in _wanted(partitions)
            if ds.in_postgres
            for period, rows in postgres.count(connection, ds, _periods(ds, partitions)).items()
        }
