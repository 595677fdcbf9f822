"""The judge of all other tests here is awake: it finds what no Google API would send or take."""

import json
from pathlib import Path
from typing import Any

import pytest
import requests
from discovery import Judge, api
from emulators import Emulators
from recorded import faults_in

ROOT = "http://127.0.0.1:1"


def judged(method: str, path: str, sent: Any = None, answered: Any = None, status: int = 200) -> list[str]:
    """What is found in one exchange with Cloud Storage."""
    request = requests.Request(method, f"{ROOT}{path}", json=sent).prepare()
    response = requests.Response()
    response.status_code, response.request = status, request
    response.headers["Content-Type"] = "application/json"
    response._content = json.dumps(answered).encode()
    judge = Judge({f"{ROOT}/": ("storage", "/")})
    judge.check(response)
    return judge.faults


def test_an_exchange_as_documented_has_no_fault() -> None:
    assert judged("GET", "/storage/v1/b/one", None, {"name": "one", "metageneration": "1"}) == []
    assert (
        judged(
            "GET", "/storage/v1/b/one", None, {"error": {"code": 404, "message": "no", "errors": [{}]}}, 404
        )
        == []
    )


@pytest.mark.parametrize(
    ("exchange", "fault"),
    [
        (("GET", "/storage/v1/b/one", None, {"totalRows": "1"}), "totalRows is not part of it"),
        (("GET", "/storage/v1/b/one", None, {"metageneration": 1}), "not of type string"),
        (("GET", "/storage/v1/b/one", None, {"metageneration": "one"}), "no number in a text"),
        (("GET", "/storage/v1/b/one", None, {"name": None}), "not of type string"),
        (("GET", "/storage/v1/b/one?colour=red", None, {}), "unknown parameter colour"),
        (("POST", "/storage/v1/b", {"name": "one"}, {}), "parameter project is missing"),
        (("POST", "/storage/v1/b?project=p", {"nome": "one"}, {}), "request.nome is not part of it"),
        (("GET", "/storage/v1/nowhere", None, {}), "no method of the API"),
        (("GET", "/storage/v1/b/one", None, {"error": {"code": 400, "message": "x"}}, 404), "error body"),
        (("GET", "/storage/v1/b/one", None, {"error": {"code": 404, "message": "x"}}, 404), "error body"),
    ],
)
def test_an_exchange_that_is_not_has_one(exchange: tuple[Any, ...], fault: str) -> None:
    assert [found for found in judged(*exchange) if fault in found]


@pytest.mark.parametrize(
    ("name", "verb", "path", "method"),
    [
        ("storage", "GET", "/storage/v1/b/x/o/a%2Fb", "storage.objects.get"),
        ("storage", "PUT", "/upload/storage/v1/b/x/o", "storage.objects.insert"),
        ("bigquery", "GET", "/bigquery/v2/projects/p/queries/j", "bigquery.jobs.getQueryResults"),
        ("iam", "POST", "/v1/projects/p/serviceAccounts/a@b.c:enable", "iam.projects.serviceAccounts.enable"),
        ("crm", "POST", "/v1/projects/p:setIamPolicy", "cloudresourcemanager.projects.setIamPolicy"),
        ("su", "POST", "/v1/projects/p/services/x.googleapis.com:enable", "serviceusage.services.enable"),
    ],
)
def test_a_request_is_known_by_its_path(name: str, verb: str, path: str, method: str) -> None:
    found = api(name).method(verb, path)
    assert found is not None
    assert found.id == method


@pytest.mark.parametrize(
    ("url", "status", "answered", "fault"),
    [
        ("http://gcs/storage/v1/b/one", 200, {"name": "one"}, ""),
        ("http://gcs/storage/v1/b/one", 200, {"totalRows": "1"}, "totalRows is not part of it"),
        ("http://bigquery/bigquery/v2/projects/p/datasets", 200, {"totalItems": 1}, "totalItems is not part"),
        ("http://control-plane/iam/v1/projects/p/serviceAccounts", 200, {"accounts": [{"keys": {}}]}, "keys"),
        ("http://gcs/storage/v1/b/one", 404, {"detail": "Not found"}, "error body of 404"),
        ("http://sample-source/misc/taxi_zone_lookup.csv", 200, {"x": 1}, ""),
    ],
)
def test_the_record_of_a_service_is_judged(
    tmp_path: Path, url: str, status: int, answered: Any, fault: str
) -> None:
    line = {"method": "GET", "url": url, "status": status, "sent": "", "answered": json.dumps(answered)}
    (tmp_path / "record").write_text(json.dumps(line) + "\n")
    found = faults_in(tmp_path / "record")
    assert bool(found) is bool(fault)
    assert all(fault in one for one in found)


@pytest.mark.emulators
def test_each_service_keeps_a_record(emulators: Emulators) -> None:
    headers = {"Authorization": f"Bearer {emulators.token}"}
    for name, url in (
        ("gcs", f"{emulators.storage_url}/storage/v1/b?project=recorded"),
        ("bigquery", f"{emulators.bigquery_url}/bigquery/v2/projects/recorded/datasets"),
        ("iam", f"{emulators.control_plane_url}/iam/v1/projects/recorded/serviceAccounts"),
    ):
        answer = requests.get(url, headers=headers, timeout=30)
        lines = (emulators.folder / f"{name}.exchanges").read_text().splitlines()
        kept = [json.loads(line) for line in lines if "recorded" in line]
        assert [json.loads(line["answered"]) for line in kept] == [answer.json()]
