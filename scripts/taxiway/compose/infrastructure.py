"""The service that brings the stack up and down: the Pulumi program, in process, on the emulators."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

from taxiway.infrastructure import teardown

if TYPE_CHECKING:
    from taxiway.infrastructure import Engine

STATE = Path("/data")
TROUBLE = "trouble"


def main(arguments: list[str]) -> int:
    """`up`, which is the default, or `destroy`."""
    from taxiway.infrastructure import Endpoints, EngineError, open_engine

    endpoints = Endpoints("http://gcs:9023", "http://bigquery:9050", "http://control-plane:9070")
    engine = open_engine("in-process", os.environ["TAXIWAY_STACK"], endpoints, STATE)
    try:
        return destroy(engine) if arguments == ["destroy"] else up(engine)
    except EngineError as error:
        return report([f"{error} {error.remedy}"])


def up(engine: Engine) -> int:
    """Create or update everything the program declares, and check that the pipelines will look there."""
    outputs = engine.up()
    for name, value in sorted(outputs.items()):
        print(f"infrastructure: {name}={value}")  # noqa: T201 - its log; nothing of it is secret on emulators
    return report(differences(outputs, os.environ))


def destroy(engine: Engine) -> int:
    """Remove it all, print what that was as JSON, and ask the emulators whether anything is left."""
    print(json.dumps(teardown.destroy(engine)))  # noqa: T201 - its answer
    return report([])


def report(wrong: list[str]) -> int:
    """Say what is wrong, in the log and to the loader; forget what was wrong before."""
    trouble = STATE / TROUBLE
    trouble.unlink(missing_ok=True)
    if wrong:
        text = "".join(f"infrastructure: {sentence}\n" for sentence in wrong)
        sys.stderr.write(text)
        trouble.write_text(text)
    return 1 if wrong else 0


def differences(outputs: Mapping[str, str], environment: Mapping[str, str]) -> list[str]:
    """Where the services are told something else than what there is."""
    return [
        f"the services are told {name}={environment[name]}, but the stack's is {value}. "
        f"Unset {name} in your shell and in .env, or write .env with scripts/env."
        for name, value in sorted(outputs.items())
        if meaning(environment.get(name, value)) != meaning(value)
    ]


def meaning(value: str) -> object:
    """A connection's URI form and its JSON form mean the same."""
    if value.startswith("{"):
        return json.loads(value)
    extra = parse_qs(urlsplit(value).query).get("__extra__")
    if extra:
        return {"conn_type": urlsplit(value).scheme.replace("-", "_"), "extra": json.loads(extra[0])}
    return value


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
