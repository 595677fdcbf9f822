"""Puts a dataset's access list back after an update that may have taken it away.

The provider's update is a PUT that leaves out a list that has not changed, and BigQuery documents that a PUT
resets what it leaves out. So the list is sent once more, as declared, in the same `pulumi up`.
"""

import os
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import pulumi

GOOGLE: Final = "https://bigquery.googleapis.com"
SCOPE: Final = "https://www.googleapis.com/auth/bigquery"
_SECONDS: Final = 60
# What the provider takes for a token as well, and what emulators are reached by.
_TOKEN: Final = "GOOGLE_OAUTH_ACCESS_TOKEN"  # noqa: S105 - a variable's name


def restored(host: str) -> pulumi.ResourceHookBinding | None:
    """Return what follows each update of a dataset at `host`, an emulator's address; empty: Google's own."""
    # Pulumi's host sets it. Without an engine there is no provider that leaves anything out.
    if "PULUMI_CONFIG" not in os.environ:
        return None
    hook = pulumi.ResourceHook("restore-access", lambda args: restore(host or GOOGLE, args))
    return pulumi.ResourceHookBinding(after_update=[hook])


def restore(host: str, args: pulumi.ResourceHookArgs, session: Callable[[], Any] | None = None) -> None:
    """Send a dataset's declared access list, unless its update has. RuntimeError if it is not taken."""
    new, old = args.new_inputs or {}, args.old_inputs or {}
    if new.get("accesses") != old.get("accesses"):
        return
    where = f"{host}/bigquery/v2/projects/{new['project']}/datasets/{new['datasetId']}"
    # The provider notes its defaults beside what was declared.
    entries = [{k: v for k, v in entry.items() if not k.startswith("__")} for entry in new["accesses"]]
    answer = (session or partial(_session, host))().patch(
        where, params={"updateMode": "UPDATE_ACL"}, json={"access": entries}, timeout=_SECONDS
    )
    if not answer.ok:
        raise RuntimeError(
            f"{new['datasetId']} was updated, and its access list could not be sent again (HTTP "
            f"{answer.status_code}: {answer.text[:200]}). Then: pulumi up --refresh"
        )


def _session(host: str) -> Any:
    """Return a client with the token that the provider would use; an emulator may want none."""
    import google.auth
    from google.auth.credentials import AnonymousCredentials
    from google.auth.transport.requests import AuthorizedSession
    from google.oauth2.credentials import Credentials

    found: Any
    if token := os.environ.get(_TOKEN):
        found = Credentials(token)  # type: ignore[no-untyped-call]
    elif host != GOOGLE:
        found = AnonymousCredentials()  # type: ignore[no-untyped-call]
    else:
        found, _ = google.auth.default(scopes=[SCOPE])
    return AuthorizedSession(found)  # type: ignore[no-untyped-call]
