"""How other programs reach an environment's stores: lines to paste, none of which holds a password. Pure."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from elt.connection_fields import ConnectionFields, postgres_parameters
from elt.connections import GOOGLE, POSTGRES, EnvironmentConnections, fields_in

_PLAIN = re.compile(r"[^\s'\\]+")
_SIGNED_IN = """\
import json
from google.oauth2.credentials import Credentials
token = json.load(open({file!r}))["token"]
how = lambda url: {{"credentials": Credentials(token), "client_options": {{"api_endpoint": url}}}}
"""


@dataclass(frozen=True)
class Snippet:
    """What to paste, and into what."""

    title: str
    text: str


def conninfo(parameters: Mapping[str, Any]) -> str:
    """Parameters as libpq's connection string, whatever is in their values."""

    def quoted(value: str) -> str:
        return value if _PLAIN.fullmatch(value) else "'" + re.sub(r"(['\\])", r"\\\1", value) + "'"

    return " ".join(f"{name}={quoted(str(value))}" for name, value in parameters.items())


def psql(parameters: Mapping[str, Any]) -> str:
    """The command line of psql."""
    return f"psql {shlex.quote(conninfo(parameters))}"


def snippets(variables: Mapping[str, str], python: Path, show_password: str) -> list[Snippet]:
    """For the stores that an environment's variables describe.

    `python` has the clients installed; `show_password` is the command that prints Postgres' password.
    """
    stores = EnvironmentConnections(variables)
    found = []
    if postgres := fields_in(variables, POSTGRES):
        reached = postgres_parameters(postgres)
        reached.pop("password", None)
        fields = "Host {host}   Port {port}   Database {dbname}   Username {user}"
        found += [
            Snippet("Postgres: psql", psql(reached)),
            Snippet(
                "Postgres: DBeaver, DataGrip, Metabase …",
                fields.format_map({"port": 5432, "dbname": "", "user": "", **reached})
                + f"\nPassword: {show_password}",
            ),
            Snippet(
                "Postgres: Python", f"import psycopg\nconnection = psycopg.connect({conninfo(reached)!r})"
            ),
        ]
    warehouse, lake = variables.get("BIGQUERY_EMULATOR_HOST"), variables.get("STORAGE_EMULATOR_HOST")
    dataset, project = stores.settings.dataset, stores.project
    question = f"SELECT table_name FROM {dataset}.INFORMATION_SCHEMA.TABLES"  # noqa: S608 - to be pasted
    google = fields_in(variables, GOOGLE) or ConnectionFields()
    token = google.extra.get("credential_config_file") if warehouse else None
    first = _SIGNED_IN.format(file=token) if token else ""
    client = f"bigquery.Client({project!r}{f', **how({warehouse!r})' if token else ''})"
    found.append(
        Snippet(
            "Warehouse: Python, or a notebook",
            f"{first}from google.cloud import bigquery\nwarehouse = {client}\n"
            f"rows = warehouse.query({question!r}).result()\n"
            "print([dict(row) for row in rows])",
        )
    )
    client = f"storage.Client({project!r}{f', **how({lake!r})' if token else ''})"
    found.append(
        Snippet(
            "Lake: Python, or a notebook",
            f"{first}from google.cloud import storage\nlake = {client}.bucket({stores.settings.bucket!r})\n"
            'print([blob.name for blob in lake.list_blobs(prefix="typed/")][:5])',
        )
    )
    if not warehouse:
        found.append(
            Snippet(
                "Warehouse: bq", f"bq query --project_id={project} --nouse_legacy_sql {shlex.quote(question)}"
            )
        )
    found.append(Snippet("These clients are installed for", str(python)))
    return found
