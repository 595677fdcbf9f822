"""The cloud that conformance tests run on: the emulators always, Google Cloud where a project is given."""

import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import emulators as emulated
import pytest
import requests

PROJECT_VARIABLE = "TAXIWAY_CONFORMANCE_PROJECT"


@dataclass(frozen=True)
class Cloud:
    """Base URLs of the APIs (no trailing slash), an authorized session, and a prefix for names of our own."""

    project: str
    storage: str
    upload: str
    bigquery: str
    iam: str
    crm: str
    su: str
    session: requests.Session
    credentials: Any
    location: str = "US"
    run: str = field(default_factory=lambda: f"taxiway-{secrets.token_hex(4)}")

    def call(self, method: str, url: str, body: Any = None, **query: str) -> requests.Response:
        """Send JSON and return the answer, whatever its status."""
        return self.session.request(method, url, json=body, params=query, timeout=60)

    def ok(self, method: str, url: str, body: Any = None, **query: str) -> Any:
        """Send JSON and return the JSON of an answer that must be good."""
        answer = self.call(method, url, body, **query)
        assert answer.ok, f"{method} {url}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else {}


@pytest.fixture(scope="session")
def emulators(tmp_path_factory: pytest.TempPathFactory) -> Iterator[emulated.Emulators]:
    """Storage, warehouse, control plane and sample source, for the whole session."""
    with emulated.running(tmp_path_factory.mktemp("conformance")) as running:
        yield running


@pytest.fixture(scope="session", params=["emulators", "google-cloud"])
def cloud(request: pytest.FixtureRequest) -> Iterator[Cloud]:
    """Each cloud there is."""
    if request.param == "google-cloud":
        yield _google_cloud()
        return
    running: emulated.Emulators = request.getfixturevalue("emulators")
    with pytest.MonkeyPatch.context() as patch, requests.Session() as session:
        for name, value in running.environment().items():
            patch.setenv(name, value)
        yield _emulated_cloud(running, session)


def _emulated_cloud(running: emulated.Emulators, session: requests.Session) -> Cloud:
    from google.auth.credentials import AnonymousCredentials

    return Cloud(
        project=running.project,
        storage=f"{running.storage_url}/storage/v1",
        upload=f"{running.storage_url}/upload/storage/v1",
        bigquery=f"{running.bigquery_url}/bigquery/v2",
        iam=f"{running.control_plane_url}/iam/v1",
        crm=f"{running.control_plane_url}/crm/v1",
        su=f"{running.control_plane_url}/su/v1",
        session=session,
        credentials=AnonymousCredentials(),
    )


def _google_cloud() -> Cloud:
    project = os.environ.get(PROJECT_VARIABLE)
    if not project:
        pytest.skip(f"no project to test on: set {PROJECT_VARIABLE}")
    import google.auth
    from google.auth.transport.requests import AuthorizedSession

    credentials, _ = google.auth.default(["https://www.googleapis.com/auth/cloud-platform"])
    return Cloud(
        project=project,
        storage="https://storage.googleapis.com/storage/v1",
        upload="https://storage.googleapis.com/upload/storage/v1",
        bigquery="https://bigquery.googleapis.com/bigquery/v2",
        iam="https://iam.googleapis.com/v1",
        crm="https://cloudresourcemanager.googleapis.com/v1",
        su="https://serviceusage.googleapis.com/v1",
        session=AuthorizedSession(credentials),
        credentials=credentials,
    )


@pytest.fixture(scope="session")
def storage_client(cloud: Cloud) -> Any:
    """Google's own storage client."""
    from google.cloud import storage

    return storage.Client(project=cloud.project, credentials=cloud.credentials)


@pytest.fixture(scope="session")
def bigquery_client(cloud: Cloud) -> Any:
    """Google's own BigQuery client."""
    from google.cloud import bigquery

    return bigquery.Client(project=cloud.project, credentials=cloud.credentials, location=cloud.location)


@pytest.fixture(scope="session")
def bucket(cloud: Cloud, storage_client: Any) -> Iterator[str]:
    """A bucket that forgets at once what is deleted; its name."""
    name = f"{cloud.run}-shared"
    body = {
        "name": name,
        "location": cloud.location,
        "softDeletePolicy": {"retentionDurationSeconds": "0"},
        "iamConfiguration": {"uniformBucketLevelAccess": {"enabled": True}},
    }
    cloud.ok("POST", f"{cloud.storage}/b", body, project=cloud.project)
    yield name
    storage_client.bucket(name).delete(force=True)


@pytest.fixture(scope="session")
def dataset(cloud: Cloud) -> Iterator[str]:
    """A dataset; its name."""
    name = f"{cloud.run}_shared".replace("-", "_")
    url = f"{cloud.bigquery}/projects/{cloud.project}/datasets"
    cloud.ok("POST", url, {"datasetReference": {"datasetId": name}, "location": cloud.location})
    yield name
    cloud.ok("DELETE", f"{url}/{name}", deleteContents="true")


@pytest.fixture
def accounts(cloud: Cloud) -> str:
    """The URL of the project's service accounts."""
    return f"{cloud.iam}/projects/{cloud.project}/serviceAccounts"


@pytest.fixture
def account(cloud: Cloud, accounts: str) -> Iterator[dict[str, Any]]:
    """A service account, deleted afterwards."""
    body = {"accountId": f"taxiway-{secrets.token_hex(4)}", "serviceAccount": {"displayName": "one"}}
    created = cloud.ok("POST", accounts, body)
    yield created
    cloud.call("DELETE", f"{accounts}/{created['email']}")
