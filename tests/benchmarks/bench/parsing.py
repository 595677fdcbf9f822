"""Parse the DAG files as Airflow's processor does, and say what that took and brought in.

`python -m bench.parsing FOLDER…`: Airflow's own import comes first and is measured apart. The last
line of the output is a JSON object: seconds, CPU seconds and modules by their top-level name.
"""

from __future__ import annotations

import importlib
import json
import runpy
import sys
import time
from pathlib import Path
from typing import Any

# What a DAG file of any kind brings in.
AIRFLOW = (
    "airflow",
    "airflow.sdk",
    "airflow.providers.standard.decorators.python",
    "airflow.sdk.bases.sensor",
)


def parse(folders: list[Path]) -> dict[str, Any]:
    """Run every DAG file of the folders once."""
    started, cpu = time.monotonic(), time.process_time()
    for name in AIRFLOW:
        importlib.import_module(name)
    own, between = time.monotonic() - started, time.process_time()
    before, started = set(sys.modules), time.monotonic()
    dags = [dag for folder in folders for file in sorted(folder.glob("*.py")) for dag in _dags(file)]
    new = sorted({name.split(".")[0] for name in set(sys.modules) - before} - sys.stdlib_module_names)
    return {
        "seconds": time.monotonic() - started,
        "cpu_s": time.process_time() - between,
        "airflow_seconds": own,
        "airflow_cpu_s": between - cpu,
        "dags": len(dags),
        "modules": len(set(sys.modules) - before),
        "packages": new,
    }


def _dags(file: Path) -> list[str]:
    """Ids of the DAGs that a file defines."""
    from airflow.sdk import DAG

    return [value.dag_id for value in runpy.run_path(str(file)).values() if isinstance(value, DAG)]


if __name__ == "__main__":
    told = parse([Path(name) for name in sys.argv[1:]])
    sys.stdout.write("\n" + json.dumps(told) + "\n")
