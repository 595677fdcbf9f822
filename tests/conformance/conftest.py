"""What conformance tests share: a cloud, Google's clients, a bucket, a dataset, an account."""

import secrets
from collections.abc import Iterator
from typing import Any

import emulators as emulated
import pytest
from clouds import TOKEN, Cloud, clouds


@pytest.fixture(scope="session")
def emulators(tmp_path_factory: pytest.TempPathFactory) -> Iterator[emulated.Emulators]:
    """Storage, warehouse, control plane and sample source, for the whole session; they ask for a token."""
    with emulated.running(tmp_path_factory.mktemp("conformance"), TOKEN) as running:
        yield running


@pytest.fixture(scope="session", params=["emulators", "google-cloud"])
def cloud(request: pytest.FixtureRequest) -> Iterator[Cloud]:
    """Each cloud there is."""
    yield from clouds(request)


@pytest.fixture(autouse=True)
def judged(request: pytest.FixtureRequest) -> Iterator[None]:
    """Whatever a test sent and received is as Google's discovery documents say."""
    yield
    if "cloud" in request.fixturenames:
        judge = request.getfixturevalue("cloud").judge
        found, judge.faults[:] = list(judge.faults), []
        assert found == []


@pytest.fixture(scope="session")
def storage_client(cloud: Cloud) -> Any:
    """Google's own storage client."""
    from google.cloud import storage

    return storage.Client(project=cloud.project, credentials=cloud.credentials, _http=cloud.session)


@pytest.fixture(scope="session")
def bigquery_client(cloud: Cloud) -> Any:
    """Google's own BigQuery client."""
    from google.cloud import bigquery

    return bigquery.Client(
        project=cloud.project, credentials=cloud.credentials, location=cloud.location, _http=cloud.session
    )


@pytest.fixture(scope="session")
def bucket(cloud: Cloud, storage_client: Any) -> Iterator[str]:
    """A bucket that forgets at once what is deleted; its name."""
    name = f"{cloud.run}-shared"
    body = {
        "name": name,
        "location": cloud.location,
        **({"softDeletePolicy": {"retentionDurationSeconds": "0"}} if cloud.forgetful else {}),
        "iamConfiguration": {"uniformBucketLevelAccess": {"enabled": True}},
    }
    cloud.ok("POST", f"{cloud.storage}/b", body, project=cloud.project)
    yield name
    if cloud.forgetful:  # the test bench finds some names never again
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
