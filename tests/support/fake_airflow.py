"""Airflow's REST API in memory, as far as commands follow runs through it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any


class FakeAirflow:
    """Answers like Airflow's API; `script` says how each DAG's run ends, `follows` what an event starts.

    `work` is done for each run as it is made, as Airflow's workers would: with the DAG's id and the month.
    """

    def __init__(
        self,
        script: Mapping[str, str] | None = None,
        follows: bool = True,
        work: Callable[[str, str | None], None] = lambda _dag, _month: None,
    ) -> None:
        self.script, self.follows, self.work = script or {}, follows, work
        self.stored: dict[str, dict[str, Any]] = {}
        self.triggered: list[str] = []
        self.months: list[str | None] = []
        self.confs: list[Mapping[str, Any]] = []
        self.requests = self.largest = 0
        self.listed: list[dict[str, Any]] = []

    def trigger(self, dag_id: str, month: str | None, conf: Mapping[str, Any]) -> dict[str, Any]:
        self.requests += 1
        self.triggered.append(dag_id)
        self.months.append(month)
        self.confs.append(conf)
        return self.add(dag_id, month)

    def add(self, dag_id: str, month: str | None) -> dict[str, Any]:
        now = f"2026-{len(self.listed):06}"
        run = {"dag_id": dag_id, "dag_run_id": f"r{len(self.listed)}", "partition_key": month}
        self.work(dag_id, month)
        times = {"run_after": now, "start_date": now, "end_date": now}
        self.listed.append({**run, "state": "running", **times})
        return self.listed[-1]

    def runs(self, dag_ids: list[str], **criteria: Any) -> list[dict[str, Any]]:
        self.requests += 1
        if "states" in criteria:
            return [run for run in self.listed if run["state"] in criteria["states"]]
        for run in list(self.listed):
            if run["state"] == "running":
                run["state"] = "failed" if self.script.get(run["dag_id"]) == "failed" else "success"
                if run["dag_id"].endswith("_to_lake") and self.follows and run["dag_id"] not in self.script:
                    dataset = run["dag_id"].removesuffix("_to_lake")
                    self.add(f"{dataset}_to_warehouse", run["partition_key"])
                    self.add(f"{dataset}_to_postgres", run["partition_key"])
        started = [run for run in self.listed if run["start_date"]]
        found = [run for run in started if run["start_date"] >= criteria["start_date_gte"]]
        self.largest = max(self.largest, len(found))
        return found

    def task_instances(self, dag_ids: list[str], run_ids: list[str]) -> list[dict[str, Any]]:
        self.requests += 1
        return [
            {
                "dag_id": run["dag_id"],
                "dag_run_id": run["dag_run_id"],
                "task_id": "only",
                "state": self.script.get(run["dag_id"], run["state"]),
                "try_number": 1,
                "duration": 1.0,
            }
            for run in self.listed
            if run["dag_run_id"] in run_ids
        ]

    def failure(self, *_: Any) -> str:
        return "yellow_tripdata_2024-01.parquet: truncated"

    def connection(self, name: str) -> dict[str, Any] | None:
        return self.stored.get(name)
