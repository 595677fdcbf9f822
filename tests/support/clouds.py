"""The clouds that conformance tests run on: the emulators, Google's test bench of storage, Google Cloud."""

import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import emulators as emulated
import pytest
import requests
from discovery import Judge

PROJECT_VARIABLE = "TAXIWAY_CONFORMANCE_PROJECT"
TESTBENCH_VARIABLE = "TAXIWAY_STORAGE_TESTBENCH"
# Of the control plane; nobody conforms to them on Google Cloud, where a machine costs money.
MORE = ("secretmanager", "artifactregistry", "osconfig", "iap")
TOKEN = "of-this-environment-alone"


@dataclass(frozen=True)
class Cloud:
    """Base URLs of the APIs (no trailing slash), an authorized session, and a prefix for names of our own.

    `judge` has checked whatever the session, and Google's clients over it, sent and received. `forgetful`: a
    bucket can be told to keep nothing that is deleted. `control_plane`: the emulators', empty elsewhere.
    """

    project: str
    storage: str
    upload: str
    bigquery: str
    iam: str
    crm: str
    su: str
    control_plane: str
    session: requests.Session
    credentials: Any
    judge: Judge
    location: str = "US"
    forgetful: bool = True
    run: str = field(default_factory=lambda: f"taxiway-{secrets.token_hex(4)}")

    def call(self, method: str, url: str, body: Any = None, **query: str) -> requests.Response:
        """Send JSON and return the answer, whatever its status."""
        return self.session.request(method, url, json=body, params=query, timeout=60)

    def ok(self, method: str, url: str, body: Any = None, **query: str) -> Any:
        """Send JSON and return the JSON of an answer that must be good."""
        answer = self.call(method, url, body, **query)
        assert answer.ok, f"{method} {url}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else {}


def clouds(request: pytest.FixtureRequest) -> Iterator[Cloud]:
    """The cloud that `request` names."""
    if request.param == "google-cloud":
        yield _google_cloud()
    elif request.param == "testbench":
        yield from _testbench()
    else:
        running: emulated.Emulators = request.getfixturevalue("emulators")
        with pytest.MonkeyPatch.context() as patch, requests.Session() as session:
            for name, value in running.environment().items():
                patch.setenv(name, value)
            yield _emulated_cloud(running, session)


def _urls(storage: str, bigquery: str, iam: str, crm: str, su: str) -> dict[str, str]:
    return {
        "storage": f"{storage}/storage/v1",
        "upload": f"{storage}/upload/storage/v1",
        "bigquery": f"{bigquery}/bigquery/v2",
        "iam": f"{iam}/v1",
        "crm": f"{crm}/v1",
        "su": f"{su}/v1",
    }


def _judge(storage: str, bigquery: str = "", iam: str = "", crm: str = "", su: str = "") -> Judge:
    given = {"storage": storage, "bigquery": bigquery, "iam": iam, "crm": crm, "su": su}
    return Judge({f"{root}/": (name, "/") for name, root in given.items() if root})


def _emulated_cloud(running: emulated.Emulators, session: requests.Session) -> Cloud:
    from google.auth.credentials import AnonymousCredentials

    control = running.control_plane_url
    roots = (running.storage_url, running.bigquery_url, f"{control}/iam", f"{control}/crm", f"{control}/su")
    session.headers["Authorization"] = f"Bearer {running.token}"
    judge = _judge(*roots)
    judge.roots = {**judge.roots, f"{control}/compute/beta/": ("compute", "/compute/beta/")}
    judge.roots |= {f"{control}/{api}/": (api, "/") for api in MORE}
    judge.watch(session)
    return Cloud(
        project=running.project,
        **_urls(*roots),
        control_plane=control,
        session=session,
        credentials=AnonymousCredentials(),
        judge=judge,
    )


def _testbench() -> Iterator[Cloud]:
    """Google's own test bench of Cloud Storage (github.com/googleapis/storage-testbench), started by hand."""
    address = os.environ.get(TESTBENCH_VARIABLE, "").rstrip("/")
    if not address:
        pytest.skip(f"no test bench: set {TESTBENCH_VARIABLE} to its address")
    from google.auth.credentials import AnonymousCredentials

    with pytest.MonkeyPatch.context() as patch, requests.Session() as session:
        patch.setenv("STORAGE_EMULATOR_HOST", address)
        # It answers fields of its own, for its own tests.
        yield Cloud(
            "test-project",
            **_urls(address, "", "", "", ""),
            control_plane="",
            session=session,
            credentials=AnonymousCredentials(),
            judge=Judge({}),
            forgetful=False,
        )


def _google_cloud() -> Cloud:
    project = os.environ.get(PROJECT_VARIABLE)
    if not project:
        pytest.skip(f"no project to test on: set {PROJECT_VARIABLE}")
    import google.auth
    from google.auth.transport.requests import AuthorizedSession

    credentials, _ = google.auth.default(["https://www.googleapis.com/auth/cloud-platform"])
    apis = ("storage", "bigquery", "iam", "cloudresourcemanager", "serviceusage")
    roots = [f"https://{api}.googleapis.com" for api in apis]
    session, judge = AuthorizedSession(credentials), _judge(*roots)
    judge.watch(session)
    return Cloud(
        project=project,
        **_urls(*roots),
        control_plane="",
        session=session,
        credentials=credentials,
        judge=judge,
    )
