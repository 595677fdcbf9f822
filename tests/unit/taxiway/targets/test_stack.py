"""What a stack is evaluated with to estimate its price."""

from __future__ import annotations

from pathlib import Path

import pytest

from taxiway.infrastructure import Endpoints, stackfile
from taxiway.infrastructure.plan import plan
from taxiway.targets.stack import NOWHERE, StackSettings

CLOUD = {"taxiway:project": "acme-data", "taxiway:owner": "alice@example.com", "taxiway:composer": "true"}
LOCAL = {**NOWHERE.config(), "taxiway:project": "taxiway-local", "taxiway:credentials": "anonymous"}


@pytest.fixture(autouse=True)
def settings_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stackfile, "FOLDER", tmp_path)


@pytest.mark.parametrize(("written", "on_emulators"), [({}, True), (LOCAL, True), (CLOUD, False)])
def test_a_stack_is_priced_where_its_settings_say_it_is(written: dict[str, str], on_emulators: bool) -> None:
    if written:
        stackfile.write("alice", written)
    config = StackSettings("alice", "", "cli").configuration()
    assert bool(Endpoints.of_config(config)) is on_emulators
    assert plan("alice", config).resources


def test_the_command_line_says_the_project() -> None:
    stackfile.write("alice", CLOUD)
    config = StackSettings("alice", "other-data", "cli").configuration()
    assert config["taxiway:project"] == "other-data"
    assert not Endpoints.of_config(config)
