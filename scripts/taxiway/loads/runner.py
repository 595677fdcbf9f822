"""What there is to load, and the Airflow runs that load it.

The load log decides: a run that Airflow calls successful may have skipped a month that was not
published, and a run that is gone may have loaded one.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from elt.catalogue import Dataset
from elt.catalogue.registry import dataset
from elt.months import Month
from taxiway.airflow.client import AirflowApi
from taxiway.console.progress import Progress
from taxiway.errors import TaxiwayError
from taxiway.loads.eta import Pace

POLL_SECONDS = 0.7
# Units under way at once: enough to keep Airflow busy, few enough to keep their order and the requests small.
WINDOW = 12
# A consumer's run appears within seconds of its asset's event; longer means the event was lost.
EVENT_SECONDS = 45
FINAL = ("success", "failed")
SILENT = (None, "scheduled", "removed")
# What is told of a task when there are many.
NOTABLE = ("failed", "upstream_failed", "up_for_retry")
NOT_PUBLISHED = "not published yet"


@dataclass(frozen=True, order=True)
class Unit:
    """One month of one dataset; `month` is empty for a dataset without months."""

    dataset: str
    month: str = ""

    def __str__(self) -> str:
        return f"{self.dataset} {self.month}".strip()


Loaded = Mapping[Unit, Collection[str]]
"""The stages (`raw`, `typed`, `warehouse`, `mart`, `postgres`) that the load log knows of a unit."""


def units(entry: Dataset, months: Iterable[Month]) -> list[Unit]:
    """The units of a dataset that a command line names."""
    return [Unit(entry.name, str(month)) for month in months] if entry.monthly else [Unit(entry.name)]


def needed(unit: Unit, loaded: Loaded) -> list[str]:
    """DAG ids whose work is missing for `unit`, the lake's first."""
    entry, stages = dataset(unit.dataset), loaded.get(unit, ())
    dags = []
    if ("typed" if entry.tabular else "raw") not in stages:
        dags.append(f"{unit.dataset}_to_lake")
    if (entry.tabular and "warehouse" not in stages) or (entry.feeds and "mart" not in stages):
        dags.append(f"{unit.dataset}_to_warehouse")
    if entry.in_postgres and "postgres" not in stages:
        dags.append(f"{unit.dataset}_to_postgres")
    return dags


@dataclass
class Watch:
    """Follows the runs of one unit until each DAG in `waiting` has come to an end.

    None of these runs started before `since`. (When a run was due says nothing: in a backfill it is
    when its month was.)
    """

    unit: Unit
    waiting: list[str]
    since: str = ""
    outcome: str = ""
    lake_done: float = 0.0

    @property
    def over(self) -> bool:
        """Whether nothing more is to come."""
        return bool(self.outcome) or not self.waiting


@dataclass(frozen=True)
class Snapshot:
    """What Airflow says at one moment: the newest run by DAG and month, and the tasks by run."""

    runs: Mapping[tuple[str, str], Mapping[str, Any]]
    tasks: Mapping[tuple[str, str], list[Mapping[str, Any]]]

    @classmethod
    def take(cls, api: AirflowApi, watches: Sequence[Watch]) -> Self:
        """Three requests, however many units are watched."""
        dag_ids = sorted({dag_id for watch in watches for dag_id in watch.waiting})
        since = min(watch.since for watch in watches)
        # One that is queued has not started yet, however long ago it was made.
        queued = api.runs(dag_ids, states=["queued"])
        found = [*api.runs(dag_ids, start_date_gte=since), *queued]
        newest = {(run["dag_id"], run["partition_key"] or ""): run for run in found}
        watched = {(dag_id, watch.unit.month) for watch in watches for dag_id in watch.waiting}
        runs = {key: run for key, run in newest.items() if key in watched}
        tasks: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
        if runs:
            for task in api.task_instances(dag_ids, [run["dag_run_id"] for run in runs.values()]):
                tasks.setdefault((task["dag_id"], task["dag_run_id"]), []).append(task)
        return cls(runs, tasks)

    def tasks_of(self, dag_id: str, month: str) -> list[Mapping[str, Any]]:
        """Tasks of the newest run of that month."""
        return self.tasks.get((dag_id, self.runs[dag_id, month]["dag_run_id"]), [])


@dataclass
class Loader:
    """Triggers what is needed and says what happens, until all of it is loaded, late or failed.

    Units are started in the order given, `WINDOW` of them at a time. With more than that a line tells of
    each unit; with fewer, of each task.
    """

    api: AirflowApi
    progress: Progress
    publication_timeout: float
    force: bool = False
    _seen: dict[tuple[str, ...], str] = field(default_factory=dict)
    _brief: bool = False

    def load(self, wanted: Mapping[Unit, list[str]], silence: float) -> dict[Unit, str]:
        """Run the DAGs that each unit wants. Why one is not loaded, by unit; empty for one that is.

        TaxiwayError after `silence` seconds in which nothing changed.
        """
        watches = [Watch(unit, list(dags)) for unit, dags in wanted.items()]
        queue, open_watches = deque(watches), list[Watch]()
        active = self._active({dag_id for watch in watches for dag_id in watch.waiting})
        pace, self._brief = Pace(len(watches), time.monotonic()), len(watches) > WINDOW
        last_news = time.monotonic()
        while queue or open_watches:
            while queue and len(open_watches) < WINDOW:
                self._start(queue[0], active)
                open_watches.append(queue.popleft())
            time.sleep(POLL_SECONDS)
            snapshot = Snapshot.take(self.api, open_watches)
            if sum(self._look(watch, snapshot) for watch in open_watches):
                last_news = time.monotonic()
            for watch in [watch for watch in open_watches if watch.over]:
                open_watches.remove(watch)
                self._tell_end(watch, pace)
            if time.monotonic() - last_news > silence:
                raise _silence(silence, open_watches)
        return {watch.unit: watch.outcome for watch in watches}

    def _active(self, dag_ids: Collection[str]) -> dict[tuple[str, str], str]:
        """Since when there is a run under way, by DAG and month: what a killed predecessor left behind."""
        runs = self.api.runs(sorted(dag_ids), states=["queued", "running"]) if dag_ids else []
        return {
            (run["dag_id"], run["partition_key"] or ""): run["start_date"] or run["run_after"] for run in runs
        }

    def _start(self, watch: Watch, active: Mapping[tuple[str, str], str]) -> None:
        """Trigger the lake's DAG, whose events start the others; or the others, where the lake is done."""
        lake, began = f"{watch.unit.dataset}_to_lake", list[str]()
        for dag_id in [lake] if lake in watch.waiting else watch.waiting:
            # One that does not know that everything is to be done again is not what was asked for.
            under_way = None if self.force else active.get((dag_id, watch.unit.month))
            began.append(under_way or self._trigger(dag_id, watch.unit))
        watch.since = min(began)

    def _trigger(self, dag_id: str, unit: Unit) -> str:
        conf: dict[str, Any] = {"force": True} if self.force else {}
        if dag_id.endswith("_to_lake"):
            # Who waits here sees that a month is late.
            conf |= {"publication_timeout": self.publication_timeout, "late_alert": False}
        return str(self.api.start(dag_id, unit.month or None, conf)["run_after"])

    def _look(self, watch: Watch, snapshot: Snapshot) -> bool:
        """Compare the unit's runs with what was seen before; whether anything changed."""
        changed = False
        for dag_id in list(watch.waiting):
            run = snapshot.runs.get((dag_id, watch.unit.month))
            if run is None or (run["start_date"] or watch.since) < watch.since:
                self._start_what_was_lost(watch, dag_id)
                continue
            tasks = snapshot.tasks_of(dag_id, watch.unit.month)
            changed |= sum(self._show(watch.unit, task) for task in tasks) > 0
            if run["state"] in FINAL:
                changed = True
                self._finish(watch, run, tasks)
        return changed

    def _start_what_was_lost(self, watch: Watch, dag_id: str) -> None:
        if watch.lake_done and time.monotonic() - watch.lake_done > EVENT_SECONDS:
            self._trigger(dag_id, watch.unit)
            watch.lake_done = time.monotonic()

    def _show(self, unit: Unit, task: Mapping[str, Any]) -> bool:
        key, state = (task["dag_id"], task["dag_run_id"], task["task_id"]), task["state"]
        if state in SILENT or self._seen.get(key) == state:
            return False
        self._seen[key] = state
        if self._brief and state not in NOTABLE:
            return True
        where = task["dag_id"].removeprefix(f"{unit.dataset}_to_")
        mark = {"success": "done", "failed": "failed", "upstream_failed": "failed"}.get(state, "info")
        took = f" [dim]({task['duration']:.1f} s)[/]" if state == "success" and task.get("duration") else ""
        self.progress.say(f"{unit!s:15} {where:9} {task['task_id']:20} {state}{took}", mark)
        return True

    def _tell_end(self, watch: Watch, pace: Pace) -> None:
        pace.done += 1
        if self._brief:
            outcome = watch.outcome.partition(":")[0] or "done"
            mark = {"done": "done", NOT_PUBLISHED: "info"}.get(outcome, "failed")
            self.progress.say(f"{watch.unit!s:15} {outcome} [dim]({pace.tell(time.monotonic())})[/]", mark)

    def _finish(self, watch: Watch, run: Mapping[str, Any], tasks: list[Mapping[str, Any]]) -> None:
        watch.waiting.remove(run["dag_id"])
        if run["state"] == "failed":
            watch.outcome = watch.outcome or self._why(run, tasks)
        elif run["dag_id"].endswith("_to_lake"):
            watch.lake_done = time.monotonic()
            if any(task["state"] == "skipped" for task in tasks):
                watch.outcome = NOT_PUBLISHED

    def _why(self, run: Mapping[str, Any], tasks: list[Mapping[str, Any]]) -> str:
        """The sentence the failed task ended with."""
        failed = next((task for task in tasks if task["state"] == "failed"), None)
        if failed is None:
            return f"{run['dag_id']} failed"
        reason = self.api.failure(run["dag_id"], run["dag_run_id"], failed["task_id"], failed["try_number"])
        return f"{run['dag_id']} {failed['task_id']}: {reason or 'failed'}"


def _silence(seconds: float, watches: Iterable[Watch]) -> TaxiwayError:
    unfinished = ", ".join(str(watch.unit) for watch in watches)
    return TaxiwayError(
        f"nothing happened for {seconds:.0f} s while loading {unfinished}",
        "See scripts/status and scripts/logs scheduler.",
    )
