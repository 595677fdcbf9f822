"""The same file with the .env of a stack on Google Cloud: no emulators, its own names and credentials.

It runs beside the platform of the other tests, on the same engine. For the API server and the token server
Google is a process of this machine; nothing else calls Google.
"""

from __future__ import annotations

import atexit
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from compose_stack import Stack, fresh_clone, remove_images
from fake_storage import Object
from google_hosts import ACCOUNT, GoogleHosts
from tls_proxy import certificate

from taxiway.cli.main import main
from taxiway.compose import variables as names
from taxiway.environment.home import OWN_CREDENTIALS
from taxiway.targets.target import Checkout

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1500)]
# Where the platform puts its token, as root: nobody else makes this folder.
TOKEN = Path(tempfile.gettempdir()) / "taxiway-token-of-a-test" / "token"
EMULATED = {"gcs", "bigquery", "sample-source", "infrastructure"}
ACTING = "https://iam.test/v1/projects/-/serviceAccounts/%s:generateAccessToken"
READER = "reader@p.iam.gserviceaccount.com"
OUTPUTS = {
    "AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT": '{"conn_type": "google_cloud_platform", "extra": {"project": "p"}}',
    "BIGQUERY_DATASET": "d",
    "GCP_GCS_BUCKET": "b",
    "GCP_LOCATION": "EU",
    "GCP_PROJECT_ID": "p",
    "GOOGLE_APPLICATION_CREDENTIALS": "/run/secrets/google_credentials",
    "google_credentials": json.dumps({"type": "of a test", "credential_source": {"file": str(TOKEN)}}),
    "google_reader_credentials": json.dumps(
        {"type": "impersonated_service_account", "service_account_impersonation_url": ACTING % READER}
    ),
}
FILES = ("google_credentials", "google_reader_credentials")


# What the token server has.
OWN = {
    "type": "impersonated_service_account",
    "service_account_impersonation_url": ACTING % ACCOUNT,
    "source_credentials": {"type": "authorized_user", **dict.fromkeys(("client_id", "client_secret"), "x"),
    "refresh_token": "a-developers-own"},
}  # fmt: skip
ASK = """
import pathlib, sys, urllib.error, urllib.request
url = f"http://google-tokens:9085/v1/projects/-/serviceAccounts/{sys.argv[1]}:generateAccessToken"
secret = pathlib.Path(sys.argv[2])
headers = {"Content-Type": "application/json"}
for given in (secret.read_text() if secret.exists() else "", "guessed"):
    request = urllib.request.Request(url, b'{"scope": ["x"]}', headers | {"Authorization": f"Bearer {given}"})
    try:
        urllib.request.urlopen(request, timeout=20)
    except urllib.error.HTTPError as error:
        print(error.code)
"""


class Engine:
    """A stack that is up on Google Cloud, as much of one as scripts/env needs."""

    def exists(self) -> bool:
        return True

    def outputs(self) -> dict[str, str]:
        return OUTPUTS


@pytest.fixture(scope="module")
def google() -> Iterator[GoogleHosts]:
    with GoogleHosts(address="0.0.0.0") as google:
        yield google


def proxied(folder: Path, google: GoogleHosts) -> str:
    """What Compose is told beside the file, so that two services find that Google."""
    (folder / "google.pem").write_bytes(certificate()[0])
    found = {
        "environment": {
            "HTTPS_PROXY": f"http://host.docker.internal:{google.port}",
            "REQUESTS_CA_BUNDLE": "/google.pem",
        },
        "extra_hosts": ["host.docker.internal:host-gateway"],
        "volumes": ["./google.pem:/google.pem:ro"],
    }
    return yaml.safe_dump({"services": dict.fromkeys(("airflow-api-server", "google-tokens"), found)})


@pytest.fixture(scope="module")
def stack(platform: Stack, google: GoogleHosts) -> Iterator[Stack]:
    """Up with what scripts/env writes, in a checkout that is its owner's alone."""
    made = Stack(fresh_clone("google-cloud"))
    shutil.rmtree(TOKEN.parent, ignore_errors=True)
    TOKEN.parent.mkdir(mode=0o755)
    renew_token("the first")
    atexit.register(remove_images, "taxiway-carol")
    owner = made.folder.stat().st_uid
    engine: Any = lambda *_: Engine()  # noqa: E731
    assert main(["env", "carol"], Checkout(made.folder, engine)) == 0
    # Root writes for the image's user; the owner of a checkout for himself.
    written = names.read(made.folder / ".env")
    own = made.folder / OWN_CREDENTIALS
    own.write_text(json.dumps(OWN))
    impersonating = {"GOOGLE_OWN_CREDENTIALS_FILE": str(own), "GOOGLE_TOKENS_OFF": ""}
    impersonating["TAXIWAY_LOGS_IN_LAKE"] = "true"
    (made.folder / "docker-compose.override.yaml").write_text(proxied(made.folder, google))
    (made.folder / ".env").write_text(names.lines({**written, **impersonating, "AIRFLOW_UID": str(owner)}))
    for file in (".env", *FILES, OWN_CREDENTIALS, "google.pem"):
        os.chown(made.folder / file, owner, -1)
    subprocess.run(["chmod", "-R", "go-rwx", made.folder], check=True)
    # The builder's cache looks at modes as well, and nobody has to install the packages twice.
    (made.folder / "airflow" / "requirements.txt").chmod(0o644)
    try:
        made.up()
        yield made
    finally:
        made.compose("down", "--volumes", "--remove-orphans", "--timeout", "5", code=None)
        shutil.rmtree(made.folder)
        shutil.rmtree(TOKEN.parent)


def renew_token(text: str) -> None:
    """Put another token in the old one's place, as platforms do."""
    new = TOKEN.with_name("new")
    new.write_text(text)
    new.chmod(0o644)
    new.replace(TOKEN)


def test_compose_two_projects_run_side_by_side(platform: Stack, stack: Stack) -> None:
    networks = [
        {n for f in p.inspect().values() for n in f["NetworkSettings"]["Networks"]} for p in (platform, stack)
    ]
    volumes = [
        {m.get("Name", m["Source"]) for f in p.inspect().values() for m in f["Mounts"]}
        for p in (platform, stack)
    ]
    assert networks[0] & networks[1] <= {"none"}
    assert volumes[0] & volumes[1] <= {"/dev/null"}
    assert platform.api.dags()["yellow_to_lake"] is False
    assert stack.api.dags()["yellow_to_warehouse"] is False
    assert platform.api.password != stack.api.password


def variables(stack: Stack, service: str) -> dict[str, str]:
    """What a component of that service finds."""
    run = ("run", "--rm", "-T", "--no-deps", "-e", "TAXIWAY_NEEDS_API=", service, "env", "-0")
    # What a container prints that ends at once is lost now and then where the machine is busy.
    shown = next(filter(None, (stack.compose(*run) for _ in range(3))), "")
    return dict(pair.split("=", 1) for pair in shown.split("\0") if "=" in pair)


def test_compose_with_a_stacks_env_starts_no_emulator(stack: Stack) -> None:
    assert not EMULATED & set(stack.services)
    assert stack.name == "taxiway-carol"
    started = {facts["Config"]["Labels"]["com.docker.compose.service"] for facts in stack.inspect().values()}
    assert {"airflow-worker", "airflow-scheduler", "taxi-postgres", "flower"} <= started
    assert not EMULATED & started


def test_compose_with_a_stacks_env_gives_workers_the_stack_and_no_emulator(stack: Stack) -> None:
    found = variables(stack, "airflow-worker")
    given = {name: found.get(name) for name in OUTPUTS if name not in FILES}
    assert given == {name: value for name, value in OUTPUTS.items() if name not in FILES}
    assert not {"STORAGE_EMULATOR_HOST", "BIGQUERY_EMULATOR_HOST", names.SOURCE} & set(found)
    read = stack.read("airflow-worker", "/run/secrets/google_credentials")
    assert json.loads(read) == json.loads(OUTPUTS["google_credentials"])
    assert "Read-only" in stack.compose(
        "exec", "-T", "airflow-worker", "bash", "-c", "echo x >/run/secrets/google_credentials", code=1
    )


def test_compose_with_workload_identity_sees_each_renewed_token_and_can_write_none(stack: Stack) -> None:
    for text in ("the first", "the next"):
        renew_token(text)
        for service in ("airflow-worker", "airflow-triggerer"):
            assert stack.read(service, str(TOKEN)) == text
    write = ("exec", "-T", "airflow-worker", "bash", "-c", f"echo x >{TOKEN}")
    assert "Read-only" in stack.compose(*write, code=1)
    assert stack.compose("exec", "-T", "airflow-scheduler", "cat", str(TOKEN), code=1)


def test_compose_with_a_stacks_env_shows_pages_and_logs_of_the_lake_as_the_reader(
    stack: Stack, google: GoogleHosts
) -> None:
    """The task ran where its log is no more."""
    api, name = stack.api, "green_to_lake"
    google.shown.clear()
    # By the token with which it was just asked.
    assert "yellow_to_lake" in api.dags()
    page = api.session.get(f"{api.url}/taxiway/api/coverage/yellow", timeout=60)
    assert page.status_code == 200, page.text
    assert google.shown >= {("bigquery.googleapis.com", READER)}
    run = api.trigger(name, "2024-01", {})["dag_run_id"]
    task = api.task_instances([name], [run])[0]["task_id"]
    ran = "UPDATE task_instance SET try_number = 1, state = 'success', hostname = 'gone'"
    psql = "PGPASSWORD=$(cat /run/taxiway/database/password) psql -h 127.0.0.1 -U airflow -c"
    where = f"WHERE run_id = '{run}' AND task_id = '{task}'"
    stack.compose("exec", "-T", "postgres", "sh", "-c", f'{psql} "{ran} {where}"')
    log = f"logs/dag_id={name}/run_id={run}/task_id={task}/attempt=1.log"
    google.storage.objects["b"][log] = Object(b'{"event": "said elsewhere"}\n', 1)
    shown = api.session.get(
        f"{api.url}/api/v2/dags/{name}/dagRuns/{run}/taskInstances/{task}/logs/1", timeout=60
    )
    assert "said elsewhere" in shown.text, shown.text
    assert {who for host, who in google.shown if host.startswith(("storage", "bigquery"))} == {READER}


def test_compose_serves_each_client_its_own_accounts_tokens_and_shows_nobody_the_developers_own(
    stack: Stack,
) -> None:
    tasks, reader = "/run/taxiway/google/secret", "/run/taxiway/reader/secret"
    for service, account, secret, status in (
        ("airflow-worker", "nobody@p.test", tasks, "404"),
        ("airflow-triggerer", "nobody@p.test", tasks, "404"),
        # Who reads cannot write, and what runs tasks has not even the other's secret.
        ("airflow-worker", READER, tasks, "404"),
        ("airflow-worker", READER, reader, "401"),
        ("airflow-api-server", ACCOUNT, reader, "404"),
        ("airflow-api-server", ACCOUNT, tasks, "401"),
    ):
        asked = stack.compose("exec", "-T", service, "python", "-c", ASK, account, secret)
        assert asked.split() == [status, "401"], (service, account, secret)
    # Others do not even know its name.
    failed = stack.compose("exec", "-T", "airflow-scheduler", "python", "-c", ASK, "x", tasks, code=1)
    assert "URLError" in failed

    def having(file: str) -> set[str]:
        return {name for name, facts in stack.inspect().items() if file in json.dumps(facts["Mounts"])}

    assert having(OWN_CREDENTIALS) == {"google-tokens-1"}
    assert having("google_reader_credentials") == {"google-tokens-1", "airflow-api-server-1"}
    assert "a-developers-own" in stack.read("google-tokens", f"/run/secrets/{OWN_CREDENTIALS}")
    assert "a-developers-own" not in json.dumps(stack.inspect()) + stack.logs()


def test_compose_reports_at_once_that_the_services_could_not_read_a_private_checkout(stack: Stack) -> None:
    owner = stack.folder.stat().st_uid
    another = replace(stack, variables={**stack.variables, "AIRFLOW_UID": str(owner + 1)})
    printed = another.compose("run", "--rm", "-T", "prepare", code=1)
    assert f"cannot be read by uid {owner + 1}" in printed
    assert f"AIRFLOW_UID={owner}" in printed


def test_compose_with_a_stacks_env_opens_the_platform_and_loads_nothing_unasked(stack: Stack) -> None:
    paused = stack.api.dags()
    assert (paused["yellow_to_lake"], paused["yellow_to_warehouse"]) == (True, False)
    assert stack.api.runs(["yellow_to_lake", "zones_to_lake"]) == []
    assert "Airflow   http" in stack.logs("loader")
