"""LocalExecutor that costs next to nothing while there is nothing to do.

Airflow's scheduler looks at everything five times a second, day and night, and starts all its workers before
the first task. It calls the executor in each round: this one ends the round when there is a reason for the
next, which a small query tells, and starts a worker when a task needs it. Airflow's own pause,
`[scheduler] scheduler_idle_sleep_time`, has to be 0.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from multiprocessing import connection as pipes
from typing import Any

from airflow import settings
from airflow.executors.local_executor import LocalExecutor
from sqlalchemy import Connection, text
from sqlalchemy.exc import SQLAlchemyError

LOOK_SECONDS = 0.2
"""Between two looks: what happens waits half of it."""
ROUND_SECONDS = 10.0
"""The longest pause between two rounds, for which the heartbeat waits: after 30 s it counts as ill."""
WORKER_SECONDS = 60.0
"""How long a worker is kept that has nothing to do."""

Signs = tuple[bool, int | None]
"""Whether a run or a DAG is due, and the newest asset event: what waits for assets waits for another one."""

# A query that is wrong after an upgrade costs the pauses, not the runs: see `sync`.
SIGNS = text("""
SELECT
    EXISTS (
        SELECT 1 FROM dag_run JOIN dag ON dag.dag_id = dag_run.dag_id
        WHERE dag_run.state IN ('queued', 'running') AND dag_run.run_after <= CURRENT_TIMESTAMP
            AND NOT dag.is_paused AND NOT dag.is_stale
    ) OR EXISTS (
        SELECT 1 FROM dag
        WHERE next_dagrun_create_after <= CURRENT_TIMESTAMP AND NOT is_paused AND NOT is_stale
            AND NOT has_import_errors AND NOT exceeds_max_non_backfill
    ),
    (SELECT max(id) FROM asset_event)
""")


def rest(
    look: Callable[[], Signs],
    known: Signs | None,
    wait: Callable[[float], object],
    clock: Callable[[], float] = time.monotonic,
) -> Signs:
    """Return when something is due or differs from what was `known`, or when a round has lasted long enough.

    What was known is from before the scheduler's round, so that nothing that happens meanwhile is missed.
    `wait` pauses for some seconds, and says whether it was disturbed.
    """
    end = clock() + ROUND_SECONDS
    while True:
        disturbed = wait(LOOK_SECONDS)
        found = look()
        if disturbed or found[0] or found != known or clock() >= end:
            return found


class RestingLocalExecutor(LocalExecutor):
    """See above. The scheduler's thread alone calls it."""

    known: Signs | None = None

    def start(self) -> None:
        """Open the queues; nobody waits at them yet."""
        # How often: a task that was deferred may come back before its first part was seen to end.
        self.at_work: Counter[Any] = Counter()
        self.changed = False
        self.worked = time.monotonic()
        super().start()

    def sync(self) -> None:
        """Read results, then pause until there is a reason for another round."""
        super().sync()
        if self.changed:  # the next task may be ready by now
            self.changed = False
            self.worked = time.monotonic()
            return
        if self.known and not self.known[0] and time.monotonic() - self.worked > WORKER_SECONDS:
            self._dismiss()
        try:
            with settings.get_engine().connect() as connection:  # type: ignore[no-untyped-call]
                quiet = connection.execution_options(isolation_level="AUTOCOMMIT")
                self.known = rest(lambda: _look(quiet), self.known, self._wait)
        except SQLAlchemyError as error:
            # The scheduler will meet a database that is gone by itself, and knows what to do then.
            self.log.warning("cannot ask for what is due: %s", error)
            self._wait(LOOK_SECONDS)
        super().sync()

    def change_state(self, key: Any, state: Any, info: Any = None, remove_running: bool = True) -> None:
        """Called for each result."""
        super().change_state(key, state, info, remove_running)
        self.changed = True
        self.at_work -= Counter([key])

    def _process_workloads(self, workload_list: Sequence[Any]) -> None:
        self.changed = True
        self.worked = time.monotonic()
        self.at_work.update(workload.key for workload in workload_list)
        super()._process_workloads(workload_list)  # type: ignore[no-untyped-call]

    def _spawn_workers_with_gc_freeze(self, spawn_number: int) -> None:
        """Start what the tasks at hand need, of the `spawn_number` workers that may be started."""
        needed = self.at_work.total() - len(self.workers)
        if time.monotonic() - self.worked > LOOK_SECONDS:
            needed = max(needed, 1)  # one has waited for a while, whatever was counted
        started = max(0, min(spawn_number, needed))
        super()._spawn_workers_with_gc_freeze(started)  # type: ignore[no-untyped-call]

    def _wait(self, seconds: float) -> bool:
        """Until a worker has a result, `seconds` at most; whether one has."""
        return bool(pipes.wait([self.result_queue._reader], seconds))  # type: ignore[attr-defined]

    def _dismiss(self) -> None:
        """End the workers, as `end` does: each takes one such message."""
        for _ in self.workers:
            self.activity_queue.put(None)
        self.at_work.clear()
        self.worked = time.monotonic()


def _look(connection: Connection) -> Signs:
    due, event = connection.execute(SIGNS).one()
    return bool(due), event
