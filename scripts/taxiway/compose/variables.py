"""The variables between a stack and its containers: what Compose reads, and what the commands read back.

`scripts/env` writes them as .env, `scripts/up` into a file of its own. docker-compose.yaml has a default for
each, those of the stack `local` on emulators; tests/contract/test_compose_file.py compares them.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lakehouse import outputs as names
from lakehouse.names import Names
from taxiway.airflow.environment import google_connection, postgres_connection, source_connection
from taxiway.environment import ports
from taxiway.environment.home import DEFAULT_STACK, OWN_CREDENTIALS, SAMPLE, Home, State, write_atomically
from taxiway.environment.secrets import EMULATOR_CREDENTIALS, emulator_credentials
from taxiway.errors import TaxiwayError
from taxiway.infrastructure import LOCAL_CONFIG, environment

if TYPE_CHECKING:
    from taxiway.compose.project import Project

SOURCE = "AIRFLOW_CONN_TAXI_SOURCE"
POSTGRES = "AIRFLOW_CONN_TAXI_POSTGRES"
# Where the containers have the credential file with the emulators' token.
CREDENTIALS = "/run/taxiway/emulator/credentials.json"
EMULATORS: Mapping[str, str] = {"STORAGE_EMULATOR_HOST": "gcs", "BIGQUERY_EMULATOR_HOST": "bigquery"}
"""The outputs of a stack on emulators that name one, and which."""
# Where tasks in containers find the token server, and the secrets that they and the API server show it.
TOKENS = f"http://google-tokens:{ports.USUAL['google-tokens']}"
TOKEN_SECRET = "/run/taxiway/google/secret"  # noqa: S105 - a path
READER_SECRET = "/run/taxiway/reader/secret"  # noqa: S105 - a path
# docker-compose.yaml has defaults for the emulators; an empty variable takes them away. Without the sample
# source the datasets' own is read, and no month unasked: it would cost money.
NO_EMULATORS = {"EMULATORS_OFF": "1", **dict.fromkeys((*EMULATORS, SOURCE, "TAXIWAY_MONTHS"), "")}

# The image's own user, for whoever may not be imitated: root, and hosts whose mounts have no uids.
IMAGE_UID = 50000

PORTS: Mapping[str, str] = {
    "api-server": "AIRFLOW_PORT",
    "flower": "FLOWER_PORT",
    "postgres": "TAXI_POSTGRES_PORT",
    "gcs": "GCS_PORT",
    "bigquery": "BIGQUERY_PORT",
    "bigquery-grpc": "BIGQUERY_GRPC_PORT",
    "sample-source": "SAMPLE_SOURCE_PORT",
}
"""The variable that publishes each component, on 127.0.0.1."""
USUAL: Mapping[str, int] = {name: {**ports.USUAL, "flower": 5555}[name] for name in PORTS}

SECRETS: Mapping[str, tuple[str, str]] = {
    "admin_password": ("airflow-api-server", "/run/taxiway/admin/admin_password"),
    "flower_password": ("flower", "/run/taxiway/flower/flower_password"),
    "taxi_database_password": ("taxi-postgres", "/run/taxiway/taxi/password"),
    "emulator_token": ("airflow-worker", "/run/taxiway/emulator/token"),
}
"""Name of the private file here, service that can read the original, the original's path there."""


def uid(own: int | None = None, platform: str = sys.platform) -> int:
    """Who the containers run as: the user of this machine, who can then read and remove what is shared."""
    own = os.getuid() if own is None else own
    return own if own and platform == "linux" else IMAGE_UID


def project_name(folder: Path, stack: str, owner: Callable[[str], Path | None]) -> str:
    """The name of a stack's Compose project: another checkout's is not taken over.

    The default stack has the name that Compose itself gives a checkout: `docker compose ps` shows it.
    """
    # Compose refuses other characters, and an empty name.
    own = re.sub(r"[^-_a-z0-9]", "", folder.name.lower()).lstrip("_-") or "taxiway"
    plain = own if stack == DEFAULT_STACK else _project_of(stack)
    taken = owner(plain) not in (None, folder)
    return f"{plain}-{hashlib.sha256(str(folder).encode()).hexdigest()[:6]}" if taken else plain


def _project_of(stack: str) -> str:
    """What Compose calls a stack, whose own name may have capitals and dots."""
    return f"taxiway-{Names.of('taxiway', stack).label}"


def of_stack(stack: str, outputs: Mapping[str, Any], credentials: Mapping[str, Path]) -> dict[str, str]:
    """What makes docker-compose.yaml run against a stack. `credentials` are its files on this machine.

    A stack on emulators gets those that Compose starts: the outputs' own are on this machine's loopback.
    """
    values, own = environment.variables(outputs), credentials.get(OWN_CREDENTIALS)
    # Where the file is in the containers is docker-compose.yaml's to say.
    values.pop(names.CREDENTIAL_FILE, None)
    emulators = NO_EMULATORS
    if EMULATORS.keys() & values.keys():
        emulators = {"EMULATORS_OFF": "", **google_connection(Path(CREDENTIALS), values)}
    return {
        "COMPOSE_PROJECT_NAME": _project_of(stack),
        "TAXIWAY_STACK": stack,
        "AIRFLOW_UID": str(uid()),
        "GOOGLE_CREDENTIALS_FILE": str(credentials.get(names.CREDENTIALS, "")),
        "GOOGLE_READER_CREDENTIALS_FILE": str(credentials.get(names.READER_CREDENTIALS, "")),
        "GOOGLE_OWN_CREDENTIALS_FILE": str(own or ""),
        "GOOGLE_TOKENS_OFF": "" if own else "1",
        "GOOGLE_OWN_CREDENTIALS_VERSION": hashlib.sha256(own.read_bytes()).hexdigest()[:12] if own else "",
        "GOOGLE_TOKEN_FOLDER": token_folder(outputs),
        **{name: value for name, value in values.items() if name not in EMULATORS},
        **emulators,
    }


def token_folder(outputs: Mapping[str, Any]) -> str:
    """Where the platform puts the token of workload identity; empty if the stack's credentials need none."""
    content = json.loads(outputs.get(names.CREDENTIALS) or "{}")
    file = Path(content.get("credential_source", {}).get("file", ""))
    # The folder, not the file: a platform renews a token by putting another file in its place.
    if file.parent == Path("/"):
        raise TaxiwayError(
            f"the token {file} is in no folder of its own, which the containers could mount",
            "Name another by taxiway:workloadIdentityTokenFile, such as /var/run/secrets/taxiway/token.",
        )
    return str(file.parent) if file.is_absolute() else ""


def emulated(stack: str) -> dict[str, str]:
    """The same for a stack that Compose itself will make, on its emulators: names are a pure function."""
    project = LOCAL_CONFIG["taxiway:project"]
    own = Names.of(project, stack)
    stores = {names.PROJECT: project, names.BUCKET: own.bucket, names.DATASET: own.dataset}
    return of_stack(stack, {**stores, **EMULATORS}, {})


def source(state: State) -> dict[str, str]:
    """Where the months come from, as the workers see it."""
    # docker-compose.yaml has the sample source as its default; an empty variable takes it away.
    return {} if state.source == SAMPLE else {SOURCE: "", **source_connection(state)}


def gateway(before: Mapping[str, str], *, readable: bool) -> dict[str, str]:
    """Where workers on other hosts come in: what the user's shell says, or said when `before` was written.

    An address that is empty closes it. `readable`: whether the API server may read the lake, and show logs.
    """
    names = ("TAXIWAY_ADDRESS", "GATEWAY_PORT", "TAXIWAY_LOGS_IN_LAKE")
    said = {name: os.environ.get(name, before.get(name, "")) for name in names}
    if not said["TAXIWAY_ADDRESS"]:
        return {"GATEWAY_OFF": "1"}
    logs = {"TAXIWAY_LOGS_IN_LAKE": "true"} if readable else {}
    return {"GATEWAY_OFF": "", **logs, **{name: value for name, value in said.items() if value}}


def write_credentials(folder: Path, outputs: Mapping[str, Any]) -> dict[str, Path]:
    """Write a stack's credential files where Compose mounts them from; those there are, by name.

    Their owner's alone. Root is not imitated by the containers: it hands them to whom they run as.
    """
    written = environment.write_credentials(folder, outputs, TOKENS, TOKEN_SECRET, READER_SECRET)
    if not os.getuid():
        for file in written.values():
            os.chown(file, uid(), -1)
    return written


def lines(variables: Mapping[str, str]) -> str:
    """The text of the file. Single quotes: Compose takes what is in them as it is."""
    return "".join(f"{name}={shlex.quote(value) if value else ''}\n" for name, value in variables.items())


def read(file: Path) -> dict[str, str]:
    """The variables of such a file; empty if there is none."""
    if not file.exists():
        return {}
    # What `lines` has written, and what people write by hand as long as it is one line a variable.
    found = re.findall(r"^([A-Za-z_]\w*)=(.*)$", file.read_text(), re.MULTILINE)
    return {name: "".join(shlex.split(value)) for name, value in found}


def take_secrets(project: Project, home: Home, ports: Mapping[str, int]) -> None:
    """Copy the passwords that the user is shown and the commands use, each into a file of mode 0600."""
    for name, (service, file) in SECRETS.items():
        write_atomically(home.secrets / name, project.read(service, file).strip())
    write_atomically(home.secrets / EMULATOR_CREDENTIALS, emulator_credentials(home.emulator_token))
    password = home.secret("taxi_database_password")
    write_atomically(home.secrets / "pgpass", f"127.0.0.1:{ports['postgres']}:taxi:taxi:{password}\n")


def host_side(config: Mapping[str, Any], home: Home, ports: Mapping[str, int]) -> dict[str, str]:
    """What `docker compose config` gives the workers, as the commands on this machine need it.

    The source stays as the workers name it, which is what they write into the load log.
    """
    inside: Mapping[str, str] = config["services"]["airflow-worker"]["environment"]
    same = (names.PROJECT, names.BUCKET, names.LOCATION, names.DATASET, names.CONNECTION, SOURCE)
    seen = {name: inside[name] for name in same if inside.get(name)}
    for name, component in EMULATORS.items():
        if inside.get(name) and not inside.get("EMULATORS_OFF"):
            seen[name] = f"http://127.0.0.1:{ports[component]}"
            seen |= google_connection(home.secrets / EMULATOR_CREDENTIALS, seen)
    if inside.get(names.CREDENTIAL_FILE):
        seen[names.CREDENTIAL_FILE] = config["secrets"]["google_credentials"]["file"]
    return {**seen, POSTGRES: postgres_connection(home, ports["postgres"])}
