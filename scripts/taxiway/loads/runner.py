"""Airflow runs that load partitions: started in order, followed to their ends, reported as they go on.

The load log decides what is loaded, not these runs: one that Airflow calls successful may have skipped a
month that was not published, and one that is gone may have loaded it.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from elt.layout import dag_id
from elt.months import Partition
from taxiway.airflow.client import AirflowApi
from taxiway.console.progress import Progress
from taxiway.errors import TaxiwayError

# Partitions under way at once: enough to keep Airflow busy, few enough to keep their order.
WINDOW = 12
FINAL = ("success", "failed")
# States that say nothing yet. All others (queued, running, deferred, up_for_retry, …) are shown.
SILENT = (None, "scheduled", "removed")
# What is shown of a task when there are many.
NOTABLE = ("failed", "upstream_failed", "up_for_retry")
NOT_PUBLISHED = "not published yet"

Run = Mapping[str, Any]
Key = tuple[str, str | None]
"""A DAG id and a partition key, as Airflow's API has them."""


@dataclass
class Watch:
    """Follows the runs of one partition until each DAG in `waiting` has come to an end.

    None of these runs started before `since`. (When a run was due says nothing: in a backfill it is
    when its month was.)
    """

    partition: Partition
    waiting: list[str]
    since: str = ""
    outcome: str = ""
    lake_done: float = 0.0

    @property
    def lake(self) -> str:
        """The DAG whose asset events start the others."""
        return dag_id(self.partition.dataset, "to_lake")

    def key(self, dag: str) -> Key:
        """What Airflow knows this partition's run of a DAG by."""
        return dag, self.partition.month_text

    @property
    def over(self) -> bool:
        """Whether nothing more is to come."""
        return bool(self.outcome) or not self.waiting


@dataclass(frozen=True)
class Snapshot:
    """What Airflow says at one moment: the newest run by DAG and partition, and the tasks by run."""

    runs: Mapping[Key, Run]
    tasks: Mapping[tuple[str, str], list[Run]]

    @classmethod
    def take(cls, api: AirflowApi, watches: Sequence[Watch]) -> Self:
        """Three requests, however many partitions are watched."""
        dag_ids = sorted({dag for watch in watches for dag in watch.waiting})
        since = min(watch.since for watch in watches)
        # One that is queued has not started yet, however long ago it was made.
        queued = api.runs(dag_ids, states=["queued"])
        newest = {_key(run): run for run in [*api.runs(dag_ids, start_date_gte=since), *queued]}
        watched = {watch.key(dag) for watch in watches for dag in watch.waiting}
        runs = {key: run for key, run in newest.items() if key in watched}
        tasks: dict[tuple[str, str], list[Run]] = {}
        if runs:
            for task in api.task_instances(dag_ids, [run["dag_run_id"] for run in runs.values()]):
                tasks.setdefault((task["dag_id"], task["dag_run_id"]), []).append(task)
        return cls(runs, tasks)

    def tasks_of(self, run: Run) -> list[Run]:
        """The task instances of one of the runs."""
        return self.tasks.get((run["dag_id"], run["dag_run_id"]), [])


@dataclass
class Pace:
    """How far a long load is. `started` and `now` are seconds on the same clock."""

    total: int
    started: float
    done: int = 0

    def text(self, now: float) -> str:
        """`12 of 288, 21.4 a minute, 13 min left`."""
        minutes, counted = (now - self.started) / 60, f"{self.done} of {self.total}"
        if not self.done or minutes <= 0 or self.done == self.total:
            return counted
        rate = self.done / minutes
        left = (self.total - self.done) / rate
        span = f"{left:.0f} min" if left < 90 else f"{left / 60:.1f} h"
        return f"{counted}, {rate:.1f} a minute, {span if left >= 1 else 'less than a minute'} left"


@dataclass
class Loader:
    """Triggers the DAGs that are needed and reports what happens, until all is loaded, late or failed.

    Partitions are started in the order given, `WINDOW` of them at a time. With more than that a line is
    printed for each of them; with fewer, for each of their tasks.
    """

    api: AirflowApi
    progress: Progress
    publication_timeout: float
    force: bool = False
    poll_seconds: float = 0.7
    # A consumer's run appears within seconds of its asset's event; longer means the event was lost.
    event_seconds: float = 45.0
    _seen: dict[tuple[str, ...], str] = field(default_factory=dict)
    _brief: bool = False

    def load(self, wanted: Mapping[Partition, Sequence[str]], silence: float) -> dict[Partition, str]:
        """Run these DAGs for each partition. Returns why one is not loaded; empty for one that is.

        TaxiwayError after `silence` seconds in which nothing changed.
        """
        watches = [Watch(partition, list(dags)) for partition, dags in wanted.items()]
        queue, under_way = deque(watches), list[Watch]()
        active = self._active({dag for watch in watches for dag in watch.waiting})
        pace, self._brief = Pace(len(watches), time.monotonic()), len(watches) > WINDOW
        last_news = time.monotonic()
        while queue or under_way:
            while queue and len(under_way) < WINDOW:
                self._start(queue[0], active)
                under_way.append(queue.popleft())
            time.sleep(self.poll_seconds)
            snapshot = Snapshot.take(self.api, under_way)
            if sum(self._follow(watch, snapshot) for watch in under_way):
                last_news = time.monotonic()
            for watch in [watch for watch in under_way if watch.over]:
                under_way.remove(watch)
                self._report_end(watch, pace)
            if time.monotonic() - last_news > silence:
                raise _silence(silence, under_way)
        return {watch.partition: watch.outcome for watch in watches}

    def _active(self, dag_ids: Collection[str]) -> dict[Key, str]:
        """Start times of runs that are in progress already: what a killed command left behind."""
        runs = self.api.runs(sorted(dag_ids), states=["queued", "running"]) if dag_ids else []
        return {_key(run): run["start_date"] or run["run_after"] for run in runs}

    def _start(self, watch: Watch, active: Mapping[Key, str]) -> None:
        """Trigger the lake's DAG, whose events start the others; or the others, if the lake is done."""
        began = []
        for dag in [watch.lake] if watch.lake in watch.waiting else watch.waiting:
            # A run that was started without `force` would skip what is to be done again.
            in_progress = None if self.force else active.get(watch.key(dag))
            began.append(in_progress or self._trigger(watch, dag))
        # Airflow's clock, not ours: a container's may differ.
        watch.since = min(began)

    def _trigger(self, watch: Watch, dag: str) -> str:
        conf: dict[str, Any] = {"force": True} if self.force else {}
        if dag == watch.lake:
            # Who waits here sees that a month is late.
            conf |= {"publication_timeout": self.publication_timeout, "late_alert": False}
        return str(self.api.trigger(dag, watch.partition.month_text, conf)["run_after"])

    def _follow(self, watch: Watch, snapshot: Snapshot) -> bool:
        """Compare the partition's runs with what was seen before; whether anything changed."""
        changed = False
        for dag in list(watch.waiting):
            run = snapshot.runs.get(watch.key(dag))
            if run is None or (run["start_date"] or watch.since) < watch.since:
                # The lake is done and nobody has followed: a consumer that was paused missed the event.
                if watch.lake_done and time.monotonic() - watch.lake_done > self.event_seconds:
                    self._trigger(watch, dag)
                    watch.lake_done = time.monotonic()
                continue
            tasks = snapshot.tasks_of(run)
            changed |= sum(self._report_task(watch.partition, task) for task in tasks) > 0
            if run["state"] in FINAL:
                changed = True
                self._finish(watch, run, tasks)
        return changed

    def _report_task(self, partition: Partition, task: Run) -> bool:
        key, state = (task["dag_id"], task["dag_run_id"], task["task_id"]), task["state"]
        if state in SILENT or self._seen.get(key) == state:
            return False
        self._seen[key] = state
        if self._brief and state not in NOTABLE:
            return True
        where = task["dag_id"].removeprefix(f"{partition.dataset}_to_")
        mark = {"success": "done", "failed": "failed", "upstream_failed": "failed"}.get(state, "info")
        took = f" [dim]({task['duration']:.1f} s)[/]" if state == "success" and task.get("duration") else ""
        self.progress.say(f"{partition!s:15} {where:9} {task['task_id']:20} {state}{took}", mark)
        return True

    def _report_end(self, watch: Watch, pace: Pace) -> None:
        pace.done += 1
        if self._brief:
            outcome = watch.outcome.partition(":")[0] or "done"
            mark = {"done": "done", NOT_PUBLISHED: "info"}.get(outcome, "failed")
            done = pace.text(time.monotonic())
            self.progress.say(f"{watch.partition!s:15} {outcome} [dim]({done})[/]", mark)

    def _finish(self, watch: Watch, run: Run, tasks: list[Run]) -> None:
        watch.waiting.remove(run["dag_id"])
        if run["state"] == "failed":
            watch.outcome = watch.outcome or self._reason(run, tasks)
        elif run["dag_id"] == watch.lake:
            watch.lake_done = time.monotonic()
            # The sensor skips what is not published, and with it all that would follow.
            if any(task["state"] == "skipped" for task in tasks):
                watch.outcome = NOT_PUBLISHED

    def _reason(self, run: Run, tasks: list[Run]) -> str:
        """The sentence the failed task ended with."""
        failed = next((task for task in tasks if task["state"] == "failed"), None)
        if failed is None:
            # Its time was over, or somebody has marked it: no task says why.
            return f"{run['dag_id']} failed"
        reason = self.api.failure(run["dag_id"], run["dag_run_id"], failed["task_id"], failed["try_number"])
        return f"{run['dag_id']} {failed['task_id']}: {reason or 'failed'}"


def _key(run: Run) -> Key:
    # Airflow writes no partition key as None or, in runs of a dataset without months, as an empty text.
    return run["dag_id"], run["partition_key"] or None


def _silence(seconds: float, watches: Iterable[Watch]) -> TaxiwayError:
    unfinished = ", ".join(str(watch.partition) for watch in watches)
    return TaxiwayError(
        f"nothing happened for {seconds:.0f} s while loading {unfinished}",
        "See scripts/status and scripts/logs scheduler.",
    )
