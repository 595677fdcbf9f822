"""State of the control plane, and the registry of its handlers."""

from __future__ import annotations

import base64
import json
import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from taxiway.emulators.answers import (
    Answer,
    HttpError,
    Json,
    base_url,
    parsed,
    part,
    project_number,
    whole_body,
    write_atomically,
)

KINDS = ("accounts", "policies", "services", "operations", "projects")
CONCURRENT = (
    "There were concurrent policy changes. Please retry the whole read-modify-write with exponential backoff."
)


class State:
    """All resources in one JSON file, which is written before a change is answered.

    Accounts include the public halves of their keys; policies are kept by full resource name.
    """

    def __init__(self, path: Path, token: str = "") -> None:
        self._path, self.token = path, token
        self.reload()

    def reload(self) -> None:
        """Return to the last written state."""
        kept = json.loads(self._path.read_text()) if self._path.exists() else {}
        self.accounts: list[Json] = kept.get("accounts", [])
        self.policies: dict[str, Json] = kept.get("policies", {})
        self.services: dict[str, dict[str, str]] = kept.get("services", {})
        self.operations: dict[str, Json] = kept.get("operations", {})
        self.projects: dict[str, str] = kept.get("projects", {})

    def commit(self) -> None:
        """Write the state."""
        write_atomically(self._path, json.dumps({kind: getattr(self, kind) for kind in KINDS}).encode())

    def project(self, name: str) -> str:
        """The id of a project, given its id or number; numbers are known once the id was used.

        Raises HttpError 404 for an unknown number, 400 for an invalid id.
        """
        if name.isdigit():
            if name not in self.projects:
                raise HttpError(404, f"Project {name!r} not found or permission denied.")
            return self.projects[name]
        if not re.fullmatch(r"(?:[a-z0-9.]+:)?[a-z][a-z0-9-]{0,29}", name):
            raise HttpError(400, f"Invalid project id: {name!r}", "badRequest")
        if self.projects.setdefault(project_number(name), name) != name:
            other = self.projects[project_number(name)]
            raise HttpError(409, f"Projects {name!r} and {other!r} share a number.")
        return name

    def policy(self, resource: str) -> Json:
        """The access policy of `resource`, without bindings if it was never set."""
        return self.policies.get(resource) or {"version": 1, "etag": _etag(0), "bindings": []}

    def set_policy(self, resource: str, policy: Json) -> Json:
        """Replace an access policy. Raises HttpError 409 if it has changed since it was read."""
        present = self.policy(resource)
        if policy.get("etag") not in (None, "", present["etag"]):
            raise HttpError(409, CONCURRENT, "aborted")
        changes = int.from_bytes(base64.b64decode(present["etag"])[1:], "big")
        bindings = [_binding(binding) for binding in policy.get("bindings") or []]
        self.policies[resource] = {
            "version": policy.get("version") or 1,
            "etag": _etag(changes + 1),
            "bindings": [binding for binding in bindings if binding["members"]],
        }
        self.commit()
        return self.policies[resource]

    def finished(self, response: Json) -> Json:
        """A finished long-running operation; the last fifty can be read again."""
        name = f"operations/{secrets.token_hex(16)}"
        operation = {"name": name, "done": True, "response": response}
        self.operations = dict([*list(self.operations.items())[-49:], (name, operation)])
        self.commit()
        return operation


def _etag(changes: int) -> str:
    return base64.b64encode(b"\x07" + changes.to_bytes(7, "big")).decode()


def _binding(binding: Any) -> Json:
    """The binding with unique members. Raises HttpError 400 if it is invalid."""
    role = binding.get("role")
    if not role:
        raise HttpError(400, f"A binding needs a role: {binding!r}", "badRequest")
    members = binding.get("members") or []
    for member in members:
        if ":" not in member and member not in ("allUsers", "allAuthenticatedUsers"):
            message = f"Invalid member {member!r}. Give a type, such as user:, group: or serviceAccount:."
            raise HttpError(400, message)
    return dict(binding) | {"members": sorted(set(members))}


@dataclass(frozen=True)
class Call:
    """One request; `base` is the URL by which the client reached the service."""

    parts: dict[str, str]
    query: Mapping[str, str]
    body: Json
    base: str


Handler = Callable[[State, Call], Json]
ROUTES: list[Route] = []


def route(method: str, path: str) -> Callable[[Handler], Handler]:
    """Register a handler for `method` on a path such as `/crm/v1/projects/{project}:getIamPolicy`."""

    def register(handler: Handler) -> Handler:
        async def endpoint(request: Request) -> Response:
            state: State = request.app.state.store
            content = await whole_body(request)
            # Google's clients request tokens with a form.
            body = parsed(content) if path != TOKEN else {"form": content.decode("latin-1")}
            parts = {name: part(request, name) for name in request.path_params}
            try:
                return Answer(handler(state, Call(parts, request.query_params, body, base_url(request))))
            except HttpError:
                raise
            except Exception:
                state.reload()
                raise

        ROUTES.append(Route(path, endpoint, methods=[method]))
        return handler

    return register


TOKEN = "/token"  # noqa: S105 - a path
