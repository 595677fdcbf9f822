"""The control plane: IAM, Resource Manager, Service Usage and what a runner is made of, as the provider asks.

Run it: `python -m taxiway.emulators.iam --data DIR`.
"""

from __future__ import annotations

import base64
import json
import re
import secrets
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from taxiway.emulators import answers, machines
from taxiway.emulators.answers import Answer, Application, HttpError, Json, etag, page, part
from taxiway.emulators.serving import parser, read_json, serve, token_in

ACCOUNTS = "/iam/v1/projects/{project}/serviceAccounts"
ACCOUNT = ACCOUNTS + "/{account}"
KEY = ACCOUNT + "/keys/{key}"
PROJECT = "/crm/v1/projects/{project}"
SERVICES = "/su/v1/projects/{project}/services"
TOKEN = "/token"  # noqa: S105 - a path
ACCOUNT_ETAG = "MDEwMjE5MjA="  # the real service gives every account this one
MUTABLE = {"display_name": "displayName", "displayName": "displayName", "description": "description"}
KEYS = 10
FOREVER = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
KINDS = ("accounts", "policies", "services", "operations", "projects", "resources")
INSTANCE = "/compute/beta/projects/{project}/zones/{zone}/instances/{instance}"
TUNNEL = "/iap/v1/projects/{project}/iap_tunnel/zones/{zone}/instances/{instance}"
SECRET = "/secretmanager/v1/projects/{project}/secrets/{secret}"  # noqa: S105 - a path
REPOSITORY = "/artifactregistry/v1/projects/{project}/locations/{location}/repositories/{repository}"
CONCURRENT = (
    "There were concurrent policy changes. Please retry the whole read-modify-write with exponential backoff."
)


@dataclass(frozen=True)
class Call:
    """One request; `base` is the URL by which the client reached the service."""

    method: str
    path: str
    parts: dict[str, str]
    query: Mapping[str, str]
    body: Json
    base: str


Handler = Callable[["ControlPlane", Call], Json]
ROUTES: list[Route] = []


def route(method: str, path: str) -> Callable[[Handler], Handler]:
    """Register a handler for `method` on a path such as `/crm/v1/projects/{project}:getIamPolicy`."""

    def register(handler: Handler) -> Handler:
        async def endpoint(request: Request) -> Response:
            plane: ControlPlane = request.app.state.store
            content = await answers.whole_body(request)
            # Google's clients request tokens with a form.
            body = answers.parsed(content) if path != TOKEN else {"form": content.decode("latin-1")}
            parts = {name: part(request, name) for name in request.path_params}
            try:
                base = answers.base_url(request)
                call = Call(request.method, request.url.path, parts, request.query_params, body, base)
                return Answer(handler(plane, call))
            except HttpError:
                raise
            except Exception:
                plane.reload()
                raise

        ROUTES.append(Route(path, endpoint, methods=[method]))
        return handler

    return register


class ControlPlane:
    """All resources in one JSON file, which is written before a change is answered.

    Accounts include the public halves of their keys; policies are kept by full resource name.
    """

    def __init__(self, path: Path, token: str = "") -> None:
        self._path, self._token = path, token
        self.reload()

    def reload(self) -> None:
        """Return to the last written state."""
        kept = read_json(self._path)
        self.accounts: list[Json] = kept.get("accounts", [])
        self.policies: dict[str, Json] = kept.get("policies", {})
        self.services: dict[str, dict[str, str]] = kept.get("services", {})
        self.operations: dict[str, Json] = kept.get("operations", {})
        self.projects: dict[str, str] = kept.get("projects", {})
        self.resources: machines.Table = kept.get("resources", {})

    def _commit(self) -> None:
        answers.write_atomically(
            self._path, json.dumps({kind: getattr(self, kind) for kind in KINDS}).encode()
        )

    # Projects: every valid id exists

    def _project(self, call: Call) -> str:
        """The id of the requested project, given its id or number; numbers are known once the id was used."""
        name = call.parts["project"]
        if name.isdigit():
            if name not in self.projects:
                raise HttpError(404, f"Project {name!r} not found or permission denied.")
            return self.projects[name]
        if not re.fullmatch(r"(?:[a-z0-9.]+:)?[a-z][a-z0-9-]{0,29}", name):
            raise HttpError(400, f"Invalid project id: {name!r}", "badRequest")
        if (other := self.projects.setdefault(answers.project_number(name), name)) != name:
            raise HttpError(409, f"Projects {name!r} and {other!r} share a number.")
        return name

    @route("GET", PROJECT)
    def _get_project(self, call: Call) -> Json:
        project = self._project(call)
        known = {"projectNumber": answers.project_number(project), "projectId": project, "name": project}
        return known | {"lifecycleState": "ACTIVE"}

    @route("GET", "/compute/v1/projects/{project}")
    def _get_compute(self, call: Call) -> Json:
        """Compute's view of a project; the Pulumi provider looks up a bucket's project with it."""
        project = self._project(call)
        return {"kind": "compute#project", "id": answers.project_number(project), "name": project}

    # Services

    def _service(self, project: str, service: str) -> Json:
        return {
            "name": f"projects/{project}/services/{service}",
            "config": {"name": service},
            "parent": f"projects/{project}",
            "state": self.services.get(project, {}).get(service, "DISABLED"),
        }

    def _finished(self, response: Json) -> Json:
        """A finished long-running operation; the last fifty can be read again."""
        name = f"operations/{secrets.token_hex(16)}"
        operation = {"name": name, "done": True, "response": response}
        self.operations = dict([*list(self.operations.items())[-49:], (name, operation)])
        self._commit()
        return operation

    @route("POST", SERVICES + ":batchEnable")
    @route("POST", SERVICES + "/{service}:enable")
    @route("POST", SERVICES + "/{service}:disable")
    def _switch(self, call: Call) -> Json:
        project, one = self._project(call), call.parts.get("service")
        names = [one] if one else list(call.body.get("serviceIds") or [])
        for name in names:
            if not name.endswith(".googleapis.com"):
                raise HttpError(400, f"Not a service: {name!r}. Give a name such as bigquery.googleapis.com.")
            wanted = "DISABLED" if call.path.endswith(":disable") else "ENABLED"
            self.services.setdefault(project, {})[name] = wanted
        switched = [self._service(project, name) for name in names]
        return self._finished({"service": switched[0]} if one else {"services": switched})

    @route("GET", SERVICES)
    def _list_services(self, call: Call) -> Json:
        """The services a project has ever enabled, or those in the state given by the filter."""
        project, wanted = self._project(call), call.query.get("filter", "").removeprefix("state:")
        shown = {name: self._service(project, name) for name in self.services.get(project, {})}
        found = {name: entry for name, entry in shown.items() if wanted in ("", entry["state"])}
        services, more = page(found, call.query, "pageSize")
        return {"services": services, **more}

    @route("GET", SERVICES + "/{service}")
    def _get_service(self, call: Call) -> Json:
        return self._service(self._project(call), call.parts["service"])

    @route("GET", "/su/v1/operations/{operation}")
    def _get_operation(self, call: Call) -> Json:
        name = f"operations/{call.parts['operation']}"
        if name not in self.operations:
            raise HttpError(404, f"Operation not found: {name}")
        return self.operations[name]

    # Access policies of projects and accounts; without bindings until they are set

    def _resource(self, call: Call) -> str:
        if "account" in call.parts:
            return str(self._find(call)["name"])
        project = f"projects/{self._project(call)}"
        if len(call.parts) == 1:
            return project
        api, place = call.path.split("/")[1], call.path.partition("/projects/")[2].partition("/")[2]
        path = f"{project}/{re.sub(r'[:/][gs]etIamPolicy$', '', place).removeprefix('iap_tunnel/')}"
        machines.found(self.resources, path if "instance" in call.parts else f"{api}/{path}")
        return f"{api}/{path}"

    @route("GET", INSTANCE + "/getIamPolicy")
    @route("POST", TUNNEL + ":getIamPolicy")
    @route("GET", SECRET + ":getIamPolicy")
    @route("GET", REPOSITORY + ":getIamPolicy")
    @route("POST", PROJECT + ":getIamPolicy")
    @route("POST", ACCOUNT + ":getIamPolicy")
    def _get_policy(self, call: Call) -> Json:
        return self.policies.get(self._resource(call)) or {"version": 1, "etag": etag(0), "bindings": []}

    @route("POST", INSTANCE + "/setIamPolicy")
    @route("POST", TUNNEL + ":setIamPolicy")
    @route("POST", SECRET + ":setIamPolicy")
    @route("POST", REPOSITORY + ":setIamPolicy")
    @route("POST", PROJECT + ":setIamPolicy")
    @route("POST", ACCOUNT + ":setIamPolicy")
    def _set_policy(self, call: Call) -> Json:
        """Replace an access policy, unless it has changed since it was read."""
        policy, present = call.body.get("policy") or {}, self._get_policy(call)
        if policy.get("etag") not in (None, "", present["etag"]):
            raise HttpError(409, CONCURRENT, "aborted")
        bindings: list[Json] = []
        for binding in policy.get("bindings") or []:
            members = sorted(set(binding.get("members") or []))
            if not binding.get("role"):
                raise HttpError(400, f"A binding needs a role: {binding!r}", "badRequest")
            for member in members:
                if ":" not in member and member not in ("allUsers", "allAuthenticatedUsers"):
                    kinds = "Give a type, such as user:, group: or serviceAccount:."
                    raise HttpError(400, f"Invalid member {member!r}. {kinds}")
            bindings += [binding | {"members": members}] if members else []
        changed = {"version": policy.get("version") or 1, "etag": etag(answers.changes(present["etag"]) + 1)}
        self.policies[self._resource(call)] = changed | {"bindings": bindings}
        self._commit()
        return self._get_policy(call)

    # What a runner is made of

    def _of_runner(self, call: Call) -> Json:
        project, api, rest = self._project(call), call.path.split("/")[1], call.parts["rest"]
        request = (call.method, project, rest, call.query, call.body)
        if api == "compute":
            answer = machines.compute(self.resources, *request)
        else:
            answer = machines.named(self.resources, api, *request)
        # A policy goes with its resource: the next of that name begins without one.
        gone = [at for at in self.policies if "/projects/" in at and not self._has(at)]
        for at in gone:
            del self.policies[at]
        if call.method != "GET":
            self._commit()
        return answer

    def _has(self, policy: str) -> bool:
        api, _, path = policy.partition("/")
        return path in self.resources or f"{api}/{path}" in self.resources

    for _api in ("compute/beta", "compute/v1", *(f"{api}/v1" for api in machines.IDS)):
        for _method in ("GET", "POST", "PATCH", "PUT", "DELETE"):
            route(_method, f"/{_api}/projects/{{project}}/{{rest:path}}")(_of_runner)

    # Service accounts

    def _find(self, call: Call, *, deleted: bool = False) -> Json:
        """The requested account, by email or unique id."""
        name, project = call.parts["account"], call.parts["project"]
        for account in reversed(self.accounts):
            named = name in (account["email"], account["uniqueId"])
            if named and project in ("-", account["projectId"]) and bool(account.get("deleted")) is deleted:
                return account
        raise HttpError(404, f"Service account projects/{project}/serviceAccounts/{name} does not exist.")

    def _live(self, email: str) -> bool:
        return any(other["email"] == email and not other.get("deleted") for other in self.accounts)

    @route("POST", ACCOUNTS)
    def _create(self, call: Call) -> Json:
        project, name = self._project(call), str(call.body.get("accountId") or "")
        if not re.fullmatch(r"[a-z][-a-z0-9]{4,28}[a-z0-9]", name):
            rule = "6 to 30 lower-case letters, digits and dashes, a letter first."
            raise HttpError(400, f"Invalid account id {name!r}: {rule}", "badRequest")
        email = f"{name}@{project}.iam.gserviceaccount.com"
        if self._live(email):
            message = f"Service account {name} already exists within project projects/{project}."
            raise HttpError(409, message, "alreadyExists", "ALREADY_EXISTS")
        unique = "1" + "".join(secrets.choice("0123456789") for _ in range(20))
        account = {
            "name": f"projects/{project}/serviceAccounts/{email}",
            "projectId": project,
            "uniqueId": unique,
            "email": email,
            "oauth2ClientId": unique,
            "etag": ACCOUNT_ETAG,
            "keys": {},
            **_changes(call.body.get("serviceAccount") or {}, list(MUTABLE)),
        }
        self.accounts.append(account)
        self._commit()
        return _account_shown(account)

    @route("GET", ACCOUNTS)
    def _list(self, call: Call) -> Json:
        project = self._project(call)
        live = {
            account["email"]: _account_shown(account)
            for account in self.accounts
            if account["projectId"] == project and not account.get("deleted")
        }
        accounts, more = page(live, call.query, "pageSize")
        return {"accounts": accounts, **more}

    @route("POST", ACCOUNT + ":undelete")
    def _undelete(self, call: Call) -> Json:
        account = self._find(call, deleted=True)
        if self._live(account["email"]):
            message = f"Service account {account['email']} exists again."
            raise HttpError(409, message, "alreadyExists", "ALREADY_EXISTS")
        account["deleted"] = False
        self._commit()
        return {"restoredAccount": _account_shown(account)}

    @route("POST", ACCOUNT + ":disable")
    @route("POST", ACCOUNT + ":enable")
    def _disable_or_enable(self, call: Call) -> Json:
        self._find(call)["disabled"] = call.path.endswith(":disable")
        self._commit()
        return {}

    @route("GET", ACCOUNT)
    def _get(self, call: Call) -> Json:
        return _account_shown(self._find(call))

    @route("PATCH", ACCOUNT)
    def _patch(self, call: Call) -> Json:
        account = self._find(call)
        mask = [name for name in str(call.body.get("updateMask") or "").split(",") if name]
        if not mask:
            raise HttpError(400, "updateMask is required, such as 'display_name'.", "badRequest")
        account.update(_changes(call.body.get("serviceAccount") or {}, mask))
        self._commit()
        return _account_shown(account)

    @route("DELETE", ACCOUNT)
    def _delete(self, call: Call) -> Json:
        """Delete an account; it can be undeleted by its unique id (in Google Cloud: for thirty days)."""
        account = self._find(call)
        account["deleted"] = True
        self.policies.pop(account["name"], None)
        self._commit()
        return {}

    # Keys. The private half is returned once, and not stored.

    @route("POST", ACCOUNT + "/keys")
    def _create_key(self, call: Call) -> Json:
        account = self._find(call)
        if len(account["keys"]) >= KEYS:
            message = f"{account['email']} has {KEYS} keys already."
            raise HttpError(429, message, "rateLimitExceeded", "RESOURCE_EXHAUSTED")
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
        self._commit()
        credential = {
            "type": "service_account",
            "project_id": account["projectId"],
            "private_key_id": identifier,
            "private_key": private,
            "client_email": account["email"],
            "client_id": account["uniqueId"],
            "auth_uri": "https://accounts.google.com/o/oauth2/auth",
            # Clients then request tokens here instead of from Google.
            "token_uri": f"{call.base}{TOKEN}",
            "universe_domain": "googleapis.com",
        }
        return _key_shown(key) | {
            "privateKeyType": "TYPE_GOOGLE_CREDENTIALS_FILE",
            "privateKeyData": base64.b64encode(json.dumps(credential, indent=2).encode()).decode(),
        }

    @route("GET", ACCOUNT + "/keys")
    def _list_keys(self, call: Call) -> Json:
        return {"keys": [_key_shown(key) for key in self._find(call)["keys"].values()]}

    @route("GET", KEY)
    def _get_key(self, call: Call) -> Json:
        """A key, with its public half if `publicKeyType` is given."""
        key = self._keys_with(call)[call.parts["key"]]
        shown, wanted = _key_shown(key), call.query.get("publicKeyType", "")
        public = {"publicKeyData": base64.b64encode(key[wanted].encode()).decode()} if wanted in key else {}
        return shown | public

    @route("DELETE", KEY)
    def _delete_key(self, call: Call) -> Json:
        del self._keys_with(call)[call.parts["key"]]
        self._commit()
        return {}

    def _keys_with(self, call: Call) -> dict[str, Json]:
        """The keys of the account, if the requested one is among them."""
        keys: dict[str, Json] = self._find(call)["keys"]
        if call.parts["key"] not in keys:
            raise HttpError(404, f"Service account key {call.parts['key']} does not exist.")
        return keys

    @route("POST", TOKEN)
    def _mint(self, call: Call) -> Json:
        """The environment's token for an assertion signed with the key of a live account.

        The path is open to everybody, so the signature is all that protects the token.
        """
        from google.auth import jwt  # imports cryptography

        assertion = parse_qs(call.body["form"]).get("assertion", [""])[0]
        certificates = {
            identifier: key["TYPE_X509_PEM_FILE"]
            for account in self.accounts
            if not account.get("deleted") and not account.get("disabled")
            for identifier, key in account["keys"].items()
        }
        try:
            claims: Any = jwt.decode(assertion, certs=certificates)  # type: ignore[no-untyped-call]
        except ValueError as error:
            raise HttpError(401, f"Invalid JWT: {error}", "invalid_grant") from None
        if not self._live(claims.get("iss")):
            raise HttpError(401, f"Invalid JWT: no account {claims.get('iss')!r}", "invalid_grant")
        made = self._token or f"local-{secrets.token_hex(8)}"
        return {"access_token": made, "expires_in": 3600, "token_type": "Bearer"}


def _account_shown(account: Json) -> Json:
    return {
        key: value
        for key, value in account.items()
        if key not in ("keys", "deleted") and value not in ("", None, False)
    }


def _key_shown(key: Json) -> Json:
    return {name: value for name, value in key.items() if not name.startswith("TYPE_")}


def _changes(given: Json, mask: list[str]) -> Json:
    """The new values of the masked fields of an account."""
    unknown = [name for name in mask if name not in MUTABLE]
    if unknown:
        raise HttpError(400, f"Cannot update {', '.join(unknown)} of a service account.", "badRequest")
    changed = {MUTABLE[name]: str(given.get(MUTABLE[name]) or "") for name in mask}
    for field, limit in (("displayName", 100), ("description", 256)):
        if len(changed.get(field, "")) > limit:
            message = f"{field} is longer than {limit} characters: {changed[field][:20]!r}…"
            raise HttpError(400, message, "badRequest")
    return changed


def _pair(email: str) -> tuple[str, str, str]:
    """Private key, certificate and public key, each as PEM text."""
    from cryptography import x509  # takes 0.25 s to import, and most stacks have no keys
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


def main(argv: list[str] | None = None) -> int:
    """Serve until told to stop."""
    options = parser("IAM, Resource Manager and Service Usage of the emulated cloud.", "control-plane")
    options.add_argument("--data", type=Path, required=True, help="folder for the state")
    chosen = options.parse_args(argv)

    @asynccontextmanager
    async def open_app() -> AsyncIterator[Application]:
        plane = ControlPlane(chosen.data.resolve() / "control-plane.json", token_in(chosen.token_file))
        yield Application("control-plane", ROUTES, plane)

    return serve("control-plane", chosen, open_app, open_paths=(TOKEN,))


if __name__ == "__main__":
    sys.exit(main())
