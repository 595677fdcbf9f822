"""What we rely on from IAM, Resource Manager and Service Usage."""

import base64
import json
from typing import Any

import pytest

pytestmark = pytest.mark.emulators


def error_of(answer: Any) -> tuple[int, str]:
    """Return the status of the answer and that of Google's error body."""
    error = answer.json()["error"]
    assert error["message"]
    assert error["code"] == answer.status_code
    return answer.status_code, error["status"]


def test_an_account_is_read_back_again_and_again(cloud: Any, accounts: str, account: Any) -> None:
    for _ in range(3):
        assert cloud.ok("GET", f"{accounts}/{account['email']}") == account
    assert cloud.ok("GET", f"{accounts}/{account['uniqueId']}") == account
    assert account["name"] == f"projects/{cloud.project}/serviceAccounts/{account['email']}"
    assert account["displayName"] == "one"


def test_an_account_is_listed(cloud: Any, accounts: str, account: Any) -> None:
    listed = cloud.ok("GET", accounts, pageSize="100")["accounts"]
    assert account["email"] in [entry["email"] for entry in listed]


def test_an_account_is_renamed(cloud: Any, accounts: str, account: Any) -> None:
    change = {"serviceAccount": {"displayName": "two"}, "updateMask": "display_name"}
    cloud.ok("PATCH", f"{accounts}/{account['email']}", change)
    assert cloud.ok("GET", f"{accounts}/{account['email']}")["displayName"] == "two"


def test_a_second_account_of_a_name_exists_already(cloud: Any, accounts: str, account: Any) -> None:
    again = cloud.call("POST", accounts, {"accountId": account["email"].split("@")[0]})
    assert error_of(again) == (409, "ALREADY_EXISTS")


@pytest.mark.parametrize(
    "name", ["short", "x" * 31, "Capital-letters", "1-digit-first", "ends-with-dash-", ""]
)
def test_a_bad_account_name_is_refused(cloud: Any, accounts: str, name: str) -> None:
    assert error_of(cloud.call("POST", accounts, {"accountId": name})) == (400, "INVALID_ARGUMENT")


def test_an_account_that_is_gone_is_not_found(cloud: Any, accounts: str, account: Any) -> None:
    url = f"{accounts}/{account['email']}"
    cloud.ok("DELETE", url)
    assert error_of(cloud.call("GET", url)) == (404, "NOT_FOUND")
    assert error_of(cloud.call("DELETE", url)) == (404, "NOT_FOUND")
    assert error_of(cloud.call("POST", f"{url}/keys", {})) == (404, "NOT_FOUND")


def test_a_deleted_account_comes_back_by_its_unique_id(cloud: Any, accounts: str, account: Any) -> None:
    cloud.ok("DELETE", f"{accounts}/{account['email']}")
    restored = cloud.ok("POST", f"{accounts}/{account['uniqueId']}:undelete", {})["restoredAccount"]
    assert restored["email"] == account["email"]
    assert cloud.ok("GET", f"{accounts}/{account['email']}")["uniqueId"] == account["uniqueId"]


def test_an_account_can_be_disabled_and_enabled(cloud: Any, accounts: str, account: Any) -> None:
    url = f"{accounts}/{account['email']}"
    cloud.ok("POST", f"{url}:disable", {})
    assert cloud.ok("GET", url)["disabled"] is True
    cloud.ok("POST", f"{url}:enable", {})
    assert not cloud.ok("GET", url).get("disabled")


def test_a_key_is_a_credentials_file_given_once(cloud: Any, accounts: str, account: Any) -> None:
    url = f"{accounts}/{account['email']}/keys"
    answer = cloud.call("POST", url, {"keyAlgorithm": "KEY_ALG_RSA_2048"})
    if answer.status_code == 400 and "disableServiceAccountKeyCreation" in answer.text:
        pytest.skip("the organization forbids service account keys")
    created = answer.json()
    credential = json.loads(base64.b64decode(created["privateKeyData"]))
    assert credential["type"] == "service_account"
    assert credential["client_email"] == account["email"]
    assert credential["private_key"].startswith("-----BEGIN PRIVATE KEY-----\n")
    one = cloud.ok("GET", f"{cloud.iam}/{created['name']}", publicKeyType="TYPE_X509_PEM_FILE")
    assert base64.b64decode(one["publicKeyData"]).startswith(b"-----BEGIN CERTIFICATE-----\n")
    assert "privateKeyData" not in one
    listed = cloud.ok("GET", url, keyTypes="USER_MANAGED")["keys"]
    assert [key["name"] for key in listed] == [created["name"]]
    cloud.ok("DELETE", f"{cloud.iam}/{created['name']}")
    assert error_of(cloud.call("GET", f"{cloud.iam}/{created['name']}")) == (404, "NOT_FOUND")


def test_who_may_become_an_account_is_read_back(cloud: Any, accounts: str, account: Any) -> None:
    url = f"{accounts}/{account['email']}"
    policy = cloud.ok("POST", f"{url}:getIamPolicy", {})
    binding = {
        "role": "roles/iam.serviceAccountTokenCreator",
        "members": [f"serviceAccount:{account['email']}"],
    }
    first = cloud.ok("POST", f"{url}:setIamPolicy", {"policy": policy | {"bindings": [binding]}})
    for _ in range(3):
        assert cloud.ok("POST", f"{url}:getIamPolicy", {})["bindings"] == [binding]
    cloud.ok("POST", f"{url}:setIamPolicy", {"policy": first | {"bindings": []}})
    assert cloud.ok("POST", f"{url}:getIamPolicy", {}).get("bindings", []) == []


def test_a_projects_policy_takes_and_loses_a_member(cloud: Any, account: Any) -> None:
    url = f"{cloud.crm}/projects/{cloud.project}"
    options = {"options": {"requestedPolicyVersion": 3}}
    before = cloud.ok("POST", f"{url}:getIamPolicy", options)
    binding = {"role": "roles/bigquery.jobUser", "members": [f"serviceAccount:{account['email']}"]}
    cloud.ok("POST", f"{url}:setIamPolicy", {"policy": before | {"bindings": [*before["bindings"], binding]}})
    after = cloud.ok("POST", f"{url}:getIamPolicy", options)
    assert any(binding["members"][0] in entry["members"] for entry in after["bindings"])
    stale = cloud.call("POST", f"{url}:setIamPolicy", {"policy": before})
    assert error_of(stale) == (409, "ABORTED")
    cloud.ok("POST", f"{url}:setIamPolicy", {"policy": after | {"bindings": before["bindings"]}})
    assert cloud.ok("POST", f"{url}:getIamPolicy", options)["bindings"] == before["bindings"]


def test_a_project_is_found_by_its_id(cloud: Any) -> None:
    project = cloud.ok("GET", f"{cloud.crm}/projects/{cloud.project}")
    assert (project["projectId"], project["lifecycleState"]) == (cloud.project, "ACTIVE")
    assert project["projectNumber"].isdigit()


def test_a_buckets_project_number_is_its_projects(cloud: Any, bucket: str) -> None:
    project = cloud.ok("GET", f"{cloud.crm}/projects/{cloud.project}")
    assert cloud.ok("GET", f"{cloud.storage}/b/{bucket}")["projectNumber"] == project["projectNumber"]


def test_an_enabled_service_is_listed_as_enabled(cloud: Any) -> None:
    services = f"{cloud.su}/projects/{cloud.project}/services"
    assert "name" in cloud.ok("POST", f"{services}/bigquery.googleapis.com:enable", {})
    assert cloud.ok("GET", f"{services}/bigquery.googleapis.com")["state"] == "ENABLED"
    listed = cloud.ok("GET", services, filter="state:ENABLED", pageSize="200")["services"]
    assert [entry for entry in listed if entry["name"].endswith("/bigquery.googleapis.com")]
