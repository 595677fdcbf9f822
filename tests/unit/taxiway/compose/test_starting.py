"""While the services come up: which of them has given up, and which is only being replaced."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from taxiway.compose import target
from taxiway.compose.project import Project
from taxiway.console.progress import Progress
from taxiway.environment.home import Home, State
from taxiway.errors import TaxiwayError


def container(name: str, state: str, code: int = 0) -> dict[str, Any]:
    return {"ID": name, "Name": name, "Service": "airflow-scheduler", "State": state, "ExitCode": code}


OLD, NEW = container("old", "exited", 1), container("new", "running")


def looks(monkeypatch: pytest.MonkeyPatch, *seen: list[dict[str, Any]]) -> target.Compose:
    """A start that sees these containers, look after look."""
    answers: Iterator[list[dict[str, Any]]] = iter(seen)
    monkeypatch.setattr(target, "POLL_SECONDS", 0)
    monkeypatch.setattr(Project, "containers", lambda _: next(answers))
    monkeypatch.setattr(Project, "last_lines", lambda *_: "  its last words")
    return target.Compose(Home(Path("/nowhere")), State({}), Progress())


def test_a_service_that_has_given_up_is_named_with_its_last_words(monkeypatch: pytest.MonkeyPatch) -> None:
    for fallen in (OLD, container("old", "restarting")):
        with pytest.raises(TaxiwayError, match=r"airflow-scheduler does not stay up(?s:.*)its last words"):
            looks(monkeypatch, [fallen], [fallen])._raise_if_gone()


def test_a_container_that_is_being_replaced_has_not_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    looks(monkeypatch, [OLD], [NEW])._raise_if_gone()
    looks(monkeypatch, [NEW])._raise_if_gone()
