"""What runs in a process of its own: `python tests/benchmarks bench.tasks NAME ARGUMENT…`.

The last line of the output is a JSON object; its `seconds` are those of the work, without the imports.
"""

from __future__ import annotations

import gc
import importlib
import json
import multiprocessing
import os
import runpy
import shutil
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

from bench import MONTH

# What a worker has imported before a task is forked from it; the stages import them late.
_CLIENTS = ("google.cloud.bigquery", "google.cloud.storage", "psycopg", "elt.sources.client")
# What a DAG file of any sort brings in.
_AIRFLOW = (
    "airflow",
    "airflow.sdk",
    "airflow.providers.standard.decorators.python",
    "airflow.sdk.bases.operatorlink",
    "airflow.sdk.bases.sensor",
)


def stages(*names: str) -> dict[str, Any]:
    """Run stages one after the other, for January 2024, as an Airflow worker does.

    What a worker has imported before it forks a task is imported first, and is no part of `seconds`.
    """
    from elt.stages import STAGES

    for module in (*_CLIENTS, *(STAGES[name].partition(":")[0] for name in names)):
        importlib.import_module(module)
    gc.freeze()
    with ProcessPoolExecutor(1, multiprocessing.get_context("fork")) as forked:
        return forked.submit(_stages, names).result()


def _stages(names: Sequence[str]) -> dict[str, Any]:
    from elt.catalogue.registry import dataset
    from elt.connections import EnvironmentConnections
    from elt.periods import Month
    from elt.stage_request import StageRequest
    from elt.stages import run

    connections, entry = EnvironmentConnections(), dataset("yellow")
    request = StageRequest(entry, Month.parse(MONTH), uuid4().hex, connections.settings, force=True)
    found: dict[str, Any] = {"seconds": 0.0, "stages": {}}
    for name in names:
        started, cpu = time.monotonic(), time.process_time()
        returned = run(name, request, connections)
        seconds = time.monotonic() - started
        found["seconds"] += seconds
        used = {"seconds": seconds, "cpu_s": time.process_time() - cpu}
        found["stages"][name] = {**used, "returned": returned}
    return found


def conform(raw: str, out: str) -> dict[str, Any]:
    """Conform a raw file to typed Parquet, both on this machine: the library's own pass over it."""
    from elt.catalogue.registry import dataset
    from elt.conforming import stream
    from elt.periods import Month

    # A worker has it, of Google's client; Arrow imports it where it is installed.
    importlib.import_module("pandas")
    entry = dataset("yellow")
    if raw.endswith(".csv.gz"):
        # The same dataset, published as a user's own might be.
        entry = replace(entry, path="/trip-data/yellow_tripdata_{year}-{month}.csv.gz")
    started = time.monotonic()
    with Path(raw).open("rb") as source, stream.Split(source, entry, Month.parse(MONTH)) as parts:
        rows, quarantine = stream.write(parts)
        if quarantine is not None:
            raise SystemExit("some rows do not fit")
        with rows, Path(out).open("wb") as target:
            shutil.copyfileobj(rows, target, 1 << 20)
    return {"seconds": time.monotonic() - started}


def copy(raw: str, out: str) -> dict[str, Any]:
    """The least that Parquet to Parquet can cost here: pyarrow reads and writes each row group."""
    import pyarrow.parquet as pq

    started = time.monotonic()
    source = pq.ParquetFile(raw)
    with pq.ParquetWriter(out, source.schema_arrow) as target:
        for number in range(source.num_row_groups):
            target.write_table(source.read_row_group(number, use_threads=False))
    return {"seconds": time.monotonic() - started}


def load() -> dict[str, Any]:
    """One load job into an empty table, as short as the API allows: the limit for the warehouse."""
    from google.auth.credentials import AnonymousCredentials
    from google.cloud.bigquery import Client, LoadJobConfig, SchemaField

    from elt.catalogue.registry import dataset
    from elt.connections import EnvironmentConnections
    from elt.layout import typed_object
    from elt.periods import Month
    from elt.warehouse.tables import fields

    connections, entry = EnvironmentConnections(), dataset("yellow")
    settings, project = connections.settings, connections.project
    client = Client(
        project,
        credentials=AnonymousCredentials(),  # type: ignore[no-untyped-call]
        client_options={"api_endpoint": os.environ["BIGQUERY_EMULATOR_HOST"]},
    )
    schema = [SchemaField.from_api_repr(field) for field in fields(entry.columns)]
    started = time.monotonic()
    job = client.load_table_from_uri(
        f"gs://{settings.bucket}/{typed_object(entry, Month.parse(MONTH))}",
        f"{project}.{settings.dataset}.limit_{uuid4().hex}",
        job_config=LoadJobConfig(source_format="PARQUET", schema=schema),
    )
    job.result(timeout=600)
    return {"seconds": time.monotonic() - started, "rows": job.output_rows}


def parse(*folders: str) -> dict[str, Any]:
    """Run every DAG file of the folders once; Airflow's own import comes first and is measured apart."""
    started, cpu = time.monotonic(), time.process_time()
    for name in _AIRFLOW:
        importlib.import_module(name)
    own, between = time.monotonic() - started, time.process_time()
    before, started = set(sys.modules), time.monotonic()
    dags = [dag for folder in folders for file in sorted(Path(folder).glob("*.py")) for dag in _dags(file)]
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


TASKS = {task.__name__: task for task in (stages, conform, copy, load, parse)}

if __name__ == "__main__":
    report = TASKS[sys.argv[1]](*sys.argv[2:])
    sys.stdout.write("\n" + json.dumps(report, default=str) + "\n")
