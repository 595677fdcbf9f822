"""What failed and was not repaired since, asked of Airflow: the terminal that showed it may be gone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from elt.catalogue.registry import DATASETS
from elt.errors import PipelineError
from elt.layout import dag_id
from elt.periods import Partition
from elt.status import families
from taxiway.airflow.client import AirflowApi
from taxiway.console.hints import HINTS
from taxiway.errors import TaxiwayError

# A task's log is a request of its own: of years that failed together the newest say why.
REASONS = 20


@dataclass(frozen=True)
class Failure:
    """The latest run of a partition's DAG, which failed; `reason` is the sentence it ended with."""

    partition: Partition
    dag: str
    at: str
    reason: str

    def facts(self) -> dict[str, str]:
        """For a row of the status. `retry` also repeats a run of what an earlier run has loaded."""
        retry = HINTS.named(f"scripts/run {self.partition} --failed")
        return {"dag": self.dag, "at": self.at, "reason": self.reason, "retry": retry}


def failures(api: AirflowApi) -> list[Failure]:
    """Of each DAG and partition whose latest run has failed, why: in the catalogue's order.

    One that is queued or running again has not failed.
    """
    datasets = {dag_id(name, family): name for name in DATASETS for family in families()}
    failed = api.runs(sorted(datasets), states=["failed"])
    if not failed:
        return []
    concerned = sorted({run["dag_id"] for run in failed})
    begun = [run["start_date"] for run in failed if run["start_date"]]
    # What came later; a run that waits has no start.
    later = api.runs(concerned, start_date_gte=min(begun)) if begun else []
    later += api.runs(concerned, states=["queued"])
    newest = {(run["dag_id"], run["partition_key"] or None): run for run in [*failed, *later]}
    broken = [run for run in newest.values() if run["state"] == "failed"]
    reasons = _reasons(api, sorted(broken, key=lambda run: run["end_date"] or "")[-REASONS:])
    found = [_failure(run, datasets[run["dag_id"]], reasons) for run in broken]
    places = {name: place for place, name in enumerate(DATASETS)}
    known = [failure for failure in found if failure]
    return sorted(known, key=lambda f: (places[f.partition.dataset], f.partition, f.dag))


def _failure(run: Mapping[str, Any], dataset: str, reasons: Mapping[tuple[str, str], str]) -> Failure | None:
    try:
        partition = Partition.parse(dataset, run["partition_key"] or None)
    except PipelineError:
        return None  # somebody has triggered it with a key that is none; it can never be loaded
    reason = reasons.get((run["dag_id"], run["dag_run_id"]), f"{run['dag_id']} failed")
    return Failure(partition, run["dag_id"], str(run["end_date"] or "")[:19], reason)


def _reasons(api: AirflowApi, runs: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str], str]:
    if not runs:
        return {}
    dags = sorted({run["dag_id"] for run in runs})
    tasks = api.task_instances(dags, [run["dag_run_id"] for run in runs])
    found = {}
    for run in runs:
        key = run["dag_id"], run["dag_run_id"]
        own = [task for task in tasks if (task["dag_id"], task["dag_run_id"]) == key]
        found[key] = reason_of(api, run, own)
    return found


def reason_of(api: AirflowApi, run: Mapping[str, Any], tasks: Iterable[Mapping[str, Any]]) -> str:
    """Why a run has failed: its failed task, and the sentence that this one ended with."""
    failed = next((task for task in tasks if task["state"] == "failed"), None)
    if failed is None:
        # Its time was over, or somebody has marked it: no task says why.
        return f"{run['dag_id']} failed"
    return f"{run['dag_id']} {failed['task_id']}: {last_words(api, failed) or 'failed'}"


def last_words(api: AirflowApi, task: Mapping[str, Any]) -> str:
    """The sentence that a task's latest attempt ended with; empty where its log has none, or is gone."""
    try:
        return api.failure(task["dag_id"], task["dag_run_id"], task["task_id"], task["try_number"])
    except TaxiwayError:
        return ""
