"""The service that brings the stack up: the Pulumi program, evaluated in process, on the emulator services."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

STACK = "local"
STATE = Path("/data")


def main() -> int:
    """Create or update everything the program declares, and check that the pipelines will look there."""
    from taxiway.engines import Endpoints, EngineError, open_engine

    endpoints = Endpoints("http://gcs:9023", "http://bigquery:9050", "http://control-plane:9070")
    try:
        outputs = open_engine("in-process", STACK, endpoints, STATE).up()
    except EngineError as error:
        sys.stderr.write(f"infrastructure: {error} {error.remedy}\n")
        return 1
    for name, value in sorted(outputs.items()):
        print(f"infrastructure: {name}={value}")  # noqa: T201 - its log; nothing of it is secret on emulators
    wrong = differences(outputs, os.environ)
    for sentence in wrong:
        sys.stderr.write(f"infrastructure: {sentence}\n")
    return 1 if wrong else 0


def differences(outputs: Mapping[str, str], environment: Mapping[str, str]) -> list[str]:
    """Where the services are told something else than what there is."""
    return [
        f"the services are told {name}={environment[name]}, but the stack's is {value}. "
        f"Unset {name} in your shell and in .env, or write .env with scripts/env."
        for name, value in sorted(outputs.items())
        if environment.get(name, value) != value
    ]


if __name__ == "__main__":
    sys.exit(main())
