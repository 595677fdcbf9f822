"""While the services come up: which of them has given up, and which is only being replaced."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from taxiway.compose.project import Docker
from taxiway.compose.target import Compose, check_source
from taxiway.console.progress import Progress
from taxiway.environment.home import Home, State
from taxiway.errors import PreflightError, TaxiwayError


def container(name: str, state: str, code: int = 0) -> dict[str, Any]:
    return {"ID": name, "Name": name, "Service": "airflow-scheduler", "State": state, "ExitCode": code}


OLD, NEW = container("old", "exited", 1), container("new", "running")


class Engine(Docker):
    """An engine that lists other containers at each scan, and whose logs have one line."""

    def __init__(self, *scans: list[dict[str, Any]]) -> None:
        super().__init__()
        object.__setattr__(self, "scans", list(scans))

    scans: list[list[dict[str, Any]]]

    def run(self, *arguments: str, seconds: float = 0, **options: Any) -> subprocess.CompletedProcess[str]:
        listed = "\n".join(map(json.dumps, self.scans.pop(0))) if "ps" in arguments else "its last words"
        return subprocess.CompletedProcess(arguments, 0, listed, "")


def starting(*scans: list[dict[str, Any]]) -> Compose:
    """A start that sees these containers, scan after scan."""
    home = Home(Path("/nowhere/.taxiway/local"))
    return Compose(home, State({}), Progress(), Engine(*scans), poll_seconds=0)


def test_a_service_that_has_given_up_is_named_with_its_last_words() -> None:
    for fallen in (OLD, container("old", "restarting")):
        with pytest.raises(TaxiwayError, match=r"airflow-scheduler does not stay up(?s:.*)its last words"):
            starting([fallen], [fallen])._raise_if_gone()


def test_a_container_that_is_being_replaced_has_not_given_up() -> None:
    starting([OLD], [NEW])._raise_if_gone()
    starting([NEW])._raise_if_gone()


@pytest.mark.parametrize(
    "source", ["http://127.0.0.1:8000", "http://localhost:8000/x", "http://0.0.0.0:8000"]
)
def test_a_source_on_this_machines_loopback_is_refused_with_the_address_that_works(source: str) -> None:
    with pytest.raises(PreflightError, match="cannot reach") as raised:
        check_source(source)
    assert "http://host.docker.internal:8000" in raised.value.remedy


@pytest.mark.parametrize("source", ["sample", "https://example.com/tlc", "http://host.docker.internal:8000"])
def test_any_other_source_is_accepted(source: str) -> None:
    check_source(source)
