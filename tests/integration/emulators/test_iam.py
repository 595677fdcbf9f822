"""The control plane as a process: what it keeps when killed, what it logs, what it refuses."""

import base64
import contextlib
import itertools
import json
import secrets
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests
from emulators import Service

pytestmark = pytest.mark.emulators
EMAIL = "pipelines@p1.iam.gserviceaccount.com"
ACCOUNTS = "/iam/v1/projects/p1/serviceAccounts"
PROJECT = "/crm/v1/projects/p1"
SERVICES = "/su/v1/projects/p1/services"
VIEWS: tuple[tuple[str, str], ...] = (
    ("GET", ACCOUNTS),
    ("GET", f"{ACCOUNTS}/{EMAIL}"),
    ("GET", f"{ACCOUNTS}/{EMAIL}/keys"),
    ("POST", f"{ACCOUNTS}/{EMAIL}:getIamPolicy"),
    ("POST", f"{PROJECT}:getIamPolicy"),
    ("GET", SERVICES),
)


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """A control plane of the test's own, to be killed."""
    with Service("iam", tmp_path, ("--data", str(tmp_path / "state"))) as running:
        yield running.wait_until_healthy()


def call(service: Service, method: str, path: str, body: Any = None) -> requests.Response:
    """Send JSON and return the answer, whatever its status."""
    return requests.request(method, service.url + path, json=body, timeout=10)


def seen(service: Service) -> list[tuple[int, Any]]:
    """Return all that can be read of the state."""
    answers = [call(service, method, path, {} if method == "POST" else None) for method, path in VIEWS]
    return [(answer.status_code, answer.json()) for answer in answers]


def set_policy(resource: str, role: str) -> Callable[[Service], Any]:
    """Return a step that gives the account a role, as the provider does: read, change, write."""

    def step(service: Service) -> Any:
        policy = call(service, "POST", f"{resource}:getIamPolicy", {}).json()
        binding = {"role": role, "members": [f"serviceAccount:{EMAIL}"]}
        return call(service, "POST", f"{resource}:setIamPolicy", {"policy": policy | {"bindings": [binding]}})

    return step


def send(method: str, path: str, body: Any = None) -> Callable[[Service], Any]:
    """Return a step that sends one request."""
    return lambda service: call(service, method, path, body)


def delete_key(service: Service) -> Any:
    """Delete the account's first key."""
    name = call(service, "GET", f"{ACCOUNTS}/{EMAIL}/keys").json()["keys"][0]["name"]
    return call(service, "DELETE", f"/iam/v1/{name}")


LIFE: tuple[Callable[[Service], Any], ...] = (
    send("POST", f"{SERVICES}/bigquery.googleapis.com:enable", {}),
    send("POST", f"{SERVICES}:batchEnable", {"serviceIds": ["iam.googleapis.com", "storage.googleapis.com"]}),
    send("POST", ACCOUNTS, {"accountId": "pipelines", "serviceAccount": {"displayName": "one"}}),
    set_policy(PROJECT, "roles/bigquery.jobUser"),
    set_policy(f"{ACCOUNTS}/{EMAIL}", "roles/iam.serviceAccountTokenCreator"),
    send("POST", f"{ACCOUNTS}/{EMAIL}/keys", {}),
    send(
        "PATCH",
        f"{ACCOUNTS}/{EMAIL}",
        {"serviceAccount": {"displayName": "two"}, "updateMask": "displayName"},
    ),
    delete_key,
    send("POST", f"{SERVICES}/bigquery.googleapis.com:disable", {"checkIfServiceHasUsage": "SKIP"}),
    send("DELETE", f"{ACCOUNTS}/{EMAIL}"),
)


def test_a_kill_between_any_two_requests_loses_nothing(service: Service) -> None:
    for step in LIFE:
        assert step(service).ok
        before = seen(service)
        service.kill()
        service.start().wait_until_healthy()
        assert seen(service) == before


def add_account(service: Service, name: str) -> requests.Response:
    return call(service, "POST", ACCOUNTS, {"accountId": name})


def enable_service(service: Service, name: str) -> requests.Response:
    return call(service, "POST", f"{SERVICES}/{name}.googleapis.com:enable", {})


def add_member(service: Service, name: str) -> requests.Response:
    policy = call(service, "POST", f"{PROJECT}:getIamPolicy", {}).json()
    binding = {"role": f"roles/{name}", "members": ["user:a@b.c"]}
    changed = {**policy, "bindings": [*policy["bindings"], binding]}
    return call(service, "POST", f"{PROJECT}:setIamPolicy", {"policy": changed})


def kept(service: Service) -> str:
    """Return all accounts, services and bindings, as text."""
    return json.dumps(
        [
            call(service, "GET", ACCOUNTS).json(),
            call(service, "GET", SERVICES).json(),
            call(service, "POST", f"{PROJECT}:getIamPolicy", {}).json(),
        ]
    )


def test_what_was_answered_survives_a_kill_at_any_moment(service: Service) -> None:
    """Three clients change different things at once; the service is killed, started, killed again."""
    answered: dict[Any, list[str]] = {add_account: [], enable_service: [], add_member: []}

    everybody, killers = threading.Barrier(len(answered)), list[threading.Timer]()

    def until_killed(change: Any) -> None:
        with contextlib.suppress(requests.RequestException):
            for number in itertools.count():
                name = f"thing-{secrets.token_hex(6)}"
                assert change(service, name).ok
                answered[change].append(name)
                # Not killed before each was answered once, however slow the machine is.
                if number == 0 and everybody.wait(60) == 0:
                    killers.append(threading.Timer(secrets.randbelow(150) / 1000, service.kill))
                    killers[-1].start()

    for _ in range(8):
        with ThreadPoolExecutor() as clients:
            list(clients.map(until_killed, answered))
        killers.pop().join()
        service.start().wait_until_healthy()
        there = kept(service)
        assert [name for names in answered.values() for name in names if name not in there] == []
    assert all(answered.values())


def test_a_change_that_could_not_be_written_is_forgotten(service: Service, tmp_path: Path) -> None:
    blocker = tmp_path / "state" / ".control-plane.json.tmp"
    blocker.mkdir(parents=True)
    assert call(service, "POST", ACCOUNTS, {"accountId": "pipelines"}).status_code == 500
    blocker.rmdir()
    assert call(service, "GET", ACCOUNTS).json()["accounts"] == []
    assert call(service, "POST", ACCOUNTS, {"accountId": "pipelines"}).ok


def test_no_private_key_is_kept_or_logged(service: Service, tmp_path: Path) -> None:
    call(service, "POST", ACCOUNTS, {"accountId": "pipelines"})
    answer = call(service, "POST", f"{ACCOUNTS}/{EMAIL}/keys", {}).json()
    private = json.loads(base64.b64decode(answer["privateKeyData"]))["private_key"]
    secret = private.splitlines()[1]
    files = [path for path in tmp_path.rglob("*") if path.is_file() and path != service.exchanges]
    kept = "".join(path.read_text() for path in files)
    assert EMAIL in kept
    for text in (secret, "PRIVATE KEY", answer["privateKeyData"][:40]):
        assert text not in kept


def test_a_credentials_file_of_ours_gets_its_token_from_here(service: Service) -> None:
    from google.auth.transport.requests import Request
    from google.oauth2.service_account import Credentials

    call(service, "POST", ACCOUNTS, {"accountId": "pipelines"})
    answer = call(service, "POST", f"{ACCOUNTS}/{EMAIL}/keys", {}).json()
    content = json.loads(base64.b64decode(answer["privateKeyData"]))
    assert content["token_uri"].startswith(service.url)
    credentials = Credentials.from_service_account_info(content, scopes=["x"])
    credentials.refresh(Request())
    assert credentials.token.startswith("local-")


def test_the_eleventh_key_is_refused(service: Service) -> None:
    call(service, "POST", ACCOUNTS, {"accountId": "pipelines"})
    answers = [call(service, "POST", f"{ACCOUNTS}/{EMAIL}/keys", {}).status_code for _ in range(11)]
    assert answers == [200] * 10 + [429]


def test_an_account_made_again_is_another_one(service: Service) -> None:
    first = call(service, "POST", ACCOUNTS, {"accountId": "pipelines"}).json()
    call(service, "POST", f"{ACCOUNTS}/{EMAIL}/keys", {})
    call(service, "DELETE", f"{ACCOUNTS}/{EMAIL}")
    second = call(service, "POST", ACCOUNTS, {"accountId": "pipelines"}).json()
    assert first["uniqueId"] != second["uniqueId"]
    assert call(service, "GET", f"{ACCOUNTS}/{EMAIL}/keys").json()["keys"] == []
    assert call(service, "POST", f"{ACCOUNTS}/{first['uniqueId']}:undelete", {}).status_code == 409


def test_two_projects_share_nothing(service: Service) -> None:
    for step in LIFE[:4]:
        step(service)
    other = "/iam/v1/projects/p2/serviceAccounts"
    assert call(service, "GET", other).json()["accounts"] == []
    assert call(service, "GET", f"{other}/{EMAIL}").status_code == 404
    assert call(service, "GET", f"/iam/v1/projects/-/serviceAccounts/{EMAIL}").ok
    assert call(service, "POST", "/crm/v1/projects/p2:getIamPolicy", {}).json()["bindings"] == []
    assert call(service, "GET", "/su/v1/projects/p2/services").json()["services"] == []


def test_a_policy_may_name_a_version_a_condition_and_keeps_them(service: Service) -> None:
    binding = {
        "role": "roles/bigquery.jobUser",
        "members": ["user:a@b.c"],
        "condition": {"title": "soon over", "expression": "request.time < timestamp('2030-01-01T00:00:00Z')"},
    }
    policy = {"version": 3, "bindings": [binding, {"role": "roles/empty", "members": []}]}
    call(service, "POST", f"{PROJECT}:setIamPolicy", {"policy": policy})
    got = call(service, "POST", f"{PROJECT}:getIamPolicy", {}).json()
    assert (got["version"], got["bindings"]) == (3, [binding])


@pytest.mark.parametrize("member", ["nobody", ""])
def test_a_member_without_a_type_is_refused(service: Service, member: str) -> None:
    policy = {"bindings": [{"role": "roles/viewer", "members": [member]}]}
    refused = call(service, "POST", f"{PROJECT}:setIamPolicy", {"policy": policy})
    assert refused.status_code == 400
    assert repr(member) in refused.json()["error"]["message"]


def test_an_operation_can_be_asked_for_again(service: Service) -> None:
    operation = call(service, "POST", f"{SERVICES}/bigquery.googleapis.com:enable", {}).json()
    assert call(service, "GET", f"/su/v1/{operation['name']}").json() == operation
    assert call(service, "GET", "/su/v1/operations/none").status_code == 404


def test_a_project_is_found_by_the_number_that_its_buckets_have(service: Service) -> None:
    number = call(service, "GET", PROJECT).json()["projectNumber"]
    assert call(service, "GET", f"/compute/v1/projects/{number}").json()["name"] == "p1"
    assert call(service, "GET", "/compute/v1/projects/1234").status_code == 404


def test_what_it_does_not_know_is_refused_with_a_reason(service: Service) -> None:
    refused = call(service, "GET", "/composer/v1/projects/p1/locations/us/environments")
    assert refused.status_code == 501
    assert "GET /composer/v1/projects/p1/locations/us/environments" in refused.json()["error"]["message"]
    assert "Not part of the emulated control-plane: GET /composer/v1" in service.log()


def test_a_body_that_is_not_json_is_refused(service: Service) -> None:
    assert requests.post(service.url + ACCOUNTS, data=b"{no", timeout=10).status_code == 400


def credential(service: Service) -> dict[str, Any]:
    """A key of the account, as Google's credentials file."""
    call(service, "POST", ACCOUNTS, {"accountId": "pipelines"})
    answer = call(service, "POST", f"{ACCOUNTS}/{EMAIL}/keys", {}).json()
    return dict(json.loads(base64.b64decode(answer["privateKeyData"])))


def test_an_assertion_of_no_live_key_gets_no_token(service: Service) -> None:
    from google.auth.exceptions import RefreshError
    from google.auth.transport.requests import Request
    from google.oauth2.service_account import Credentials

    content = credential(service)
    key = call(service, "GET", f"{ACCOUNTS}/{EMAIL}/keys").json()["keys"][0]["name"]
    call(service, "DELETE", f"/iam/v1/{key}")
    other = credential(service) | {"private_key_id": content["private_key_id"]}
    for forged in (content, other, content | {"client_email": "root@p1.iam.gserviceaccount.com"}):
        credentials = Credentials.from_service_account_info(forged, scopes=["x"])
        with pytest.raises(RefreshError, match="Invalid JWT"):
            credentials.refresh(Request())
    for form in ({}, {"assertion": "a.b.c"}, {"assertion": "é"}):
        assert requests.post(f"{service.url}/token", data=form, timeout=10).status_code == 401


def test_accounts_and_services_are_listed_in_pages(service: Service) -> None:
    for number in range(3):
        call(service, "POST", ACCOUNTS, {"accountId": f"pipelines-{number}"})
        call(service, "POST", f"{SERVICES}/api{number}.googleapis.com:enable", {})
    for path, kind in ((ACCOUNTS, "accounts"), (SERVICES, "services")):
        first = call(service, "GET", f"{path}?pageSize=2").json()
        rest = call(service, "GET", f"{path}?pageSize=2&pageToken={first['nextPageToken']}").json()
        names = [entry["name"] for entry in first[kind] + rest[kind]]
        assert (len(names), len(set(names)), "nextPageToken" in rest) == (3, 3, False)
    assert call(service, "GET", f"{ACCOUNTS}?pageToken=no").status_code == 400


def test_it_stops_when_told(service: Service) -> None:
    assert service.stop() == 0
