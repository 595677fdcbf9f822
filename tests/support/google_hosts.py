"""Google on loopback: the hosts that mint tokens, the metadata server, and behind them two APIs.

It is an HTTPS proxy with a certificate for every host of Google's, so that addresses which Google's libraries
have built in (`impersonation_chain`, the project of an external account) end here too:

    with GoogleHosts() as google:
        for name, value in google.variables(folder).items(): monkeypatch.setenv(name, value)
        found = google.credentials("workload", folder)
"""

from __future__ import annotations

import datetime as dt
import json
import socket
import struct
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import parse_qs, unquote, urlsplit

from cryptography.hazmat.primitives import serialization
from fake_bigquery import FakeBigQuery
from fake_http import Answer, GoogleError, Request, Service
from fake_storage import FakeStorage
from http_server import HttpServer
from tls_proxy import Tunnel, certificate, private_key

OAUTH, STS, IAM = "oauth2.googleapis.com", "sts.googleapis.com", "iamcredentials.googleapis.com"
PROJECTS, METADATA = "cloudresourcemanager.googleapis.com", "metadata"
# Which hosts a mode gets its token from, the last one being the one that mints it.
MODES: Final = {
    "user": (OAUTH,),
    "key": (OAUTH,),
    "impersonation": (OAUTH, IAM),
    "chain": (OAUTH, IAM),
    "workload": (STS, IAM),
    "metadata": (METADATA,),
}
ACCOUNT, DELEGATE = "pipelines@p.iam.gserviceaccount.com", "between@p.iam.gserviceaccount.com"
DENIED: Final = {
    "error": {
        "code": 403,
        "message": "Permission 'iam.serviceAccounts.getAccessToken' denied on resource (or it may not be).",
        "status": "PERMISSION_DENIED",
    }
}
# What a host answers for good to a credential that is none any more.
GONE: Final = {
    OAUTH: (400, {"error": "invalid_grant", "error_description": "Token has been expired or revoked."}),
    STS: (400, {"error": "invalid_grant", "error_description": "The issuer is not the one of the pool."}),
    IAM: (404, {"error": {"code": 404, "message": "Not found; Gaia id not found for email " + ACCOUNT}}),
    METADATA: (404, {"error": "the instance has no service account"}),
}
RESET = "reset"
# What a load balancer answers in the place of a host that is not there.
HTML = b"<html><title>Error 502 (Server Error)!!1</title></html>"
Fault = int | str | Answer


@dataclass
class GoogleHosts:
    """Its state: tokens that are valid, what was asked of which host, and what goes wrong next.

    `faults` are by host, one for each next request: a status, RESET, or a whole answer. `granted`: whether
    the accounts may be impersonated yet. A token is announced to live for `life` seconds; one that a host
    in `uses` has minted is refused after so many requests. `shown`: which hosts got a token of which account,
    empty for the developer's own. It listens on `address`.
    """

    storage: FakeStorage = field(default_factory=lambda: FakeStorage("b"))
    faults: dict[str, list[Fault]] = field(default_factory=lambda: defaultdict(list))
    asked: list[tuple[str, str]] = field(default_factory=list)
    quota_projects: set[str | None] = field(default_factory=set)
    granted: Callable[[], bool] = lambda: True
    life: int = 3600
    uses: dict[str, int] = field(default_factory=dict)
    shown: set[tuple[str, str]] = field(default_factory=set)
    address: str = "127.0.0.1"
    _accounts: dict[str, str] = field(default_factory=dict)
    _tokens: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._apis: dict[str, Service] = {
            "storage.googleapis.com": self.storage,
            "bigquery.googleapis.com": FakeBigQuery(self.storage),
        }

    def __enter__(self) -> Self:
        hosts = self

        class Handler(_Handler):
            google = hosts

        self._server = HttpServer((self.address, 0), Handler).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop()

    @property
    def port(self) -> int:
        """Where the proxy listens."""
        return self._server.server_port

    @property
    def minted(self) -> int:
        """How many tokens there are by now."""
        return len(self._tokens)

    # How a process gets here

    def variables(self, folder: Path) -> dict[str, str]:
        """The variables of a process for which this is Google, with nobody signed in."""
        bundle, nobody = folder / "google.pem", folder / "nobody"
        bundle.write_bytes(certificate()[0])
        nobody.mkdir(exist_ok=True)
        here = f"127.0.0.1:{self.port}"
        return {
            # The metadata server, whose name Google's library reads when it is imported, is asked by http.
            **dict.fromkeys(("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"), f"http://{here}"),
            "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1", "REQUESTS_CA_BUNDLE": str(bundle),
            "CLOUDSDK_CONFIG": str(nobody), "GOOGLE_APPLICATION_CREDENTIALS": "",
        }  # fmt: skip

    def credentials(self, mode: str, folder: Path) -> tuple[dict[str, Any], dict[str, str]]:
        """What of a mode is in Airflow's connection, as its extra, and what in variables."""
        if mode == "metadata":
            return {}, {}
        content = {"impersonation": _impersonation, "key": _key, "workload": _workload}.get(mode, _user)
        file = folder / f"{mode}.json"
        file.write_text(json.dumps(content(folder)))
        extra = {"impersonation_chain": [DELEGATE, ACCOUNT]} if mode == "chain" else {}
        return extra, {"GOOGLE_APPLICATION_CREDENTIALS": str(file)}

    # What it answers

    def answer(self, host: str, request: Request) -> Answer:
        """Answer one request to one of Google's hosts; ConnectionResetError where there is no answer."""
        self.asked.append((host, request.path))
        self.quota_projects.add(request.headers.get("x-goog-user-project"))
        # A virtual machine knows by its firmware, too, that it is Google's: whether this answers or not.
        waiting = [] if (host, request.path) == (METADATA, "/") else self.faults[host]
        fault = waiting.pop(0) if waiting else None
        if fault == RESET:
            raise ConnectionResetError
        if isinstance(fault, Answer):
            return fault
        if isinstance(fault, int):
            return GoogleError(fault, "hiccup").answer
        try:
            return self._answered(host, request)
        except GoogleError as error:
            return error.answer

    def _answered(self, host: str, request: Request) -> Answer:
        if host == METADATA:
            return self._of_metadata(request)
        if host in (OAUTH, STS):
            form = parse_qs(request.body.decode())
            grant = form["grant_type"][0]
            assert grant in ("refresh_token", _JWT_GRANT) if host == OAUTH else grant == _EXCHANGE
            return Answer(body=self._mint(host, expires_in=self.life, token_type="Bearer", **_ISSUED))
        self._check(host, request)
        if host == IAM and request.path.endswith(":generateAccessToken"):
            if not self.granted():
                return Answer(403, DENIED)
            until = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=self.life)
            token = self._mint(host)["access_token"]
            self._accounts[token] = request.path.rpartition("/")[2].partition(":")[0]
            return Answer(body={"accessToken": token, "expireTime": f"{until:%Y-%m-%dT%H:%M:%SZ}"})
        if host == PROJECTS:
            return Answer(body={"projectId": "p", "projectNumber": "123"})
        if host in self._apis:
            return self._apis[host].answer(request)
        raise GoogleError(404, f"no such host: {host}")

    def _of_metadata(self, request: Request) -> Answer:
        what = request.path.removeprefix("/computeMetadata/v1/").strip("/")
        if what.endswith("/token"):
            return Answer(body=self._mint(METADATA, expires_in=self.life, token_type="Bearer"))
        texts = {"project/project-id": "p", "universe/universe-domain": "googleapis.com"}
        if what.startswith("instance/service-accounts/"):
            return Answer(
                body={"email": ACCOUNT, "scopes": ["https://www.googleapis.com/auth/cloud-platform"]}
            )
        text = texts.get(what, "computeMetadata/")
        return Answer(body=text.encode(), headers={"Content-Type": "application/text"})

    def _mint(self, host: str, **more: Any) -> dict[str, Any]:
        token = f"token-{len(self._tokens)}"
        self._tokens[token] = self.uses.get(host, 1_000_000)
        return {"access_token": token, **more}

    def _check(self, host: str, request: Request) -> None:
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        self.shown.add((host, self._accounts.get(token, "")))
        if self._tokens.get(token, 0) <= 0:
            raise GoogleError(401, "Request had invalid authentication credentials.", "authError")
        self._tokens[token] -= 1


_JWT_GRANT: Final = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_EXCHANGE: Final = "urn:ietf:params:oauth:grant-type:token-exchange"
_ISSUED: Final = {"issued_token_type": "urn:ietf:params:oauth:token-type:access_token"}
_ACTING: Final = f"https://{IAM}/v1/projects/-/serviceAccounts/{ACCOUNT}:generateAccessToken"


def _user(_: Path) -> dict[str, Any]:
    known = {"client_id": "mine", "client_secret": "s", "refresh_token": "r"}
    return {"type": "authorized_user", **known, "quota_project_id": "developers-own"}


def _key(_: Path) -> dict[str, Any]:
    private = private_key().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    known = {"client_email": ACCOUNT, "token_uri": f"https://{OAUTH}/token", "project_id": "p"}
    return {"type": "service_account", **known, "private_key": private.decode()}


def _impersonation(folder: Path) -> dict[str, Any]:
    return {
        "type": "impersonated_service_account",
        "service_account_impersonation_url": _ACTING,
        "delegates": [DELEGATE],
        "source_credentials": {k: v for k, v in _user(folder).items() if k != "quota_project_id"},
        "quota_project_id": "p",
    }


def _workload(folder: Path) -> dict[str, Any]:
    (folder / "token").write_text("the platform's own")
    return {
        "type": "external_account",
        "audience": "//iam.googleapis.com/projects/123/locations/global/workloadIdentityPools/p/providers/q",
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": f"https://{STS}/v1/token",
        "service_account_impersonation_url": _ACTING,
        "credential_source": {"file": str(folder / "token")},
    }


class _Handler(Tunnel):
    """What is tunnelled is for one of Google's hosts; the rest is for the metadata server."""

    google: GoogleHosts

    def handle_request(self, host: str, body: bytes) -> None:
        parts = urlsplit(self.path)
        query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(self.command, unquote(parts.path), query, headers, body)
        try:
            answer = self.google.answer(host or METADATA, request)
        except ConnectionResetError:
            # Lingering for no time at all makes it a reset, not an end.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
            return
        content, said = answer.body, dict(answer.headers or {})
        if not isinstance(content, bytes):
            content, said = json.dumps(content).encode(), {**said, "Content-Type": "application/json"}
        self.reply(answer.status, {"Metadata-Flavor": "Google", **said}, content)
