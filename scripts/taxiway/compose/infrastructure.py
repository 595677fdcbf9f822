"""The service that brings the stack up and down: the Pulumi program, in process, on the emulators."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from lakehouse.outputs import BUCKET, DATASET, PROJECT
from taxiway.compose import TROUBLE
from taxiway.infrastructure import Endpoints, EngineError, open_engine, teardown

STATE = Path("/data")
TOKEN = Path("/run/taxiway/emulator/token")


def main(arguments: list[str]) -> int:
    """`up`, which is the default, or `destroy`, which prints what is gone as JSON."""
    trouble, complaint = STATE / TROUBLE, ""
    trouble.unlink(missing_ok=True)
    endpoints = Endpoints("http://gcs:9023", "http://bigquery:9050", token=TOKEN.read_text())
    engine = open_engine("in-process", os.environ["TAXIWAY_STACK"], endpoints, STATE)
    try:
        if arguments == ["destroy"]:
            print(json.dumps(teardown.destroy(engine)))  # noqa: T201 - its answer
        else:
            complaint = difference(engine.up(), os.environ)
    except EngineError as error:
        complaint = f"{error} {error.remedy}"
    if complaint:
        trouble.write_text(f"infrastructure: {complaint}\n")
        sys.stderr.write(trouble.read_text())
    return 1 if complaint else 0


def difference(outputs: Mapping[str, str], environment: Mapping[str, str]) -> str:
    """A sentence if the services look for the data elsewhere: Compose prefers the shell to the file."""
    for name in (PROJECT, BUCKET, DATASET):
        if environment.get(name, outputs[name]) != outputs[name]:
            return (
                f"the services have {name}={environment[name]}, but the stack's is {outputs[name]}. "
                f"Unset {name} in your shell and in .env, or write .env with scripts/env."
            )
    return ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
