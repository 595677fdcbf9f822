"""Do one of the library's verbs as an Airflow worker does it: `python -m bench.worker VERB [FILE]`.

What a worker has imported before its task is forked is imported first and not part of `seconds`. The
last line of the output is a JSON object: seconds and CPU seconds of each verb, and what it returned.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from typing import Any
from uuid import uuid4

MODULES = {
    "download": "elt.stages.download",
    "conform": "elt.stages.conform",
    "stage": "elt.stages.warehouse",
    "audit": "elt.stages.warehouse",
    "publish": "elt.stages.warehouse",
    "ingest": "elt.stages.postgres",
}


def main() -> None:
    """Run the verbs that the command line names, one after the other, in one run of January 2024."""
    verbs = sys.argv[1:]
    _preload(verbs)
    from bench import MONTH
    from elt.settings import Settings
    from elt.stages import registry as pipeline

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
    main()
