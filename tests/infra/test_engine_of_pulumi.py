"""What the engine makes of Pulumi's automation interface: what it asks for, and in which order."""

import pytest
from pulumi import automation
from pulumi.automation._cmd import CommandResult

from taxiway.infrastructure import (
    EngineError,
    StackNotRemovedError,
    backend,
    cli,
    open_engine,
    stackfile,
    teardown,
)
from taxiway.infrastructure.cli import CliEngine

SETTINGS = "config:\n  taxiway:owner: a@example.com # mine\n  taxiway:project: acme-data\n"


class Pulumi:
    """A backend with its stacks by name, each with what it holds; and what is left in the cloud."""

    env_vars: dict = {}  # noqa: RUF012 - the workspace's own, always empty

    def __init__(self):
        self.stacks = {}
        self.left = []
        self.locked = False

    def select(self, name, _workspace):
        if name not in self.stacks:
            raise automation.StackNotFoundError(CommandResult("", f"no stack named '{name}' found", 255))
        return Stack(self, name)

    def create(self, name, _workspace):
        self.stacks[name] = []
        return Stack(self, name)

    def remove_stack(self, name, force):
        assert force
        del self.stacks[name]
        stackfile.remove(name)


class Stack:
    """One stack of the backend."""

    def __init__(self, pulumi, name):
        self.pulumi = pulumi
        self.name = name

    def preview(self, **_):
        assert self.name in self.pulumi.stacks

    def export_stack(self):
        resources = [{"type": "x", "inputs": {}} for _ in self.pulumi.stacks[self.name]]
        return automation.Deployment(version=3, deployment={"resources": resources})

    def destroy(self, **_):
        if self.pulumi.locked:
            raise automation.ConcurrentUpdateError(CommandResult("", "is locked by bob@elsewhere (pid 1)", 1))
        self.pulumi.stacks[self.name] = []


@pytest.fixture
def pulumi(monkeypatch, tmp_path):
    pulumi = Pulumi()
    monkeypatch.setattr(stackfile, "FOLDER", tmp_path / "stacks")
    monkeypatch.setattr(backend, "environment", lambda *_, **__: {})
    monkeypatch.setattr(cli.shutil, "which", lambda _: "/bin/pulumi")
    monkeypatch.setattr(cli.automation, "LocalWorkspace", lambda **_: pulumi)
    monkeypatch.setattr(cli.automation, "Stack", pulumi)
    monkeypatch.setattr(CliEngine, "leftovers", lambda _: pulumi.left)
    return pulumi


@pytest.fixture
def engine(pulumi, tmp_path):
    return lambda **changes: open_engine("cli", "alice", None, tmp_path, changes)


def settings(text=SETTINGS):
    stackfile.FOLDER.mkdir(exist_ok=True)
    stackfile.path_of("alice").write_text(text)
    return stackfile.path_of("alice")


def test_a_preview_makes_no_stack_and_keeps_the_settings(engine, pulumi):
    path = settings()
    assert engine(**{"taxiway:location": "EU"}).preview() == []
    assert pulumi.stacks == {}
    assert path.read_text() == SETTINGS
    pulumi.stacks["alice"] = ["bucket"]
    engine(**{"taxiway:location": "EU"}).preview()
    assert pulumi.stacks == {"alice": ["bucket"]}
    assert path.read_text() == SETTINGS


def test_a_preview_with_a_wrong_setting_makes_none_either(engine, pulumi):
    path = settings()
    with pytest.raises(EngineError, match="taxiway:location is 'mars'"):
        engine(**{"taxiway:location": "mars"}).preview()
    assert pulumi.stacks == {}
    assert path.read_text() == SETTINGS


def test_a_stack_and_its_settings_go_once_nothing_is_left(engine, pulumi):
    path = settings()
    pulumi.stacks["alice"], pulumi.left = ["bucket"], ["soft-deleted bucket"]
    for _ in range(2):
        with pytest.raises(StackNotRemovedError, match="left something behind: soft-deleted bucket"):
            teardown.destroy(engine())
        assert pulumi.stacks == {"alice": []}
        assert path.exists()
    pulumi.left = []
    teardown.destroy(engine())
    assert pulumi.stacks == {}
    assert not path.exists()
    assert teardown.destroy(engine()) == []


def test_a_protected_stack_is_neither_destroyed_nor_forgotten(engine, pulumi):
    settings(f"{SETTINGS}  taxiway:ephemeral: false\n")
    pulumi.stacks["alice"] = ["bucket"]
    for end in (engine().destroy, engine().forget):
        with pytest.raises(StackNotRemovedError, match="is protected, so nothing of it is removed"):
            end()
    assert pulumi.stacks == {"alice": ["bucket"]}


def test_a_locked_stack_stands_and_the_command_is_said(engine, pulumi):
    settings()
    pulumi.stacks["alice"], pulumi.locked = ["bucket"], True
    with pytest.raises(StackNotRemovedError, match="Stack alice is locked by another update") as refused:
        teardown.destroy(engine())
    assert refused.value.remedy.endswith("pulumi cancel --yes --stack alice")
    assert pulumi.stacks == {"alice": ["bucket"]}
