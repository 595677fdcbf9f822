"""Judging what is staged by the dataset's audits, and keeping what they found."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, Self

from elt.catalogue import Dataset
from elt.errors import TableNotFoundError
from elt.layout import AUDIT_RESULTS, digest
from elt.periods import Partition, Period
from elt.provenance import Loaded
from elt.stage_request import StageRequest
from elt.stores.bigquery import Json, Parameter, Warehouse
from elt.warehouse import load_log
from elt.warehouse.sql import audit_statement, numbered, statement
from elt.warehouse.tables import with_tables

# Subqueries that one statement may be made of; today's longest single judgement has ten.
SUBQUERIES = 100
# Characters of a script: BigQuery takes a million bytes.
TEXT = 500_000


class Staged(NamedTuple):
    """A staging table as BigQuery describes it, and what was counted of it."""

    request: StageRequest
    table: Json
    loaded: Loaded

    @property
    def name(self) -> str:
        """The table's."""
        return str(self.table["tableReference"]["tableId"])


@dataclass(frozen=True)
class Verdict:
    """What one audit says of a partition; `found` is for people."""

    audit: str
    severity: str
    passed: bool
    found: str


@dataclass(frozen=True)
class Tally:
    """The audits that a partition's latest judgement did not let pass, those that stop it first."""

    verdicts: tuple[Verdict, ...] = ()

    @property
    def warnings(self) -> int:
        """How many of them only warn."""
        return len(self.verdicts) - self.failures

    @property
    def failures(self) -> int:
        """How many of them have kept the partition from being published."""
        return sum(verdict.severity == "stop" for verdict in self.verdicts)

    @classmethod
    def latest(
        cls, warehouse: Warehouse, partitions: Collection[Partition] | None = None
    ) -> dict[Partition, Self]:
        """Of some partitions (None: of all), those that an audit has something to say about."""
        condition, given = load_log.among(partitions)
        text = statement("audits_latest", audit_results=warehouse.name(AUDIT_RESULTS), partitions=condition)
        try:
            found = warehouse.query(text, given, load_log.labels("report"))
        except TableNotFoundError:
            return {}
        verdicts = dict[Partition, list[Verdict]]()
        for row in found:
            partition = Partition.parse(row.pop("dataset"), row.pop("month"))
            verdicts.setdefault(partition, []).append(Verdict(passed=False, **row))
        return {partition: cls(tuple(among)) for partition, among in verdicts.items()}


def over_time(warehouse: Warehouse, dataset: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Every judgement of a dataset, oldest first; and what audits that did not pass found, newest first.

    A judgement has a `month`, `checked_at` and the names of audits (by commas, or None) in `passed`, `warned`
    and `stopped`.
    """
    given, results = {"dataset": Parameter("STRING", dataset)}, warehouse.name(AUDIT_RESULTS)
    texts = (statement(name, audit_results=results) for name in ("audits_over_time", "audits_newest"))
    try:
        judged, found = (list(warehouse.query(text, given, load_log.labels("report"))) for text in texts)
    except TableNotFoundError:
        return [], []
    return judged, found


def judge(warehouse: Warehouse, staged: Sequence[Staged]) -> dict[Period | None, list[Verdict]]:
    """Judge staging tables of a dataset once, however often asked; the verdicts are kept whatever they are.

    Each is compared with what is published, and with what is staged beside it of earlier periods.
    """
    request, ds = staged[0].request, staged[0].request.dataset
    results, judgements, values = warehouse.name(AUDIT_RESULTS), list[str](), dict[str, Parameter]()
    for number, one in enumerate(staged):
        audits = rules(ds, warehouse.name(one.name), _compared(warehouse, one, staged, number))
        given = {
            "rows": Parameter("INT64", one.loaded.rows),
            "quarantined": Parameter("INT64", one.loaded.quarantined),
            **load_log.owner(one.request),
            **load_log.period_values(one.request.period),
        }
        text, own = numbered(statement("judgement", audits=audits), number, given)
        judgements.append(text)
        values |= own
    together = max(1, SUBQUERIES // max(1, len(ds.audits)))
    statements = [
        statement("record_audits", audit_results=results, judgements="UNION ALL\n".join(some))
        for some in (judgements[at : at + together] for at in range(0, len(judgements), together))
    ]
    # Other rules are other work: whoever corrects a rule and clears the task gets another verdict.
    since = f"{created(staged)}-{digest(rules(ds, 'staging', 'published'))}"
    for number, text in enumerate(_scripts(statements)):
        named = f"{since}-{number}" if number else since
        work = load_log.work_of_all("audit", [one.request for one in staged], named)
        execute = partial(warehouse.execute, text, values, work)
        with_tables(warehouse, execute)
    condition, among = load_log.among([one.request.partition for one in staged])
    query = statement("audits_of_run", audit_results=results, partitions=condition)
    given = {**among, "run_id": Parameter("STRING", request.run_id)}
    found: dict[Period | None, list[Verdict]] = {one.request.period: [] for one in staged}
    for row in warehouse.query(query, given, load_log.labels("audit", request.partition)):
        period = Partition.parse(ds.name, row.pop("month")).period
        if period in found:
            found[period].append(Verdict(**row))
    return found


def _scripts(statements: Sequence[str]) -> Iterator[str]:
    """The statements in as few scripts as BigQuery takes."""
    script = ""
    for text in statements:
        if script and len(script) + len(text) > TEXT:
            yield script
            script = ""
        script += f";\n{text}" if script else text
    yield script


def created(staged: Sequence[Staged]) -> str:
    """What changes when one of them is dropped and created again, which is new work under the same name."""
    times = [str(one.table["creationTime"]) for one in staged]
    return times[0] if len(times) == 1 else digest(" ".join(times))


def _compared(warehouse: Warehouse, one: Staged, staged: Sequence[Staged], number: int) -> str:
    """The published table, with what is staged of the periods that this one is compared with."""
    ds, period = one.request.dataset, one.request.period
    table = warehouse.name(ds.table)
    if period is None or len(staged) == 1:
        return table
    since = period.shift(-load_log.COMPARED[period.grain])
    columns = ", ".join(f"`{column.name}`" for column in ds.columns)
    beside = [
        f"SELECT @{ds.period_column}_{at}, {columns} FROM {warehouse.name(other.name)}"  # noqa: S608
        for at, other in enumerate(staged)
        if at < number and other.request.period and since <= other.request.period < period
    ]
    published = f"SELECT {ds.period_column}, {columns} FROM {table}"  # noqa: S608
    return f"({' UNION ALL '.join([published, *beside])})"


def rules(ds: Dataset, staging: str, table: str) -> str:
    """All audits of a dataset as one query: `audit`, `severity`, `passed`, `found`. One job, not ten."""
    # In quotes a column may have a keyword's name: at, end, order.
    columns = [f"`{column.name}`" for column in ds.columns]
    given = {
        "staging": staging,
        "table": table,
        "key": f"`{ds.key}`",
        "key_name": ds.key,
        "period": ds.period_column,
        "columns": ", ".join(columns),
        "null_shares": ", ".join(f"SAFE_DIVIDE(COUNTIF({c} IS NULL), COUNT(*)) AS {c}" for c in columns),
    }
    return "\nUNION ALL\n".join(
        f"SELECT '{audit.name}' AS audit, '{audit.severity}' AS severity, passed, found\n"
        f"FROM (\n{audit_statement(audit, ds.package, **given)}\n)"
        for audit in ds.audits
    )
