"""The variables that Compose reads: what scripts/env writes as .env, the verbs into their own file."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from taxiway.compose import project_settings as choices
from taxiway.environment.home import write_atomically

# docker-compose.yaml has defaults for the emulators; an empty variable takes them away.
NO_EMULATORS: Mapping[str, str] = {
    "EMULATORS_OFF": "1",
    "STORAGE_EMULATOR_HOST": "",
    "BIGQUERY_EMULATOR_HOST": "",
    # TLC's own site, and no month unasked: it would cost money.
    "TLC_BASE_URL": "",
    "TAXIWAY_MONTHS": "",
}
EMULATOR_HOSTS = ("STORAGE_EMULATOR_HOST", "BIGQUERY_EMULATOR_HOST")


def of_stack(stack: str, outputs: Mapping[str, Any], credentials: Path | None) -> dict[str, str]:
    """What makes docker-compose.yaml run against a stack. `credentials` is its file on this machine, if any.

    A stack on emulators gets those that Compose starts: the outputs' own are on this machine's loopback.
    """
    from taxiway.infrastructure import environment  # imports Pulumi

    values = environment.variables(outputs)
    values.pop("GOOGLE_APPLICATION_CREDENTIALS", None)
    on_emulators = any(name in values for name in EMULATOR_HOSTS)
    for name in EMULATOR_HOSTS:
        values.pop(name, None)
    return {
        "COMPOSE_PROJECT_NAME": f"taxiway-{stack}",
        "TAXIWAY_STACK": stack,
        "AIRFLOW_UID": str(choices.uid()),
        "GOOGLE_CREDENTIALS_FILE": str(credentials or ""),
        **values,
        **({} if on_emulators else NO_EMULATORS),
    }


def write_credentials(file: Path, content: str | None) -> Path | None:
    """Write a stack's credential file where Compose mounts it from; None where the stack has none.

    Its owner's alone. Root is not imitated by the containers: it hands the file to whom they run as.
    """
    if content is None:
        return None
    write_atomically(file, content)
    if not os.getuid():
        os.chown(file, choices.uid(), -1)
    return file


def emulated(stack: str) -> dict[str, str]:
    """The same for a stack that Compose itself will make, on its emulators: names are a pure function."""
    from lakehouse.names import Names
    from taxiway.infrastructure import LOCAL_CONFIG

    project = LOCAL_CONFIG["taxiway:project"]
    names = Names.of(project, stack)
    return {
        "TAXIWAY_STACK": stack,
        "EMULATORS_OFF": "",
        "GCP_PROJECT_ID": project,
        "GCP_GCS_BUCKET": names.bucket,
        "BIGQUERY_DATASET": names.dataset,
    }


def lines(variables: Mapping[str, str]) -> str:
    """The text of the file. Single quotes: Compose takes what is in them as it is."""
    return "".join(f"{name}={shlex.quote(value) if value else ''}\n" for name, value in variables.items())


def read(file: Path) -> dict[str, str]:
    """The variables of such a file; empty where there is none."""
    if not file.exists():
        return {}
    found = re.findall(r"^([A-Za-z_]\w*)=(.*)$", file.read_text(), re.MULTILINE)
    return {name: "".join(shlex.split(value)) for name, value in found}
