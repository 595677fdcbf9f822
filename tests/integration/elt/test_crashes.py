"""A task's process killed with SIGKILL at any of its steps: the next attempt ends as if nothing had been."""

import itertools
import random
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
import taxi
from kills import AfterStep, AtTime

from elt.catalogue.registry import DATASETS, MARTS
from stacks import Stack

pytestmark = pytest.mark.emulators
# What a stage finds done.
NEEDS = {
    "download": (),
    "conform": ("download",),
    "stage": ("download", "conform"),
    "audit": ("download", "conform", "stage"),
    "publish": ("download", "conform", "stage", "audit"),
    "mart": ("download", "conform", "stage", "audit", "publish"),
    "postgres": ("download",),
}
RANDOM_KILLS = 6
SEED = 2024


@dataclass(frozen=True)
class Case:
    """One stage of one dataset, whose published file can be exchanged for another."""

    stage: str
    dataset: str
    month: str | None

    def publish(self, source, edition: int) -> None:
        if self.month:
            trips = taxi.trips(self.month, 51 + edition, strays=1)
            source.serve(taxi.YELLOW.format(self.month), taxi.parquet(trips))
        else:
            source.serve(taxi.ZONES, taxi.ZONES_CSV.replace(b"264", b"26%d" % (4 + edition)))

    def run(self, stack: Stack, *stages: str) -> None:
        for stage in stages or (self.stage,):
            stack.run(stage, self.dataset, self.month)


CASES = [
    *(Case(stage, "yellow", "2024-01") for stage in NEEDS),
    *(Case(stage, "zones", None) for stage in ("publish", "postgres")),
]
# The stage with the transaction that most depends on; the others take half a minute each and run with --all.
AT_ONCE = ("publish",)


@pytest.fixture
def stack(stack, dsn) -> Stack:
    return stack.with_postgres(dsn)


@pytest.fixture
def scratch(tmp_path, monkeypatch) -> Path:
    """Where temporary files would be."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, marks=() if case.month and case.stage in AT_ONCE else pytest.mark.long)
        for case in CASES
    ],
    ids=lambda case: f"{case.dataset} {case.stage}",
)
def test_a_task_killed_at_any_step_ends_the_same_when_it_is_tried_again(stack, faulty_source, scratch, case):
    undisturbed, took = [], 0.0
    for edition in (0, 1):
        prepare(case, stack, faulty_source, edition)
        started = time.monotonic()
        case.run(stack)
        took = time.monotonic() - started
        undisturbed.append(everything(stack, scratch))
    assert undisturbed[0] != undisturbed[1], "each edition leaves traces of its own"
    done = number = 0
    for number, kill in enumerate(kills(case, took), 2):
        edition = number % 2  # so that there is always something to do
        prepare(case, stack, faulty_source, edition)
        kill(partial(case.run, stack))
        assert whole(stack, case, undisturbed), f"{kill}: a reader sees part of a month"
        case.run(stack)
        assert everything(stack, scratch) == undisturbed[edition], kill
        done += not kill.missed
    assert done > 4, "it was killed at several steps"
    if case.stage == "audit":
        assert judgements(stack) == number + 1, "each month that was staged is judged once"


def prepare(case: Case, stack: Stack, source, edition: int) -> None:
    """Let everything before the stage be done with this edition of the file."""
    case.publish(source, edition)
    if NEEDS[case.stage]:
        case.run(stack, *NEEDS[case.stage])


def kills(case: Case, took: float) -> Iterator[AfterStep | AtTime]:
    """After each step until there are no more, and some times within a run that takes so many seconds."""
    for steps in itertools.count(1):
        kill = AfterStep(steps)
        yield kill
        if kill.missed:
            break
    drawn = random.Random(f"{SEED} {case}")
    for _ in range(RANDOM_KILLS):
        yield AtTime(drawn.uniform(0, took))


def whole(stack: Stack, case: Case, undisturbed: list[dict]) -> bool:
    """Whether what a reader sees of a dataset is one edition of it, in each place."""
    names = {"yellow": ("yellow_trips", "mart_daily_zone_revenue"), "zones": ("zones",)}[case.dataset]
    now = {**tables(stack), **{f"postgres {k}": v for k, v in in_postgres(stack).items()}}
    for name in (*names, f"postgres {names[0]}"):
        editions = [
            seen["tables"].get(name, seen["postgres"].get(name.removeprefix("postgres "), []))
            for seen in undisturbed
        ]
        if now.get(name, []) not in editions:
            return False
    return True


def everything(stack: Stack, scratch: Path) -> dict[str, object]:
    """All there is anywhere, without times."""
    return {
        "objects": objects(stack),
        "tables": tables(stack),
        "log": {key: (row.rows, row.quarantined, row.origin.checksum) for key, row in stack.logs().items()},
        "postgres": in_postgres(stack),
        "temporary files": sorted(path.name for path in scratch.iterdir()),
    }


def objects(stack: Stack) -> dict[str, object]:
    """The objects of the lake, without what changes with each write."""
    with stack.lake() as lake:
        return {stored.name: (stored.size, dict(stored.metadata)) for stored in lake.list("")}


def judgements(stack: Stack) -> float:
    """How often all audits of the dataset were asked."""
    (found,) = stack.select("SELECT COUNT(*) AS n FROM TABLE", "audit_results")
    return float(found["n"] / len(DATASETS["yellow"].audits))


def tables(stack: Stack) -> dict[str, list[str]]:
    """The rows of every table of the warehouse that has any; the names of all."""
    with stack.warehouse() as bq:
        names = sorted(bq.tables() - {"load_log", "audit_results", *MARTS})
        select = "SELECT '{0}' AS name, TO_JSON_STRING(t) AS row FROM {1} AS t"
        query = "\nUNION ALL\n".join(select.format(name, bq.name(name)) for name in names)
        found: dict[str, list[str]] = {name: [] for name in names}
        for row in bq.query(query, {}, {}) if names else []:
            found[row["name"]].append(row["row"])
    return {name: sorted(rows) for name, rows in found.items()}


def in_postgres(stack: Stack) -> dict[str, list[str]]:
    """The rows of every table and view of Postgres."""
    with stack.connections.postgres() as connection:
        query = """SELECT relname FROM pg_class
            WHERE relkind IN ('r', 'p', 'v') AND relnamespace = 'public'::regnamespace"""
        names = [name for (name,) in connection.execute(query)]
        return {name: sorted(map(str, connection.execute(f"SELECT * FROM {name}"))) for name in names}
