"""Calls, refusals, routes and the state behind them."""

import json
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from taxiway.emulators.serving import google_error, project_number, write_atomically

Json = dict[str, Any]
SEGMENT = {"project": r"[^/:]+(?::[^/:]+)?", "account": r"[^/:]+", "key": r"[^/:]+", "service": r"[^/:]+"}


@dataclass(frozen=True)
class Call:
    """One request: path parameters, query (first values), JSON body, and the address the client used."""

    parameters: dict[str, str]
    query: dict[str, str]
    body: Json
    base: str


class Refused(Exception):  # noqa: N818 (it is an answer, not a fault of the program)
    """An answer with Google's error body."""

    def __init__(self, code: int, message: str, reason: str = "", status: str = "") -> None:
        super().__init__(message)
        self.code, self.body = code, google_error(code, message, reason, status)


class State:
    """All resources in one JSON file, written whole before a change is answered.

    Accounts and their keys (public halves only), policies by full resource name, services by project.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.reload()

    def reload(self) -> None:
        """Take the state as it was last made to last."""
        path = self._path
        kept = json.loads(path.read_text()) if path.exists() else {}
        self.accounts: list[Json] = kept.get("accounts", [])
        self.policies: dict[str, Json] = kept.get("policies", {})
        self.services: dict[str, dict[str, str]] = kept.get("services", {})
        self.operations: dict[str, Json] = kept.get("operations", {})
        self.projects: dict[str, str] = kept.get("projects", {})

    def commit(self) -> None:
        """Make all changes last."""
        names = ("accounts", "policies", "services", "operations", "projects")
        write_atomically(self._path, json.dumps({name: getattr(self, name) for name in names}).encode())

    def project(self, name: str) -> str:
        """Return the id behind a project's id or number, and remember which number is whose.

        Raises Refused 404 for a number that no known project has.
        """
        if name.isdigit():
            if name not in self.projects:
                raise Refused(404, f"Project {name!r} not found or permission denied.")
            return self.projects[name]
        if not re.fullmatch(r"(?:[a-z0-9.]+:)?[a-z][a-z0-9-]{0,29}", name):
            raise Refused(400, f"Invalid project id: {name!r}", "badRequest", "INVALID_ARGUMENT")
        if self.projects.setdefault(project_number(name), name) != name:
            raise Refused(
                409, f"Projects {name!r} and {self.projects[project_number(name)]!r} share a number."
            )
        return name


Handler = Callable[[State, Call], Json]
ROUTES: list[tuple[str, re.Pattern[str], Handler]] = []


def route(method: str, template: str) -> Callable[[Handler], Handler]:
    """Register a handler for `method` on a path like `/crm/v1/projects/{project}:getIamPolicy`."""
    parts = re.split(r"\{(\w+)\}", template)
    fixed = [
        f"(?P<{part}>{SEGMENT.get(part, '[^/:]+')})" if place % 2 else re.escape(part)
        for place, part in enumerate(parts)
    ]

    def register(handler: Handler) -> Handler:
        ROUTES.append((method, re.compile("".join(fixed)), handler))
        return handler

    return register


def finished(state: State, response: Json) -> Json:
    """Return a long-running operation that is done already; the last fifty can be asked for again."""
    name = f"operations/{secrets.token_hex(16)}"
    operation = {"name": name, "done": True, "response": response}
    state.operations = dict([*list(state.operations.items())[-49:], (name, operation)])
    state.commit()
    return operation
