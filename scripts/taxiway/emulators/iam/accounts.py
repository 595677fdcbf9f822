"""Service accounts, their keys, and the tokens that a key is exchanged for."""

from __future__ import annotations

import base64
import json
import re
import secrets
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs

from taxiway.emulators.answers import Json, Refused, page
from taxiway.emulators.iam.state import TOKEN, Call, State, route

ETAG = "MDEwMjE5MjA="  # the real service gives every account this one
ACCOUNTS = "/iam/v1/projects/{project}/serviceAccounts"
ACCOUNT = ACCOUNTS + "/{account}"
MUTABLE = {"display_name": "displayName", "displayName": "displayName", "description": "description"}
KEYS = 10
FOREVER = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)


def _find(state: State, call: Call, *, deleted: bool = False) -> Json:
    """The account with this email or unique id. Raises Refused 404 where there is none."""
    name, project = call.parts["account"], call.parts["project"]
    for account in reversed(state.accounts):
        named = name in (account["email"], account["uniqueId"])
        if named and project in ("-", account["projectId"]) and bool(account.get("deleted")) is deleted:
            return account
    raise Refused(404, f"Service account projects/{project}/serviceAccounts/{name} does not exist.")


def _shown(account: Json) -> Json:
    hidden = ("keys", "deleted")
    return {
        key: value for key, value in account.items() if key not in hidden and value not in ("", None, False)
    }


@route("POST", ACCOUNTS)
def _create(state: State, call: Call) -> Json:
    project, name = state.project(call.parts["project"]), str(call.body.get("accountId") or "")
    if not re.fullmatch(r"[a-z][-a-z0-9]{4,28}[a-z0-9]", name):
        message = (
            f"Invalid account id {name!r}: 6 to 30 lower-case letters, digits and dashes, a letter first."
        )
        raise Refused(400, message, "badRequest")
    email = f"{name}@{project}.iam.gserviceaccount.com"
    if any(account["email"] == email and not account.get("deleted") for account in state.accounts):
        message = f"Service account {name} already exists within project projects/{project}."
        raise Refused(409, message, "alreadyExists", "ALREADY_EXISTS")
    unique = "1" + "".join(secrets.choice("0123456789") for _ in range(20))
    account = {
        "name": f"projects/{project}/serviceAccounts/{email}",
        "projectId": project,
        "uniqueId": unique,
        "email": email,
        "oauth2ClientId": unique,
        "etag": ETAG,
        "keys": {},
        **_changes(call.body.get("serviceAccount") or {}, list(MUTABLE)),
    }
    state.accounts.append(account)
    state.commit()
    return _shown(account)


def _changes(given: Json, mask: list[str]) -> Json:
    """The new values of the masked fields. Raises Refused 400 for what is too long or cannot change."""
    unknown = [name for name in mask if name not in MUTABLE]
    if unknown:
        raise Refused(400, f"Cannot update {', '.join(unknown)} of a service account.", "badRequest")
    changes = {MUTABLE[name]: str(given.get(MUTABLE[name]) or "") for name in mask}
    for field, limit in (("displayName", 100), ("description", 256)):
        if len(changes.get(field, "")) > limit:
            message = f"{field} is longer than {limit} characters: {changes[field][:20]!r}…"
            raise Refused(400, message, "badRequest")
    return changes


@route("GET", ACCOUNTS)
def _list(state: State, call: Call) -> Json:
    project = state.project(call.parts["project"])
    live = {
        account["email"]: _shown(account)
        for account in state.accounts
        if account["projectId"] == project and not account.get("deleted")
    }
    accounts, more = page(live, call.query, "pageSize")
    return {"accounts": accounts, **more}


@route("POST", ACCOUNT + ":getIamPolicy")
def _get_policy(state: State, call: Call) -> Json:
    return state.policy(_find(state, call)["name"])


@route("POST", ACCOUNT + ":setIamPolicy")
def _set_policy(state: State, call: Call) -> Json:
    return state.set_policy(_find(state, call)["name"], call.body.get("policy") or {})


@route("POST", ACCOUNT + ":undelete")
def _undelete(state: State, call: Call) -> Json:
    account = _find(state, call, deleted=True)
    if any(other["email"] == account["email"] and not other.get("deleted") for other in state.accounts):
        message = f"Service account {account['email']} exists again."
        raise Refused(409, message, "alreadyExists", "ALREADY_EXISTS")
    account["deleted"] = False
    state.commit()
    return {"restoredAccount": _shown(account)}


@route("POST", ACCOUNT + ":{able}")
def _disable_or_enable(state: State, call: Call) -> Json:
    if call.parts["able"] not in ("disable", "enable"):
        raise Refused(501, f"Not part of the emulated control-plane: {call.parts['able']}")
    _find(state, call)["disabled"] = call.parts["able"] == "disable"
    state.commit()
    return {}


@route("GET", ACCOUNT)
def _get(state: State, call: Call) -> Json:
    return _shown(_find(state, call))


@route("PATCH", ACCOUNT)
def _patch(state: State, call: Call) -> Json:
    account = _find(state, call)
    mask = [name for name in str(call.body.get("updateMask") or "").split(",") if name]
    if not mask:
        raise Refused(400, "updateMask is required, such as 'display_name'.", "badRequest")
    account.update(_changes(call.body.get("serviceAccount") or {}, mask))
    state.commit()
    return _shown(account)


@route("DELETE", ACCOUNT)
def _delete(state: State, call: Call) -> Json:
    """Delete an account; for thirty days (here: for ever) it can be undeleted by its unique id."""
    account = _find(state, call)
    account["deleted"] = True
    state.policies.pop(account["name"], None)
    state.commit()
    return {}


# Keys: the private half leaves in the answer to its creation and is kept nowhere.


@route("POST", ACCOUNT + "/keys")
def _create_key(state: State, call: Call) -> Json:
    """Create a key pair and answer with its private half, this once."""
    account = _find(state, call)
    if len(account["keys"]) >= KEYS:
        message = f"{account['email']} has {KEYS} keys already."
        raise Refused(429, message, "rateLimitExceeded", "RESOURCE_EXHAUSTED")
    identifier = secrets.token_hex(20)
    private, certificate, public = _pair(account["email"])
    key = account["keys"][identifier] = {
        "name": f"{account['name']}/keys/{identifier}",
        "keyAlgorithm": "KEY_ALG_RSA_2048",
        "keyOrigin": "GOOGLE_PROVIDED",
        "keyType": "USER_MANAGED",
        "validAfterTime": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "validBeforeTime": FOREVER.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "TYPE_X509_PEM_FILE": certificate,
        "TYPE_RAW_PUBLIC_KEY": public,
    }
    state.commit()
    credential = {
        "type": "service_account",
        "project_id": account["projectId"],
        "private_key_id": identifier,
        "private_key": private,
        "client_email": account["email"],
        "client_id": account["uniqueId"],
        "auth_uri": "https://accounts.google.com/o/oauth2/auth",
        # Its tokens come from here, so that Google is asked for none.
        "token_uri": f"{call.base}{TOKEN}",
        "universe_domain": "googleapis.com",
    }
    return _key_shown(key) | {
        "privateKeyType": "TYPE_GOOGLE_CREDENTIALS_FILE",
        "privateKeyData": base64.b64encode(json.dumps(credential, indent=2).encode()).decode(),
    }


def _pair(email: str) -> tuple[str, str, str]:
    """Private key, certificate and public key, each as PEM text."""
    from cryptography import x509  # a quarter of a second to import, and most stacks have no key
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, email[:64])])
    certificate = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(datetime.now(UTC))
        .not_valid_after(FOREVER)
        .sign(key, hashes.SHA256())
    )
    pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    public = key.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo)
    private = key.private_bytes(pem, pkcs8, serialization.NoEncryption())
    return private.decode(), certificate.public_bytes(pem).decode(), public.decode()


def _key_shown(key: Json, public_type: str = "") -> Json:
    answer: Json = {name: value for name, value in key.items() if not name.startswith("TYPE_")}
    if public_type in key:
        answer["publicKeyData"] = base64.b64encode(key[public_type].encode()).decode()
    return answer


@route("GET", ACCOUNT + "/keys")
def _list_keys(state: State, call: Call) -> Json:
    return {"keys": [_key_shown(key) for key in _find(state, call)["keys"].values()]}


def _find_key(account: Json, identifier: str) -> Json:
    if identifier not in account["keys"]:
        raise Refused(404, f"Service account key {identifier} does not exist.")
    return dict(account["keys"][identifier])


@route("GET", ACCOUNT + "/keys/{key}")
def _get_key(state: State, call: Call) -> Json:
    """A key, with its public half where `publicKeyType` asks for it."""
    key = _find_key(_find(state, call), call.parts["key"])
    return _key_shown(key, call.query.get("publicKeyType", ""))


@route("DELETE", ACCOUNT + "/keys/{key}")
def _delete_key(state: State, call: Call) -> Json:
    account = _find(state, call)
    _find_key(account, call.parts["key"])
    del account["keys"][call.parts["key"]]
    state.commit()
    return {}


@route("POST", TOKEN)
def _token(state: State, call: Call) -> Json:
    """The environment's token, for an assertion that a key of a live account has signed.

    Raises Refused 401 for any other: whoever has no key must not get past the guard this way.
    """
    from google.auth import jwt  # it brings cryptography

    assertion = parse_qs(call.body["form"]).get("assertion", [""])[0]
    certificates = {
        identifier: key["TYPE_X509_PEM_FILE"]
        for account in state.accounts
        if not account.get("deleted") and not account.get("disabled")
        for identifier, key in account["keys"].items()
    }
    try:
        claims: Any = jwt.decode(assertion, certs=certificates)  # type: ignore[no-untyped-call]
    except ValueError as error:
        raise Refused(401, f"Invalid JWT: {error}", "invalid_grant") from None
    subject = claims.get("iss")
    if subject not in [account["email"] for account in state.accounts if not account.get("deleted")]:
        raise Refused(401, f"Invalid JWT: no account {subject!r}", "invalid_grant")
    made = state.token or f"local-{secrets.token_hex(8)}"
    return {"access_token": made, "expires_in": 3600, "token_type": "Bearer"}
