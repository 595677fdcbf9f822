"""Each thing that is wrong is a line with its remedy, and the others are still checked."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from taxiway.asking.doctor import Finding, examine
from taxiway.cli.main import main
from taxiway.embedded.components import Component
from taxiway.environment.home import Home, State
from taxiway.targets.target import Checkout


@dataclass
class Running:
    """A platform that runs; `ill` are components that do not answer, `stopped` those that are gone."""

    home: Home
    ill: dict[str, str] = field(default_factory=dict)
    stopped: tuple[str, ...] = ()

    def running(self) -> bool:
        return True

    def components(self) -> list[Component]:
        return [Component(name, []) for name in ("scheduler", "gcs")]

    def states(self) -> dict[str, str]:
        return {c.name: "EXITED" if c.name in self.stopped else "RUNNING" for c in self.components()}

    def ailing(self) -> dict[str, str]:
        return self.ill


@dataclass(frozen=True)
class CheckoutOf(Checkout):
    """A checkout in which that runs."""

    found: Any = None

    def platform(self, stack: str, progress: Any = None) -> Any:
        return self.found


def findings(checkout: Checkout, **how: Any) -> dict[str, Finding]:
    given = {"target": None, "project": "", **how}
    return {found.what: found for found in examine(checkout, "local", given["target"], given["project"])}


def test_before_a_first_start_all_that_it_needs_is_checked(tmp_path: Path) -> None:
    found = findings(Checkout(tmp_path))
    assert list(found) == ["Python", "checkout", "datasets", "memory and disk", "ports", "source", "platform"]
    assert found["source"].detail == "generated on this machine"
    assert "scripts/up" in found["platform"].detail


def test_what_a_target_and_a_cloud_need_is_checked_where_they_are_meant(
    tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "nothing"))
    State({"supervisor": 9}, source="http://127.0.0.1:9").save(Home.of("other", tmp_path))
    found = findings(Checkout(tmp_path), target="compose", project="acme-data")
    for name, sentence in (("Docker", "no docker on PATH"), ("pulumi", "no pulumi on PATH")):
        assert not found[name].well
        assert sentence in found[name].detail
        assert found[name].remedy
    assert not found["Google credentials"].well


def test_a_source_that_cannot_be_reached_is_one(tmp_path: Path) -> None:
    State({"supervisor": 9}, source="http://127.0.0.1:9").save(Home.of("local", tmp_path))
    found = findings(Checkout(tmp_path))["source"]
    assert (found.well, found.detail) == (False, "http://127.0.0.1:9 does not answer (ConnectionError)")
    assert "--source sample" in found.remedy


def test_while_something_does_not_answer_no_store_is_waited_for(tmp_path: Path, capsys: Any) -> None:
    home = Home.of("local", tmp_path)
    State({"supervisor": 9}).save(home)
    ill = Running(home, {"scheduler": "does not answer since 12:03:04 UTC"}, ("gcs",))
    found = findings(CheckoutOf(tmp_path, found=ill))
    assert list(found)[3:] == ["scheduler", "gcs", "disk"]
    assert found["scheduler"].detail == "does not answer since 12:03:04 UTC"
    assert found["gcs"].detail == "is exited"
    assert "scripts/logs gcs" in found["gcs"].remedy
    assert main(["doctor"], CheckoutOf(tmp_path, found=ill)) == 1
    shown = capsys.readouterr().out
    assert re.search(r"^✗ scheduler +does not answer since 12:03:04 UTC$", shown, re.MULTILINE)
    assert re.search(r"^✓ disk ", shown, re.MULTILINE)
