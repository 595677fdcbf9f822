"""A dataset's access list is whole again after an update, whatever the provider's PUT has left out."""

from typing import Any

import pulumi
import pytest

from lakehouse import access

OWNERS = {"role": "OWNER", "specialGroup": "projectOwners"}
PIPELINES = {"role": "WRITER", "userByEmail": "taxiway-alice@acme-data.iam.gserviceaccount.com"}


class Session:
    """A client that remembers what was sent; it is answered with `status`."""

    def __init__(self, status: int = 200) -> None:
        self.sent: list[tuple[str, Any, Any]] = []
        self.status_code, self.ok, self.text = status, status == 200, "denied"

    def patch(self, url: str, *, params: Any, json: Any, timeout: float) -> "Session":
        assert timeout
        self.sent.append((url, params, json))
        return self


def updated(before: list[Any], after: list[Any]) -> pulumi.ResourceHookArgs:
    named = {"project": "acme-data", "datasetId": "taxiway_alice"}
    old, new = {**named, "accesses": before}, {**named, "accesses": after}
    return pulumi.ResourceHookArgs("urn", "id", "warehouse", "dataset", new_inputs=new, old_inputs=old)


def test_a_list_that_did_not_change_is_sent_again_and_nothing_else_with_it():
    session = Session()
    noted = [{**entry, "__defaults": []} for entry in (OWNERS, PIPELINES)]
    access.restore("http://h", updated(noted, noted), lambda: session)
    url = "http://h/bigquery/v2/projects/acme-data/datasets/taxiway_alice"
    assert session.sent == [(url, {"updateMode": "UPDATE_ACL"}, {"access": [OWNERS, PIPELINES]})]


def test_one_that_changed_was_in_the_update():
    session = Session()
    access.restore("http://h", updated([OWNERS], [OWNERS, PIPELINES]), lambda: session)
    assert session.sent == []


def test_one_that_is_not_taken_ends_the_update_with_what_to_do():
    with pytest.raises(RuntimeError, match=r"HTTP 403: denied.*pulumi up --refresh"):
        access.restore("http://h", updated([PIPELINES], [PIPELINES]), lambda: Session(403))


def test_without_an_engine_nothing_follows_an_update():
    """The plan's own evaluation has no provider that would leave anything out."""
    assert access.restored("") is None
