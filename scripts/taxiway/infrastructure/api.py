"""The few REST calls that this package makes itself, to the emulators or to Google."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import requests

from taxiway.infrastructure.engine import Endpoints, EngineError

_TIMEOUT_SECONDS = 30


@dataclass(frozen=True)
class Api:
    """Google's JSON APIs at their base URLs, which end without a slash; empty: that API is not asked."""

    storage: str = "https://storage.googleapis.com/storage/v1"
    bigquery: str = "https://bigquery.googleapis.com/bigquery/v2"
    iam: str = "https://iam.googleapis.com/v1"
    resource_manager: str = "https://cloudresourcemanager.googleapis.com/v1"
    composer: str = "https://composer.googleapis.com/v1"
    compute: str = "https://compute.googleapis.com/compute/v1"
    secret_manager: str = "https://secretmanager.googleapis.com/v1"  # noqa: S105 - a URL
    artifact_registry: str = "https://artifactregistry.googleapis.com/v1"
    os_config: str = "https://osconfig.googleapis.com/v1"
    token: str = field(default="", repr=False)

    @classmethod
    def of(cls, endpoints: Endpoints) -> Api:
        """Return the APIs of an environment's emulators."""

        def at(path: str) -> str:
            return f"{endpoints.control_plane}/{path}/v1" if endpoints.control_plane else ""

        return cls(
            storage=f"{endpoints.storage}/storage/v1",
            bigquery=f"{endpoints.bigquery}/bigquery/v2",
            iam=at("iam"),
            resource_manager=at("crm"),
            composer="",
            compute=at("compute"),
            secret_manager=at("secretmanager"),
            artifact_registry=at("artifactregistry"),
            os_config=at("osconfig"),
            token=endpoints.token,
        )

    def get(self, url: str, **query: str) -> dict[str, Any] | None:
        """Return what is at a URL, None where there is nothing."""
        return self._call("GET", url, query, None, absent_ok=True)

    def send(self, method: str, url: str, body: dict[str, Any] | None = None, **query: str) -> dict[str, Any]:
        """Return the answer to a change; raises EngineError with Google's own message."""
        return self._call(method, url, query, body, absent_ok=False) or {}

    def delete(self, url: str, **query: str) -> None:
        """Delete what is at a URL, if it is there."""
        self._call("DELETE", url, query, None, absent_ok=True)

    def pages(self, url: str, items: str, **query: str) -> Iterator[dict[str, Any]]:
        """Yield the items of a list, page by page."""
        page = self.get(url, **query) or {}
        yield from page.get(items, [])
        while token := page.get("nextPageToken"):
            page = self.get(url, **query, pageToken=token) or {}
            yield from page.get(items, [])

    def _call(
        self, method: str, url: str, query: dict[str, str], body: dict[str, Any] | None, *, absent_ok: bool
    ) -> dict[str, Any] | None:
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        try:
            with requests.Session() as session:
                # A proxy of the user's must not come between us and the loopback.
                session.trust_env = url.startswith("https://")
                answer = session.request(
                    method, url, params=query, json=body, headers=headers, timeout=_TIMEOUT_SECONDS
                )
        except requests.RequestException as error:
            raise EngineError(f"{method} {url} got no answer: {error}", "Is the service running?") from None
        if answer.status_code == requests.codes.not_found and absent_ok:
            return None
        try:
            content = answer.json()
        except ValueError:
            content = {}
        if not answer.ok:
            details = content.get("error") if isinstance(content, dict) else None
            message = details.get("message", "") if isinstance(details, dict) else answer.text[:200]
            raise EngineError(f"{method} {url} was refused ({answer.status_code}): {message}")
        return content if isinstance(content, dict) else {}


def google() -> Api:
    """Return Google's APIs with the user's own credentials.

    Raises EngineError where there are none.
    """
    # Emulators need no credentials, and the import is slow.
    import google.auth
    from google.auth.exceptions import GoogleAuthError
    from google.auth.transport.requests import Request

    try:
        credentials, _ = google.auth.default(scopes=["https://www.googleapis.com/auth/cloud-platform"])
        credentials.refresh(Request())  # type: ignore[no-untyped-call]
    except GoogleAuthError as error:
        raise EngineError(
            f"Google Cloud cannot be asked: {error}", "Sign in with: gcloud auth application-default login"
        ) from None
    return Api(token=str(credentials.token))


def segment(text: str) -> str:
    """Return a name as one segment of a URL's path."""
    return quote(text, safe="")
