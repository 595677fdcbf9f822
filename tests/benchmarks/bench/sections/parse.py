"""What it costs to parse all DAG files, beyond the import of Airflow itself."""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path

from bench.bench import Bench, module, worker_variables
from bench.processes import run as run_once
from bench.section import Section, Target
from taxiway.environment.home import REPOSITORY

TITLE = "DAG parse"


def run(bench: Bench) -> Section:
    """Parse them in a process of their own, several times."""
    folders = [REPOSITORY / "dags", REPOSITORY / "dags_local"]
    command: list[str | Path] = module("parsing", *folders)
    with tempfile.TemporaryDirectory() as home:
        variables = {
            "AIRFLOW_HOME": home,
            "AIRFLOW_CONFIG": str(REPOSITORY / "airflow" / "airflow.cfg"),
            "AIRFLOW__CORE__PLUGINS_FOLDER": str(REPOSITORY / "plugins"),
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db",
        }
        runs = [run_once(command, worker_variables(variables)) for _ in range(bench.n)]
    said = [done.said for done in runs]
    seconds = statistics.median(one["seconds"] for one in said)
    ours = {
        "name": "taxiway, all DAG files",
        "role": "ours",
        "rate": said[0]["dags"] / seconds,
        "cpu_s": statistics.median(one["cpu_s"] for one in said),
        "peak_rss_mb": max(done.peak_rss_mb for done in runs),
        "runs": len(runs),
    }
    facts = {
        "seconds": seconds,
        "seconds_min": min(one["seconds"] for one in said),
        "seconds_max": max(one["seconds"] for one in said),
        "airflow_seconds": statistics.median(one["airflow_seconds"] for one in said),
        "modules": said[0]["modules"],
        "packages": said[0]["packages"],
    }
    bench.progress.say(f"{said[0]['dags']} DAGs in {seconds:.3f} s, {said[0]['modules']} modules", "done")
    targets = [Target("seconds for all DAGs, beyond Airflow's import", seconds, at_most=0.5)]
    return Section("DAGs/s", [ours], targets, facts)
