"""Service accounts."""

import re
import secrets

from taxiway.emulators.iam import policies
from taxiway.emulators.iam.api import Call, Json, Refused, State, route

ETAG = "MDEwMjE5MjA="  # the real service gives every account this one
ACCOUNTS = "/iam/v1/projects/{project}/serviceAccounts"
ACCOUNT = ACCOUNTS + "/{account}"
MUTABLE = {"display_name": "displayName", "displayName": "displayName", "description": "description"}
HIDDEN = ("keys", "deleted")


def find(state: State, call: Call, *, deleted: bool = False) -> Json:
    """Return the account named by email or unique id. Refuses with 404 one that is not there."""
    name, project = call.parameters["account"], call.parameters["project"]
    for account in reversed(state.accounts):
        named = name in (account["email"], account["uniqueId"])
        if named and project in ("-", account["projectId"]) and bool(account.get("deleted")) is deleted:
            return account
    raise Refused(404, f"Service account projects/{project}/serviceAccounts/{name} does not exist.")


def shown(account: Json) -> Json:
    """Return the account as the API shows it."""
    return {
        key: value for key, value in account.items() if key not in HIDDEN and value not in ("", None, False)
    }


@route("POST", ACCOUNTS)
def create(state: State, call: Call) -> Json:
    """Create an account."""
    project, name = state.project(call.parameters["project"]), str(call.body.get("accountId") or "")
    if not re.fullmatch(r"[a-z][-a-z0-9]{4,28}[a-z0-9]", name):
        message = (
            f"Invalid account id {name!r}: 6 to 30 lower-case letters, digits and dashes, a letter first."
        )
        raise Refused(400, message, "badRequest", "INVALID_ARGUMENT")
    email = f"{name}@{project}.iam.gserviceaccount.com"
    if any(account["email"] == email and not account.get("deleted") for account in state.accounts):
        message = f"Service account {name} already exists within project projects/{project}."
        raise Refused(409, message, "alreadyExists", "ALREADY_EXISTS")
    account = _new_account(project, email) | _changes(call.body.get("serviceAccount") or {}, list(MUTABLE))
    state.accounts.append(account)
    state.commit()
    return shown(account)


def _new_account(project: str, email: str) -> Json:
    unique = "1" + "".join(secrets.choice("0123456789") for _ in range(20))
    return {
        "name": f"projects/{project}/serviceAccounts/{email}",
        "projectId": project,
        "uniqueId": unique,
        "email": email,
        "oauth2ClientId": unique,
        "etag": ETAG,
        "keys": {},
    }


def _changes(given: Json, mask: list[str]) -> Json:
    """Return the new values of the masked fields. Refuses with 400 what is too long or cannot change."""
    unknown = [name for name in mask if name not in MUTABLE]
    if unknown:
        raise Refused(400, f"Cannot update {', '.join(unknown)} of a service account.", "badRequest")
    changes = {MUTABLE[name]: str(given.get(MUTABLE[name]) or "") for name in mask}
    for field, limit in (("displayName", 100), ("description", 256)):
        if len(changes.get(field, "")) > limit:
            raise Refused(
                400, f"{field} is longer than {limit} characters: {changes[field][:20]!r}…", "badRequest"
            )
    return changes


@route("GET", ACCOUNTS)
def list_accounts(state: State, call: Call) -> Json:
    """List a project's accounts."""
    project = state.project(call.parameters["project"])
    live = [account for account in state.accounts if not account.get("deleted")]
    return {"accounts": [shown(account) for account in live if account["projectId"] == project]}


@route("GET", ACCOUNT)
def get(state: State, call: Call) -> Json:
    """Answer with one account."""
    return shown(find(state, call))


@route("PATCH", ACCOUNT)
def patch(state: State, call: Call) -> Json:
    """Change what the update mask names."""
    account = find(state, call)
    mask = [name for name in str(call.body.get("updateMask") or "").split(",") if name]
    if not mask:
        raise Refused(400, "updateMask is required, such as 'display_name'.", "badRequest")
    account.update(_changes(call.body.get("serviceAccount") or {}, mask))
    state.commit()
    return shown(account)


@route("DELETE", ACCOUNT)
def delete(state: State, call: Call) -> Json:
    """Delete an account; for thirty days (here: for ever) it can be undeleted by its unique id."""
    account = find(state, call)
    account["deleted"] = True
    state.policies.pop(account["name"], None)
    state.commit()
    return {}


@route("POST", ACCOUNT + ":undelete")
def undelete(state: State, call: Call) -> Json:
    """Bring a deleted account back."""
    account = find(state, call, deleted=True)
    if any(other["email"] == account["email"] and not other.get("deleted") for other in state.accounts):
        raise Refused(
            409, f"Service account {account['email']} exists again.", "alreadyExists", "ALREADY_EXISTS"
        )
    account["deleted"] = False
    state.commit()
    return {"restoredAccount": shown(account)}


@route("POST", ACCOUNT + ":disable")
def disable(state: State, call: Call) -> Json:
    """Disable an account."""
    find(state, call)["disabled"] = True
    state.commit()
    return {}


@route("POST", ACCOUNT + ":enable")
def enable(state: State, call: Call) -> Json:
    """Enable an account."""
    find(state, call)["disabled"] = False
    state.commit()
    return {}


@route("POST", ACCOUNT + ":getIamPolicy")
def get_policy(state: State, call: Call) -> Json:
    """Answer with who may use or impersonate an account."""
    return policies.read(state, find(state, call)["name"])


@route("POST", ACCOUNT + ":setIamPolicy")
def set_policy(state: State, call: Call) -> Json:
    """Set who may use or impersonate an account."""
    return policies.write(state, find(state, call)["name"], call.body.get("policy") or {})
