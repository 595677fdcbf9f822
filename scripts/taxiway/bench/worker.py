"""Do one of the library's verbs as an Airflow worker does it: `python -m taxiway.bench.worker VERB [FILE]`.

What a worker has imported before its task is forked is imported first and not part of `seconds`. The
last line of the output is a JSON object: seconds and CPU seconds of each verb, and what it returned.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

MODULES = {
    "download": "nyc_taxi.download",
    "conform": "nyc_taxi.refine",
    "stage": "nyc_taxi.warehouse",
    "audit": "nyc_taxi.warehouse",
    "publish": "nyc_taxi.warehouse",
    "ingest": "nyc_taxi.ingest",
}


def main() -> None:
    """Run the verbs that the command line names, one after the other, in one run of January 2024."""
    verbs = sys.argv[1:]
    _preload(verbs)
    from nyc_taxi import pipeline
    from nyc_taxi.settings import Settings
    from taxiway.bench import MONTH

    settings, run_id = Settings.from_environment(), uuid4().hex
    told: dict[str, Any] = {"seconds": 0.0, "verbs": {}}
    for verb in verbs:
        started, cpu = time.monotonic(), time.process_time()
        done = getattr(pipeline, verb)("yellow", MONTH, run_id, settings, force=True)
        seconds = time.monotonic() - started
        told["seconds"] += seconds
        told["verbs"][verb] = {"seconds": seconds, "cpu_s": time.process_time() - cpu, "returned": done}
    sys.stdout.write("\n" + json.dumps(told, default=str) + "\n")


def _preload(verbs: list[str]) -> None:
    """Import what the verbs need; in a worker the scheduler did so before it forked."""
    for verb in verbs:
        importlib.import_module(MODULES[verb])


if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).resolve().parents[3] / "plugins")]
    main()
