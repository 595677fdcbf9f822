"""Which stack a command means: where it is, what it is evaluated with, and its engine."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from taxiway.environment.home import State
from taxiway.errors import PreflightError, TaxiwayError
from taxiway.infrastructure import Endpoints
from taxiway.infrastructure.plan import plan
from taxiway.infrastructure.stackfile import StackFiles
from taxiway.targets.stack import NOWHERE, StackSettings, open_stack
from taxiway.targets.target import Checkout

CLOUD = {"taxiway:project": "acme-data", "taxiway:owner": "alice@example.com", "taxiway:composer": "true"}
LOCAL = {**NOWHERE.config(), "taxiway:project": "taxiway-local", "taxiway:credentials": "anonymous"}


@pytest.mark.parametrize(("written", "on_emulators"), [({}, True), (LOCAL, True), (CLOUD, False)])
def test_a_stack_is_priced_where_its_settings_say_it_is(
    tmp_path: Path, written: dict[str, str], on_emulators: bool
) -> None:
    files = StackFiles(tmp_path)
    if written:
        files.write("alice", written)
    config = StackSettings("alice", "", "cli").configuration(files)
    assert bool(Endpoints.of_config(config)) is on_emulators
    assert plan("alice", config).resources


def test_the_command_line_says_the_project(tmp_path: Path) -> None:
    files = StackFiles(tmp_path)
    files.write("alice", CLOUD)
    config = StackSettings("alice", "other-data", "cli").configuration(files)
    assert config["taxiway:project"] == "other-data"
    assert not Endpoints.of_config(config)


@dataclass
class Engines:
    """Opens engines that do nothing, and remembers which."""

    opened: list[tuple[Any, ...]] = field(default_factory=list)
    there: bool = False

    def open(self, *arguments: Any) -> Any:
        self.opened.append(arguments)
        return self

    def exists(self) -> bool:
        return self.there


def test_up_again_stays_where_the_environment_is(tmp_path: Path) -> None:
    """Nobody has to repeat the project: it is in the stack's settings, the engine in its state."""
    checkout = Checkout(tmp_path, Engines().open)
    checkout.files.write("alice", {"taxiway:project": "acme-data"})
    State({}, engine="cli", emulated=False).save(checkout.home("alice"))
    wanted = StackSettings.wanted(checkout, "alice", "", "", "embedded")
    assert wanted == StackSettings("alice", "acme-data", "cli")


def test_settings_on_google_cloud_alone_do_not_send_an_up_there(tmp_path: Path) -> None:
    """It would cost money: a new environment is on Google Cloud only where the command line says so."""
    checkout = Checkout(tmp_path, Engines().open)
    checkout.files.write("alice", {"taxiway:project": "acme-data"})
    wanted = StackSettings.wanted(checkout, "alice", "", "", "embedded")
    with pytest.raises(TaxiwayError, match=r"Pulumi\.alice\.yaml is a stack on Google Cloud") as raised:
        wanted.check(checkout.files)
    assert "--project acme-data" in raised.value.remedy


def test_the_engine_of_a_stack_on_google_cloud_gets_its_project_and_no_emulator(tmp_path: Path) -> None:
    engines = Engines()
    checkout = Checkout(tmp_path, engines.open)
    checkout.files.write("alice", {"taxiway:project": "acme-data"})
    State({}, engine="cli", emulated=False).save(checkout.home("alice"))
    open_stack(checkout, StackSettings.known(checkout, "alice"))
    name, stack, endpoints, _, config, files = engines.opened[-1]
    assert (name, stack, endpoints) == ("cli", "alice", None)
    assert config == {"taxiway:project": "acme-data"}
    assert files == checkout.files


def test_a_stack_that_pulumi_made_elsewhere_is_not_made_again_on_emulators(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its settings may be in another checkout: a name alone starts nothing here."""
    (tmp_path / "pulumi").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("PULUMI_BACKEND_URL", "file:///elsewhere")
    engines = Engines(there=True)
    with pytest.raises(TaxiwayError, match="the stack dan is one that pulumi made"):
        StackSettings.wanted(Checkout(tmp_path, engines.open), "dan", "", "", "embedded")
    engines.there = False
    assert StackSettings.wanted(Checkout(tmp_path, engines.open), "dan", "", "", "embedded")


@pytest.mark.parametrize("mode", ["impersonation", "key"])
def test_without_credentials_nothing_is_started_on_google_cloud(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    (tmp_path / "pulumi").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    own = tmp_path / "own.json"
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(own))
    files = StackFiles(tmp_path)
    files.write("zoe", {"taxiway:owner": "zoe@example.com", "taxiway:credentials": mode})
    wanted = StackSettings("zoe", "acme-data", "cli")
    with pytest.raises(PreflightError) as raised:
        wanted.check(files)
    assert "gcloud auth application-default login" in raised.value.remedy
    user = {"type": "authorized_user", "client_id": "a", "client_secret": "b", "refresh_token": "c"}
    own.write_text(json.dumps(user))
    wanted.check(files)


def test_emulators_that_do_not_run_are_an_error_with_a_remedy(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path, Engines().open)
    State({"supervisor": 9}).save(checkout.home("local"))
    with pytest.raises(TaxiwayError, match="the emulators of local do not run") as raised:
        open_stack(checkout, StackSettings.known(checkout, "local"))
    assert "scripts/up --stack local" in raised.value.remedy
