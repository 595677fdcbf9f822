"""Attacks on the credentials of a stack on Google Cloud: what tasks are handed, whom the token server serves.

The platform's own code writes the files and starts the server; Google is tests/support/google_hosts.py.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests
from google_hosts import ACCOUNT, GoogleHosts

from stacks import free_port
from taxiway.airflow.environment import airflow_environment, child_environment
from taxiway.console.progress import Progress
from taxiway.embedded.components import components
from taxiway.embedded.platform import Embedded
from taxiway.environment import secrets
from taxiway.environment.home import Home, State, write_json
from taxiway.environment.ports import USUAL

REFRESH_TOKEN = "1//a-developers-refresh-token"
OWN = {"type": "authorized_user", "client_id": "mine", "client_secret": "s", "refresh_token": REFRESH_TOKEN}
URL = f"https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/{ACCOUNT}:generateAccessToken"
READER = "reader@p.iam.gserviceaccount.com"


def impersonating(account: str) -> str:
    """What the program exports for an account."""
    content = {"type": "impersonated_service_account", "delegates": [], "source_credentials": {}}
    return json.dumps(content | {"service_account_impersonation_url": URL.replace(ACCOUNT, account)})


OUTPUTS = {
    "GCP_PROJECT_ID": "p", "GCP_GCS_BUCKET": "b", "BIGQUERY_DATASET": "d", "GCP_LOCATION": "EU",
    "AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT": '{"conn_type": "google_cloud_platform", "extra": {"project": "p"}}',
    "GOOGLE_APPLICATION_CREDENTIALS": "/run/secrets/google_credentials",
    "google_credentials": impersonating(ACCOUNT),
    "google_reader_credentials": impersonating(READER),
}  # fmt: skip
# What a task does that wants to know who it is.
TASK = "import google.auth; c, _ = google.auth.default(); print(type(c), getattr(c, 'refresh_token', None))"
READ = "from google.cloud.storage import Client; print([*Client('p').list_blobs('b')])"
PORTS = {"google-tokens": free_port()}
SERVER = f"http://127.0.0.1:{PORTS['google-tokens']}"
MINT = f"{SERVER}/v1/projects/-/serviceAccounts/{ACCOUNT}:generateAccessToken"
SCOPE = {"scope": ["https://www.googleapis.com/auth/cloud-platform"]}


@dataclass
class Processes:
    """A process manager that starts what it is told, and nothing again."""

    home: Home
    port: int
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start_component(self, name: str) -> None:
        command = next(c.command for c in components(self.home, USUAL | PORTS) if c.name == name)
        self.running[name] = subprocess.Popen(command, env=child_environment())

    def stop_components(self, names: Any) -> None:
        for name in [name for name in names if name in self.running]:
            process = self.running.pop(name)
            process.terminate()
            process.wait(20)

    def states(self) -> dict[str, str]:
        return dict.fromkeys(self.running, "RUNNING")

    def pid(self) -> int:
        return os.getpid()

    def check_listener(self, port: int) -> None:
        pass


class Engine:
    """A stack that is up."""

    def up(self) -> dict[str, str]:
        return OUTPUTS


@pytest.fixture(scope="module")
def google() -> Iterator[GoogleHosts]:
    with GoogleHosts() as google:
        yield google


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory, google: GoogleHosts) -> Iterator[dict[str, str]]:
    """The variables of a task of a stack on Google Cloud, with its developer's own at their usual place."""
    folder = tmp_path_factory.mktemp("checkout")
    gcloud = folder / "user" / ".config" / "gcloud"
    gcloud.mkdir(parents=True)
    (gcloud / "application_default_credentials.json").write_text(json.dumps(OWN))
    with pytest.MonkeyPatch.context() as patch:
        for name, value in google.variables(folder).items():
            patch.setenv(name, value)
        patch.setenv("HOME", str(folder / "user"))
        for name in ("CLOUDSDK_CONFIG", "GOOGLE_APPLICATION_CREDENTIALS"):
            patch.delenv(name)
        home = Home.of("alice", folder)
        state = State(USUAL | PORTS, source="tlc", engine="cli", emulated=False)
        state.save(home)
        secrets.generate(home.secrets)
        secrets.derive(home.secrets, state.ports["postgres"])
        processes = Processes(home, 0)
        opened: Any = (lambda *_: Engine()), (lambda *_: processes)
        embedded = Embedded(home, state, Progress(), *opened)
        found = embedded._start_infrastructure()
        embedded._give_outputs(found)
        yield child_environment() | airflow_environment(home, state, found)
        processes.stop_components(list(processes.running))


def handed(variables: Mapping[str, str]) -> Iterator[str]:
    """The text of every file that variables name, and that such files name."""
    waiting, seen = list(variables.values()), set[Path]()
    while waiting:
        for word in waiting.pop().replace('"', " ").replace(",", " ").split():
            path = Path(word)
            if path.is_absolute() and path not in seen and path.is_file() and path.suffix != ".pem":
                seen.add(path)
                text = path.read_text(errors="ignore")
                waiting.append(text)
                yield text


def test_nothing_that_a_task_is_handed_holds_its_developers_credentials(tasks: dict[str, str]) -> None:
    texts = [*tasks.values(), *handed(tasks)]
    assert len(texts) > len(tasks), "files were found"
    assert [text for text in texts if REFRESH_TOKEN in text] == []


def test_googles_libraries_find_no_developer_where_a_task_asks_for_nobody(tasks: dict[str, str]) -> None:
    def found(environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", TASK]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)

    assert found(tasks).stdout == "<class 'google.auth.identity_pool.Credentials'> None\n"
    # Without the variable, too: the folder of gcloud's is not the developer's.
    bare = found(tasks | {"GOOGLE_APPLICATION_CREDENTIALS": "", "NO_GCE_CHECK": "true"})
    assert (bare.stdout, "DefaultCredentialsError" in bare.stderr) == ("", True)


def test_with_the_secret_there_are_tokens_of_the_account_and_of_no_other(
    tasks: dict[str, str], google: GoogleHosts
) -> None:
    file = json.loads(Path(tasks["GOOGLE_APPLICATION_CREDENTIALS"]).read_text())
    secret = Path(file["credential_source"]["file"]).read_text()
    ours = {"Authorization": f"Bearer {secret}"}
    answer = requests.post(MINT, json=SCOPE, headers=ours, timeout=20)
    assert (answer.status_code, sorted(answer.json())) == (200, ["accessToken", "expireTime"])
    before = google.minted
    other = requests.post(MINT.replace("pipelines@", "owner@"), json=SCOPE, headers=ours, timeout=20)
    assert other.status_code == 404
    assert google.minted == before
    assert all(REFRESH_TOKEN not in text for text in (answer.text, other.text))


@pytest.mark.parametrize(
    ("name", "account", "status"),
    [
        ("google_credentials", READER, 404),
        ("google_reader_credentials", ACCOUNT, 404),
        ("google_reader_credentials", READER, 200),
    ],
)
def test_each_secret_is_good_for_one_account(
    tasks: dict[str, str], google: GoogleHosts, name: str, account: str, status: int
) -> None:
    """No task gets what the API server reads by, and the API server nothing by which it could write."""
    file = json.loads(Path(tasks["GOOGLE_APPLICATION_CREDENTIALS"]).with_name(name).read_text())
    secret, before = Path(file["credential_source"]["file"]).read_text(), google.minted
    exchange = requests.post(file["token_url"], data={"subject_token": secret}, timeout=20)
    assert exchange.json()["access_token"] == secret
    ours = {"Authorization": f"Bearer {secret}"}
    answer = requests.post(MINT.replace(ACCOUNT, account), json=SCOPE, headers=ours, timeout=20)
    assert answer.status_code == status
    assert (google.minted > before) == ("accessToken" in answer.json()) == (status == 200)


def test_pages_read_by_another_file_than_tasks(tasks: dict[str, str]) -> None:
    pages = json.loads(Path(tasks["TAXIWAY_ENVIRONMENT"]).read_text())
    files = [Path(one["GOOGLE_APPLICATION_CREDENTIALS"]) for one in (tasks, pages)]
    assert [file.name for file in files] == ["google_credentials", "google_reader_credentials"]
    assert all(file.exists() for file in files)
    assert pages["GCP_GCS_BUCKET"] == tasks["GCP_GCS_BUCKET"]


def test_what_the_api_server_has_reads_as_the_reader(tasks: dict[str, str], google: GoogleHosts) -> None:
    google.shown.clear()
    file = Path(tasks["GOOGLE_APPLICATION_CREDENTIALS"]).with_name("google_reader_credentials")
    command = [sys.executable, "-c", READ]
    environment = tasks | {"GOOGLE_APPLICATION_CREDENTIALS": str(file)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.stdout == "[]\n", done.stderr
    assert {who for host, who in google.shown if host == "storage.googleapis.com"} == {READER}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"Authorization": "Bearer guessed"}, 401),
        ({"Host": "evil.test"}, 403),
        ({"Origin": "http://evil.test"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
    ],
    ids=str,
)
def test_who_has_no_secret_and_every_web_page_get_nothing(
    tasks: dict[str, str], google: GoogleHosts, headers: dict[str, str], status: int
) -> None:
    before = google.minted
    assert requests.post(MINT, json=SCOPE, headers=headers, timeout=20).status_code == status
    exchange = requests.post(
        f"{SERVER}/v1/token", data={"subject_token": "guessed"}, headers=headers, timeout=20
    )
    assert exchange.status_code == (400 if status == 401 else status)
    assert requests.get(SERVER, headers=headers, timeout=20).status_code == status
    assert google.minted == before


def test_no_secret_is_in_a_command_line_or_readable_by_others(tasks: dict[str, str]) -> None:
    secrets_folder = Path(tasks["GOOGLE_APPLICATION_CREDENTIALS"]).parent
    secret = (secrets_folder / secrets.TOKEN_SECRET).read_text()
    home = Home(secrets_folder.parent)
    told = " ".join(word for one in components(home, USUAL | PORTS) for word in one.command)
    assert all(word not in told for word in (secret, REFRESH_TOKEN))
    assert all(file.stat().st_mode & 0o077 == 0 for file in secrets_folder.iterdir())


def test_commands_need_no_token_server_unless_a_task_calls_them(
    tasks: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = "GOOGLE_APPLICATION_CREDENTIALS"
    home = Home(Path(tasks[file]).parents[1])
    write_json(home.environment, tasks)
    assert home.variables()[file] == str(home.own_credentials)
    assert REFRESH_TOKEN in home.own_credentials.read_text()
    monkeypatch.setenv(file, tasks[file])
    assert home.variables()[file] == tasks[file]


def test_a_server_without_a_secret_does_not_start(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "taxiway.token_server"]
    command += [f"--{name}={tmp_path}" for name in ("credentials", "reader-credentials", "reader-token-file")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, "--token-file is required" in done.stderr) == (2, True)
