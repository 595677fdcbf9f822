"""Keys of service accounts. The private half leaves in the answer to its creation and is kept nowhere."""

import base64
import json
import secrets
from datetime import UTC, datetime
from typing import Any

from taxiway.emulators.iam.accounts import ACCOUNT, find
from taxiway.emulators.iam.api import Call, Json, Refused, State, route

LIMIT = 10
FOREVER = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)


@route("POST", ACCOUNT + "/keys")
def create(state: State, call: Call) -> Json:
    """Create a key pair and answer with its private half, this once."""
    account = find(state, call)
    if len(account["keys"]) >= LIMIT:
        raise Refused(
            429, f"{account['email']} has {LIMIT} keys already.", "rateLimitExceeded", "RESOURCE_EXHAUSTED"
        )
    identifier = secrets.token_hex(20)
    private, certificate, public = _pair(account["email"])
    account["keys"][identifier] = {
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
    credential = json.dumps(_credential(account, identifier, private, call.base), indent=2)
    return _shown(account["keys"][identifier]) | {
        "privateKeyType": "TYPE_GOOGLE_CREDENTIALS_FILE",
        "privateKeyData": base64.b64encode(credential.encode()).decode(),
    }


def _pair(email: str) -> tuple[str, str, str]:
    """Return private key, certificate and public key, each as PEM text."""
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


def _credential(account: Json, identifier: str, private: str, base: str) -> Json:
    """Return Google's credentials file; its tokens come from here, so that none is asked of Google."""
    return {
        "type": "service_account",
        "project_id": account["projectId"],
        "private_key_id": identifier,
        "private_key": private,
        "client_email": account["email"],
        "client_id": account["uniqueId"],
        "auth_uri": "https://accounts.google.com/o/oauth2/auth",
        "token_uri": f"{base}/token",
        "universe_domain": "googleapis.com",
    }


def _shown(key: Json, public_type: str = "") -> Json:
    answer: Json = {name: value for name, value in key.items() if not name.startswith("TYPE_")}
    if public_type in key:
        answer["publicKeyData"] = base64.b64encode(key[public_type].encode()).decode()
    return answer


@route("GET", ACCOUNT + "/keys")
def list_keys(state: State, call: Call) -> Json:
    """List an account's keys."""
    return {"keys": [_shown(key) for key in find(state, call)["keys"].values()]}


@route("GET", ACCOUNT + "/keys/{key}")
def get(state: State, call: Call) -> Json:
    """Answer with a key, and its public half where `publicKeyType` asks for it."""
    return _shown(_find_key(state, call), call.query.get("publicKeyType", ""))


@route("DELETE", ACCOUNT + "/keys/{key}")
def delete(state: State, call: Call) -> Json:
    """Delete a key."""
    _find_key(state, call)
    del find(state, call)["keys"][call.parameters["key"]]
    state.commit()
    return {}


def _find_key(state: State, call: Call) -> Json:
    keys: dict[str, Any] = find(state, call)["keys"]
    identifier = call.parameters["key"]
    if identifier not in keys:
        raise Refused(404, f"Service account key {identifier} does not exist.")
    return dict(keys[identifier])


@route("POST", "/token")
def token(_state: State, _call: Call) -> Json:
    """Answer a credentials file's request for a token; the emulators look at none."""
    return {"access_token": f"local-{secrets.token_hex(8)}", "expires_in": 3600, "token_type": "Bearer"}
