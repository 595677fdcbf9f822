"""Every recorded request of the real provider gets an answer of the recorded status and shape."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import emulators as emulated
import pytest
import requests

pytestmark = pytest.mark.emulators
RECORDINGS = Path(__file__).parent / "recordings" / "pulumi-gcp-requests.jsonl"
PROJECT = "p1"

# Where the answer must differ from the recorded one, because that was the recording's gap.
CORRECTED_STATUS = {"GET .*/anywhereCaches": 200, "GET /compute/v1/projects/": 200, "DELETE /gcs/": 204}


@dataclass(frozen=True)
class Recorded:
    """One line of the recordings."""

    method: str
    path: str
    status: int
    request: Any
    response: Any

    @classmethod
    def read(cls, line: str) -> "Recorded":
        entry = json.loads(line)
        response = json.loads(entry["response"]) if entry["response"].startswith("{") else entry["response"]
        return cls(entry["method"], entry["path"], entry["status"], entry["request"] or None, response)

    @property
    def wanted_status(self) -> int:
        corrected = [
            status
            for pattern, status in CORRECTED_STATUS.items()
            if re.match(pattern, f"{self.method} {self.path}") and (self.status < 300 or status == 200)
        ]
        return corrected[0] if corrected else self.status

    def __str__(self) -> str:
        return f"{self.method} {self.path.split('?')[0]}"


RECORDED = [Recorded.read(line) for line in RECORDINGS.read_text().splitlines()]


class World:
    """The emulated services, brought into the state in which a recorded request was sent."""

    def __init__(self, running: emulated.Emulators, session: requests.Session) -> None:
        control, self.session = running.control_plane_url, session
        self.roots = {"gcs": running.storage_url, "bq": running.bigquery_url}
        self.roots |= {api: f"{control}/{api}" for api in ("iam", "crm", "su", "compute")}
        self.storage = f"{running.storage_url}/storage/v1"
        self.datasets = f"{running.bigquery_url}/bigquery/v2/projects/{PROJECT}/datasets"
        self.control = control

    def send(self, method: str, url: str, body: Any = None) -> requests.Response:
        return self.session.request(method, url, json=body, timeout=30)

    def replay(self, recorded: Recorded) -> requests.Response:
        """Send a recorded request where, and under which names, it makes sense now."""
        path, body = self.arranged(recorded)
        _, api, rest = path.split("/", 2)
        return self.send(recorded.method, f"{self.roots[api]}/{rest}", body)

    def arranged(self, recorded: Recorded) -> tuple[str, Any]:
        """Make what the request needs; return its path and body with the ids of today."""
        path, body = recorded.path, recorded.request
        creates = recorded.method == "POST"
        if match := re.search(r"/b/([^/?]+)", path):
            self.bucket(match[1])
        if creates and "/storage/v1/b?" in path:
            self.send("DELETE", f"{self.storage}/b/{body['name']}")
        if match := re.search(r"generation=(\d+)", path):
            path = path.replace(match[1], self.upload("lab-bucket-1", "a/b.txt"))
        path = self.arranged_dataset(path, body, creates)
        path = self.arranged_account(path, body, creates)
        if path.endswith(":setIamPolicy?alt=json&prettyPrint=false"):
            body = {**body, "policy": {**body["policy"], "etag": self.policy_etag()}}
        if recorded.method == "PUT" and "/iam?" in path:
            body = {**body, "etag": self.send("GET", f"{self.storage}/b/lab-bucket-1/iam").json()["etag"]}
        if "/compute/" in path:
            number = self.send("GET", f"{self.control}/crm/v1/projects/{PROJECT}").json()["projectNumber"]
            path = path.replace("1234", number)
        return path, body

    def bucket(self, name: str) -> None:
        self.send("POST", f"{self.storage}/b?project={PROJECT}", {"name": name})

    def upload(self, bucket: str, name: str) -> str:
        root = self.roots["gcs"]
        url = f"{root}/upload/storage/v1/b/{bucket}/o"
        query = {"uploadType": "media", "name": name}
        answer = self.session.post(url, params=query, data=b"x", timeout=30)
        return str(answer.json()["generation"])

    def arranged_dataset(self, path: str, body: Any, creates: bool) -> str:
        if creates and path.startswith("/bq/bigquery") and "/datasets?" in path:
            name = body["datasetReference"]["datasetId"]
            self.send("DELETE", f"{self.datasets}/{name}?deleteContents=true")
        elif match := re.search(r"/datasets/([^/?]+)", path):
            labels = {"goog-pulumi-provisioned": "true"}
            self.send("POST", self.datasets, {"datasetReference": {"datasetId": match[1]}, "labels": labels})
            self.arranged_table(path, body, match[1], creates)
        return path

    def arranged_table(self, path: str, body: Any, dataset: str, creates: bool) -> None:
        tables = f"{self.datasets}/{dataset}/tables"
        if creates:
            self.send("DELETE", f"{tables}/{body['tableReference']['tableId']}")
        elif match := re.search(r"/tables/([^/?]+)", path):
            reference = {"projectId": PROJECT, "datasetId": dataset, "tableId": match[1]}
            fields = [{"name": "id", "type": "INT64", "mode": "REQUIRED"}]
            self.send("POST", tables, {"tableReference": reference, "schema": {"fields": fields}})

    def arranged_account(self, path: str, body: Any, creates: bool) -> str:
        accounts = f"{self.control}/iam/v1/projects/{PROJECT}/serviceAccounts"
        if creates and "/serviceAccounts?" in path:
            self.send("DELETE", f"{accounts}/{body['accountId']}@{PROJECT}.iam.gserviceaccount.com")
        elif match := re.search(r"/serviceAccounts/([^/?@]+)@([^/?]+)", path):
            body = {"accountId": match[1], "serviceAccount": {"displayName": "lab"}}
            self.send("POST", accounts, body)
            if key := re.search(r"/keys/([0-9a-f]+)", path):
                made = self.send("POST", f"{accounts}/{match[1]}@{match[2]}/keys", {}).json()
                path = path.replace(key[1], made["name"].rsplit("/", 1)[1])
        return path

    def policy_etag(self) -> str:
        return str(self.send("POST", f"{self.control}/crm/v1/projects/{PROJECT}:getIamPolicy").json()["etag"])


@pytest.fixture(scope="module")
def world(emulators: emulated.Emulators) -> Iterator[World]:
    with requests.Session() as session:
        session.headers["Authorization"] = f"Bearer {emulators.token}"
        yield World(emulators, session)


def lacking(recorded: Any, given: Any, place: str = "") -> Iterator[str]:
    """Name what `recorded` has and `given` has not, or has with another type. Empty ones may be left out."""
    if isinstance(recorded, dict) and isinstance(given, dict):
        for key, value in recorded.items():
            if key in given:
                yield from lacking(value, given[key], f"{place}.{key}")
            elif value not in ({}, [], "", None):
                yield f"{place}.{key} is missing"
    elif isinstance(recorded, list) and isinstance(given, list):
        for one, other in zip(recorded[:1], given[:1], strict=False):
            yield from lacking(one, other, f"{place}[0]")
    elif type(recorded) is not type(given):
        yield f"{place} is {given!r}, not {recorded!r}"


def test_all_of_the_recordings_are_here() -> None:
    assert len(RECORDED) == 46
    assert {recorded.path.split("/")[1] for recorded in RECORDED} == {
        "gcs",
        "bq",
        "iam",
        "crm",
        "su",
        "compute",
    }


def test_no_recording_holds_a_private_key() -> None:
    assert "SCRUBBED" in RECORDINGS.read_text()
    keys = [
        recorded.response["privateKeyData"] for recorded in RECORDED if "privateKeyData" in recorded.response
    ]
    assert keys == ["SCRUBBED"]


@pytest.mark.parametrize("recorded", RECORDED, ids=str)
def test_a_recorded_request_gets_an_answer_of_its_status_and_shape(world: World, recorded: Recorded) -> None:
    answer = world.replay(recorded)
    assert answer.status_code == recorded.wanted_status, answer.text
    if recorded.wanted_status == recorded.status and isinstance(recorded.response, dict):
        assert list(lacking(recorded.response, answer.json())) == []


ATTRIBUTES = re.compile(
    r"/gcs/storage/v1/b(/[^/]+)?|/bq/bigquery/v2/.*/(datasets|tables)(/[^/]+)?|/iam/.*/serviceAccounts(/[^/:]+)?"
    r"|/gcs/storage/v1/b/[^/]+/iam"
)
CHANGING = [
    recorded
    for recorded in RECORDED
    if recorded.method in ("POST", "PUT", "PATCH")
    and recorded.status == 200
    and ATTRIBUTES.fullmatch(recorded.path.split("?")[0])
]


@pytest.mark.parametrize("recorded", CHANGING, ids=str)
def test_what_a_recorded_request_sent_is_read_back_unchanged(world: World, recorded: Recorded) -> None:
    answer = world.replay(recorded)
    got, sent = world.send("GET", readable_url(world, recorded, answer)).json(), dict(recorded.request)
    sent = sent.get("serviceAccount", sent)
    for transient in ("accountId", "updateMask", "etag", "version"):
        sent.pop(transient, None)
    assert list(drifted(sent, got)) == []


def readable_url(world: World, recorded: Recorded, answer: requests.Response) -> str:
    """Return the URL of the resource that a recorded request made or changed."""
    path = recorded.path.split("?")[0]
    if path.endswith("/v1/b"):
        return f"{world.storage}/b/{answer.json()['name']}"
    if path.startswith("/gcs/"):
        return f"{world.roots['gcs']}{path.removeprefix('/gcs')}"
    if path.endswith("/datasets"):
        return f"{world.datasets}/{answer.json()['datasetReference']['datasetId']}"
    if path.endswith("/tables"):
        return f"{world.roots['bq']}{path.removeprefix('/bq')}/{answer.json()['tableReference']['tableId']}"
    if path.startswith("/bq/"):
        return f"{world.roots['bq']}{path.removeprefix('/bq')}"
    return f"{world.control}/iam/v1/{answer.json()['name']}"


def drifted(sent: Any, got: Any, place: str = "") -> Iterator[str]:
    """Name what reads back otherwise than it was sent; left out is the same as empty."""
    if isinstance(sent, dict) and isinstance(got, dict):
        for key, value in sent.items():
            yield from drifted(value, got.get(key), f"{place}.{key}")
    elif isinstance(sent, list) and isinstance(got, list) and len(sent) == len(got):
        for number, (one, other) in enumerate(zip(sent, got, strict=True)):
            yield from drifted(one, other, f"{place}[{number}]")
    elif filled(sent) != filled(got):
        yield f"{place} was sent as {sent!r} and is {got!r}"


def filled(value: Any) -> Any:
    """Return `value`, or None where it, or all in it, is empty."""
    empty = not value or (isinstance(value, dict) and not any(map(filled, value.values())))
    return None if empty else value


OURS = {
    "lake of a developer": {
        "name": "taxiway-drift-developer",
        "location": "EUROPE-WEST1",
        "storageClass": "STANDARD",
        "labels": {"taxiway-stack": "alice", "taxiway-owner": "alice", "goog-pulumi-provisioned": "true"},
        "iamConfiguration": {
            "publicAccessPrevention": "enforced",
            "uniformBucketLevelAccess": {"enabled": True},
        },
        "lifecycle": {"rule": [{"action": {"type": "Delete"}, "condition": {"age": 30}}]},
        "softDeletePolicy": {"retentionDurationSeconds": "0"},
        "versioning": {"enabled": False},
    },
    "protected lake": {
        "name": "taxiway-drift-protected",
        "location": "US",
        "storageClass": "STANDARD",
        "encryption": {"defaultKmsKeyName": "projects/p1/locations/us/keyRings/r/cryptoKeys/k"},
        "iamConfiguration": {
            "publicAccessPrevention": "enforced",
            "uniformBucketLevelAccess": {"enabled": True},
        },
        "lifecycle": {
            "rule": [
                {"action": {"type": "SetStorageClass", "storageClass": "NEARLINE"}, "condition": {"age": 90}},
                {"action": {"type": "Delete"}, "condition": {"daysSinceNoncurrentTime": 30, "isLive": False}},
            ]
        },
        "softDeletePolicy": {"retentionDurationSeconds": "2592000"},
        "versioning": {"enabled": True},
    },
}


@pytest.mark.parametrize("body", OURS.values(), ids=OURS)
def test_a_refresh_of_our_bucket_shows_no_drift(world: World, body: dict[str, Any]) -> None:
    assert world.send("POST", f"{world.storage}/b?project={PROJECT}", body).ok
    assert list(drifted(body, world.send("GET", f"{world.storage}/b/{body['name']}").json())) == []


def test_a_refresh_of_our_dataset_shows_no_drift(world: World) -> None:
    body = {
        "datasetReference": {"datasetId": "taxiway_drift", "projectId": PROJECT},
        "location": "europe-west1",
        "description": "Tables of the taxiway pipelines. Managed by Pulumi.",
        "labels": {"taxiway-stack": "alice", "goog-pulumi-provisioned": "true"},
        "defaultTableExpirationMs": "2592000000",
        "defaultEncryptionConfiguration": {"kmsKeyName": "projects/p1/locations/us/keyRings/r/cryptoKeys/k"},
        "maxTimeTravelHours": "72",
        "storageBillingModel": "PHYSICAL",
    }
    assert world.send("POST", world.datasets, body).ok
    assert list(drifted(body, world.send("GET", f"{world.datasets}/taxiway_drift").json())) == []


def test_a_label_changed_behind_the_engines_back_is_seen(world: World) -> None:
    body = {"name": "taxiway-drift-label", "labels": {"taxiway-stack": "alice"}}
    world.send("POST", f"{world.storage}/b?project={PROJECT}", body)
    url = f"{world.storage}/b/taxiway-drift-label"
    world.send("PATCH", url, {"labels": {"taxiway-stack": "mallory"}})
    assert list(drifted(body, world.send("GET", url).json())) == [
        ".labels.taxiway-stack was sent as 'alice' and is 'mallory'"
    ]
