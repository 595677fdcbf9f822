"""Airflow runs that load partitions: started in order, followed to their ends, reported as they go on.

The load log decides what is loaded, not these runs: one that Airflow calls successful may have skipped a
period that was not published, and one that is gone may have loaded it.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, TypeVar

from elt.layout import dag_id
from taxiway.airflow.client import AirflowApi, AirflowDownError
from taxiway.console.progress import Progress
from taxiway.errors import TaxiwayError
from taxiway.loads.failures import last_words, reason_of

# Partitions under way at once: enough to keep Airflow busy, few enough to keep their order.
WINDOW = 12
FINAL = ("success", "failed")
# States that say nothing yet. All others (queued, running, deferred, up_for_retry, …) are shown.
SILENT = (None, "scheduled", "removed")
# What is shown of a task when there are many.
NOTABLE = ("failed", "upstream_failed", "up_for_retry")
NOT_PUBLISHED = "not published yet"
# Seconds without news after which the components are asked whether they answer, and again after as many.
QUIET_SECONDS = 15.0
# Airflow ends a run of its own accord after a day (`dagrun_timeout`); what is silent for longer never ends.
GIVE_UP_SECONDS = 26 * 3600.0

Run = Mapping[str, Any]


class Loadable(Protocol):
    """What a run loads: a partition, or several of them."""

    @property
    def dataset(self) -> str: ...  # noqa: D102 - as of a partition

    @property
    def key(self) -> str | None: ...  # noqa: D102


L = TypeVar("L", bound=Loadable)
Key = tuple[str, str | None]
"""A DAG id and a partition key, as Airflow's API has them."""


@dataclass
class Watch:
    """Follows the runs of one partition (or of several at once) until each DAG in `waiting` has ended.

    None of these runs started before `since`. (When a run was due says nothing: in a backfill it is
    when its period was.)
    """

    partition: Loadable
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
        return dag, self.partition.key


class Snapshot(NamedTuple):
    """What Airflow says at one moment: the newest run by DAG and partition, and the tasks by run."""

    runs: Mapping[Key, Run]
    tasks: Mapping[tuple[str, str], list[Run]]

    @classmethod
    def take(cls, api: AirflowApi, watches: Sequence[Watch]) -> Snapshot:
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


def pace(done: int, total: int, seconds: float) -> str:
    """How far a long load is: `12 of 288, 21.4 a minute, 13 min left`."""
    counted = f"{done} of {total}"
    if not done or seconds <= 0 or done == total:
        return counted
    rate = done / seconds * 60
    left = (total - done) / rate
    span = f"{left:.0f} min" if left < 90 else f"{left / 60:.1f} h"
    return f"{counted}, {rate:.1f} a minute, {span if left >= 1 else 'less than a minute'} left"


@dataclass
class Loader:
    """Triggers the DAGs that are needed and reports what happens, until all is loaded, late or failed.

    Partitions are started in the order given, `window` of them at a time. With more than that a line is
    printed for each of them; with fewer, for each of their tasks. `count` says how many partitions one of
    them stands for. `ailing` says which components do not answer: it is asked when there are no news.
    """

    api: AirflowApi
    progress: Progress
    publication_timeout: float
    force: bool = False
    poll_seconds: float = 0.7
    # A consumer's run appears within seconds of its asset's event; longer means the event was lost.
    event_seconds: float = 45.0
    window: int = WINDOW
    count: Callable[[Any], int] = lambda _: 1
    ailing: Callable[[], Mapping[str, str]] = dict
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    _seen: dict[tuple[str, ...], str] = field(default_factory=dict)
    _brief: bool = False
    _complaints: Mapping[str, str] = field(default_factory=dict)

    def load(self, wanted: Mapping[L, Sequence[str]], silence: float) -> dict[L, str]:
        """Run these DAGs for each partition. Returns why one is not loaded; empty for one that is.

        Every `silence` seconds without news a line says so; the wait goes on for as long as Airflow lets a
        run go on. TaxiwayError after that, and when Airflow itself has not answered for `silence` seconds.
        """
        following = {partition: Watch(partition, list(dags)) for partition, dags in wanted.items()}
        watches = list(following.values())
        total = sum(self.count(watch.partition) for watch in watches)
        queue, under_way = deque(watches), list[Watch]()
        self._brief = total > WINDOW
        started = answered = news = asked = said = self.clock()
        while queue or under_way:
            try:
                changed = self._step(queue, under_way)
                answered = now = self.clock()
            except AirflowDownError as error:
                changed, now = False, self.clock()
                if now - answered > silence:
                    raise
                # At once: whoever waits sees why nothing goes on.
                sentence = f"does not answer, and is asked again: {error}"
                self._complain({"Airflow": sentence, **self.ailing()})
                asked = now
                self.sleep(max(self.poll_seconds, 1))
            for watch in [watch for watch in under_way if watch.outcome or not watch.waiting]:
                under_way.remove(watch)
                left = sum(self.count(watch.partition) for watch in [*queue, *under_way])
                self._report_end(watch, total - left, total, now - started)
            if changed:
                news = asked = said = now
                self._complain({})
            elif now - asked > QUIET_SECONDS:
                self._complain(self.ailing())
                asked = now
            if now - said > silence:
                self._report_silence(now - news, under_way)
                said = now
        return {partition: watch.outcome for partition, watch in following.items()}

    def _step(self, queue: deque[Watch], under_way: list[Watch]) -> bool:
        """Start what there is room for, and look at what is under way; whether anything changed."""
        self._start(queue, under_way)
        self.sleep(self.poll_seconds)
        snapshot = Snapshot.take(self.api, under_way)
        return sum(self._follow(watch, snapshot) for watch in under_way) > 0

    def _start(self, queue: deque[Watch], under_way: list[Watch]) -> None:
        """Start what there is room for: the lake's DAG, whose events start the others, or the others.

        A run in progress is followed, not doubled: what a killed command, or an answer that was lost, left.
        """
        room = min(self.window - len(under_way), len(queue))
        if room <= 0:
            return
        dags = sorted({dag for watch in list(queue)[:room] for dag in watch.waiting})
        running = self.api.runs(dags, states=["queued", "running"])
        active = {_key(run): run["start_date"] or run["run_after"] for run in running}
        for _ in range(room):
            watch, began = queue[0], []
            for dag in [watch.lake] if watch.lake in watch.waiting else watch.waiting:
                # A run that was started without `force` would skip what is to be done again.
                in_progress = None if self.force else active.get(watch.key(dag))
                began.append(in_progress or self._trigger(watch, dag))
            # Airflow's clock, not ours: a container's may differ.
            watch.since = min(began)
            under_way.append(queue.popleft())

    def _trigger(self, watch: Watch, dag: str) -> str:
        conf: dict[str, Any] = {"force": True} if self.force else {}
        if dag == watch.lake:
            # Who waits here sees that a period is late.
            conf |= {"publication_timeout": self.publication_timeout, "late_alert": False}
        return str(self.api.trigger(dag, watch.partition.key, conf)["run_after"])

    def _follow(self, watch: Watch, snapshot: Snapshot) -> bool:
        """Compare the partition's runs with what was seen before; whether anything changed."""
        changed = False
        for dag in list(watch.waiting):
            run = snapshot.runs.get(watch.key(dag))
            if run is None or (run["start_date"] or watch.since) < watch.since:
                # The lake is done and nobody has followed: a consumer that was paused missed the event.
                if watch.lake_done and self.clock() - watch.lake_done > self.event_seconds:
                    self._trigger(watch, dag)
                    watch.lake_done = self.clock()
                continue
            tasks = snapshot.tasks.get((run["dag_id"], run["dag_run_id"]), [])
            changed |= sum(self._report_task(watch.partition, task) for task in tasks) > 0
            if run["state"] in FINAL:
                changed = True
                self._finish(watch, run, tasks)
        return changed

    def _report_task(self, partition: Loadable, task: Run) -> bool:
        key, state = (task["dag_id"], task["dag_run_id"], task["task_id"]), task["state"]
        if state in SILENT or self._seen.get(key) == state:
            return False
        self._seen[key] = state
        if self._brief and state not in NOTABLE:
            return True
        where = task["dag_id"].removeprefix(f"{partition.dataset}_to_")
        mark = {"success": "done", "failed": "failed", "upstream_failed": "failed"}.get(state, "info")
        detail = f"{task['duration']:.1f} s" if state == "success" and task.get("duration") else ""
        if state == "up_for_retry":
            # Now: who waits wants to know what for, and may be able to help.
            detail = last_words(self.api, task)
        self.progress.say(f"{partition!s:15} {where:9} {task['task_id']:20} {state}", mark, detail=detail)
        return True

    def _finish(self, watch: Watch, run: Run, tasks: list[Run]) -> None:
        """Note the end of a run, with the sentence that its failed task ended with."""
        dag = run["dag_id"]
        reason = ""
        if run["state"] == "failed" and not watch.outcome:
            reason = reason_of(self.api, run, tasks)
        # Last: an answer that does not come is asked for again.
        watch.waiting.remove(dag)
        watch.outcome = watch.outcome or reason
        if run["state"] == "success" and dag == watch.lake:
            watch.lake_done = self.clock()
            # The sensor skips what is not published, and with it all that would follow.
            if any(task["state"] == "skipped" for task in tasks):
                watch.outcome = NOT_PUBLISHED

    def _report_end(self, watch: Watch, done: int, total: int, seconds: float) -> None:
        if self._brief:
            outcome = watch.outcome.partition(":")[0] or "done"
            mark = {"done": "done", NOT_PUBLISHED: "info"}.get(outcome, "failed")
            self.progress.say(f"{watch.partition!s:15} {outcome}", mark, detail=pace(done, total, seconds))

    def _complain(self, complaints: Mapping[str, str]) -> None:
        """Say which components do not answer, once for each, and which do again."""
        for name in self._complaints.keys() - complaints.keys():
            self.progress.say(f"{name} answers again", "done")
        for name in complaints.keys() - self._complaints.keys():
            self.progress.say(f"{name} {complaints[name]}", "failed", style="yellow")
        self._complaints = dict(complaints)

    def _report_silence(self, seconds: float, watches: Sequence[Watch]) -> None:
        unfinished = ", ".join(str(watch.partition) for watch in watches)
        sentence = f"nothing has happened for {seconds:.0f} s while loading {unfinished}"
        remedy = "See scripts/status and scripts/logs scheduler."
        if seconds > GIVE_UP_SECONDS:
            raise TaxiwayError(sentence, remedy)
        self.progress.say(f"{sentence}; still watching. {remedy}", style="yellow")


def _key(run: Run) -> Key:
    # Airflow writes no partition key as None or, in runs of a dataset without periods, as an empty text.
    return run["dag_id"], run["partition_key"] or None
