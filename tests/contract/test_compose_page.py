"""docs/compose.md says which secrets there are, who has them, and what a task can reach."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml
from repository import REPOSITORY

FILE: dict[str, Any] = yaml.safe_load((REPOSITORY / "docker-compose.yaml").read_text())
SERVICES: dict[str, Any] = FILE["services"]
SECRETS = {name for name in FILE["volumes"] if name == "vault" or name.endswith("-secrets")}
WORKER = SERVICES["airflow-worker"]
TEXT = " ".join((REPOSITORY / "docs" / "compose.md").read_text().split())
CONFINED = TEXT.partition("## How it is confined")[2].partition("## ")[0]
CAN, CANNOT = re.findall(
    r"\*\*What a task can reach\.\*\*(.+?)It cannot reach (.+?) DAG files are trusted further", CONFINED
)[0]
# What the page calls that which a volume of secrets, or one of Compose's own, opens to whoever has it.
CALLED = {
    "taxi-secrets": "the passwords of the datasets' tables",
    "broker-secrets": "of the broker",
    "emulator-secrets": "the emulators, whose token it can read",
    "google-secrets": "a secret for which `google-tokens` gives tokens",
    "google_credentials": "the Google credential, and read it",
    "google_own_credentials": "your own Google credentials",
    "reader-secrets": "the API server's Google credential, which only reads",
    "google_reader_credentials": "the API server's Google credential, which only reads",
    "database-secrets": "the Fernet key",
    "tokens-secrets": "what signs tokens",
    "admin-secrets": "the passwords that people sign in with",
    "flower-secrets": "the passwords that people sign in with",
    "gateway-secrets": "certificate of the gateway and what signs those of invited workers",
    "vault": "the originals",
}


def mounted(service: Any) -> set[str]:
    """The volumes, and folders of this machine, that a service has; a variable without its default."""
    return {re.sub(r"\$\{(\w+)[^}]*\}", r"\1", volume).split(":")[0] for volume in service["volumes"]}


def test_the_page_says_who_has_which_secrets() -> None:
    rows = re.findall(r"\| ((?:`[\w-]+`(?:, )?)+) \| [^|]+ \| ([^|]+) \|", CONFINED)
    said = {}
    for volumes, services in rows:
        # A row of several volumes has a part for each.
        names = re.findall(r"`([\w-]+)`", volumes)
        for name, part in zip(names, services.split(";"), strict=True):
            said[name] = set(re.findall(r"`([\w-]+)`", part))
    having = {s: {n for n in SERVICES if s in mounted(SERVICES[n])} for s in SECRETS}
    # It makes them all.
    assert said == {s: names - ({"prepare"} if s != "vault" else set()) for s, names in having.items()}


@pytest.mark.parametrize("secret", sorted(SECRETS | set(FILE["secrets"])))
def test_the_page_says_of_each_secret_whether_a_task_can_reach_it(secret: str) -> None:
    has = secret in mounted(WORKER) | set(WORKER["secrets"])
    assert (CALLED[secret] in CAN, CALLED[secret] in CANNOT) == (has, not has)


def test_the_page_names_the_folders_and_services_that_a_task_can_reach() -> None:
    folders = {v.removeprefix("./") for v in mounted(WORKER) - SECRETS if v.startswith("./")}
    assert folders == {"dags", "dags_local", "plugins", "airflow/airflow.cfg"}
    assert "all DAGs and plugins" in CAN
    assert "TAXIWAY_LOGS" in mounted(WORKER)
    assert "write into `./logs`" in CAN
    assert WORKER["extra_hosts"] == ["host.docker.internal:host-gateway"]
    assert "`host.docker.internal`" in CAN
    near = {n for n, s in SERVICES.items() if set(s.get("networks", ["default"])) & set(WORKER["networks"])}
    called = {
        "airflow-api-server": "the API server", "flower": "Flower", "taxi-postgres": "the datasets' tables",
        "gcs": "the emulators", "bigquery": "the emulators", "redis": "the broker",
        "google-tokens": "`google-tokens`",
    }  # fmt: skip
    assert {*called} < near
    assert all(words in CAN for words in called.values())
    assert "postgres" not in near
    assert "Airflow's database" in CANNOT
