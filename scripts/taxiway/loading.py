"""What there is to load, and the Airflow runs that load it.

The load log decides: a run that Airflow calls successful may have skipped a month that was not
published, and a run that is gone may have loaded one.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Self

from nyc_taxi.catalogue import Dataset, dataset
from nyc_taxi.months import Month
from taxiway.airflow_api import AirflowApi
from taxiway.errors import TaxiwayError
from taxiway.progress import Progress

POLL_SECONDS = 0.7
# A consumer's run appears within seconds of its asset's event; longer means the event was lost.
EVENT_SECONDS = 45
FINAL = ("success", "failed")
SILENT = (None, "scheduled", "removed")
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
    if "typed" not in stages:
        dags.append(f"{unit.dataset}_to_lake")
    if "warehouse" not in stages or (entry.feeds and "mart" not in stages):
        dags.append(f"{unit.dataset}_to_warehouse")
    if entry.postgres and "postgres" not in stages:
        dags.append(f"{unit.dataset}_to_postgres")
    return dags


@dataclass
class Watch:
    """Follows the runs of one unit until each DAG in `waiting` has come to an end."""

    unit: Unit
    waiting: list[str]
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
    def take(cls, api: AirflowApi, dag_ids: list[str], since: str) -> Self:
        """Two requests, however many months there are."""
        runs = {(r["dag_id"], r["partition_key"] or ""): r for r in api.runs(dag_ids, run_after_gte=since)}
        tasks: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
        if runs:
            for task in api.task_instances(dag_ids, [r["dag_run_id"] for r in runs.values()]):
                tasks.setdefault((task["dag_id"], task["dag_run_id"]), []).append(task)
        return cls(runs, tasks)

    def tasks_of(self, dag_id: str, month: str) -> list[Mapping[str, Any]]:
        """Tasks of the newest run of that month."""
        return self.tasks.get((dag_id, self.runs[dag_id, month]["dag_run_id"]), [])


@dataclass
class Loader:
    """Triggers what is needed and says what happens, until all of it is loaded, late or failed."""

    api: AirflowApi
    progress: Progress
    publication_timeout: float
    _since: str = field(default_factory=lambda: datetime.now(UTC).isoformat())
    _seen: dict[tuple[str, str, str], str] = field(default_factory=dict)

    def load(self, wanted: Iterable[Unit], loaded: Loaded, silence: float) -> dict[Unit, str]:
        """Why a unit is not loaded, by unit; empty for one that is.

        TaxiwayError after `silence` seconds in which nothing changed.
        """
        watches = [Watch(unit, dags) for unit in wanted if (dags := needed(unit, loaded))]
        dag_ids = sorted({dag_id for watch in watches for dag_id in watch.waiting})
        self._start(watches, dag_ids)
        last_news = time.monotonic()
        while open_watches := [watch for watch in watches if not watch.over]:
            time.sleep(POLL_SECONDS)
            snapshot = Snapshot.take(self.api, dag_ids, self._since)
            if sum(self._look(watch, snapshot) for watch in open_watches):
                last_news = time.monotonic()
            if time.monotonic() - last_news > silence:
                unfinished = ", ".join(str(watch.unit) for watch in open_watches)
                raise TaxiwayError(
                    f"nothing happened for {silence:.0f} s while loading {unfinished}",
                    "See scripts/status and scripts/logs scheduler.",
                )
        return {watch.unit: watch.outcome for watch in watches}

    def _start(self, watches: list[Watch], dag_ids: list[str]) -> None:
        """Trigger the lake's DAG, whose events start the others; or the others, where the lake is done."""
        active = self.api.runs(dag_ids, states=["queued", "running"]) if dag_ids else []
        running = {(run["dag_id"], run["partition_key"] or "") for run in active}
        self._since = min([self._since, *(run["run_after"] for run in active)])
        for watch in watches:
            lake = f"{watch.unit.dataset}_to_lake"
            for dag_id in [lake] if lake in watch.waiting else watch.waiting:
                if (dag_id, watch.unit.month) not in running:
                    self._trigger(dag_id, watch.unit)

    def _trigger(self, dag_id: str, unit: Unit) -> None:
        conf = {"publication_timeout": self.publication_timeout} if dag_id.endswith("_to_lake") else {}
        self.api.trigger(dag_id, unit.month or None, conf)

    def _look(self, watch: Watch, snapshot: Snapshot) -> bool:
        """Compare the unit's runs with what was seen before; whether anything changed."""
        changed = False
        for dag_id in list(watch.waiting):
            run = snapshot.runs.get((dag_id, watch.unit.month))
            if run is None:
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
        where = task["dag_id"].removeprefix(f"{unit.dataset}_to_")
        mark = {"success": "done", "failed": "failed", "upstream_failed": "failed"}.get(state, "info")
        took = f" [dim]({task['duration']:.1f} s)[/]" if state == "success" and task.get("duration") else ""
        self.progress.say(f"{unit!s:15} {where:9} {task['task_id']:20} {state}{took}", mark)
        return True

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
