"""Ports, secrets, files and preflight of a local environment."""

from __future__ import annotations

import base64
import json
import shutil
import socket
import stat
from collections import namedtuple
from pathlib import Path

import psutil
import pytest

from taxiway.environment import ports, preflight
from taxiway.environment import secrets as credentials
from taxiway.environment.files import read_json, write_atomically, write_json
from taxiway.environment.paths import Home
from taxiway.environment.state import State, exclusive
from taxiway.errors import PreflightError, TaxiwayError


def test_a_taken_port_is_replaced_by_the_next_free_one_and_said() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = server.getsockname()[1]
        chosen = ports.choose({"api-server": taken})
        assert chosen["api-server"] > taken
        assert preflight.moved_ports({"api-server": taken}, chosen) == [
            f"port {taken} is taken: api-server uses {chosen['api-server']}"
        ]


def test_two_components_never_get_one_port() -> None:
    chosen = ports.choose({"a": 23000, "b": 23000, "c": 23001})
    assert len(set(chosen.values())) == 3


def test_secrets_are_made_once_and_only_their_owner_reads_them(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    credentials.generate(folder)
    credentials.derive(folder, 5432)
    before = {file.name: file.read_text() for file in folder.iterdir()}
    credentials.generate(folder)
    credentials.derive(folder, 5432)
    assert {file.name: file.read_text() for file in folder.iterdir()} == before
    assert {stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()} == {0o600}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_secrets_have_the_strength_that_airflow_asks_for(tmp_path: Path) -> None:
    credentials.generate(tmp_path)
    assert len(credentials.read(tmp_path, "jwt_secret")) >= 64
    assert len(base64.urlsafe_b64decode(credentials.read(tmp_path, "fernet_key"))) == 32
    assert len({credentials.read(tmp_path, name) for name in credentials.GENERATORS}) == len(
        credentials.GENERATORS
    )


def test_a_write_that_fails_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    file = tmp_path / "state.json"
    write_json(file, {"a": 1})
    with pytest.raises(TypeError):
        write_json(file, {"a": object()})
    with pytest.raises(UnicodeEncodeError):
        write_atomically(file, "\ud800")
    assert json.loads(file.read_text()) == {"a": 1}
    assert list(tmp_path.iterdir()) == [file]


def test_a_missing_file_is_an_empty_object(tmp_path: Path) -> None:
    assert read_json(tmp_path / "none.json") == {}


def test_the_state_is_read_back_as_it_was_saved(tmp_path: Path) -> None:
    home = Home(tmp_path / ".taxiway")
    state = State({"api-server": 8081}, source="http://127.0.0.1:1")
    state.save(home)
    assert State.load(home) == state


def test_a_verb_that_needs_an_environment_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(TaxiwayError, match="no environment") as raised:
        State.require(Home(tmp_path))
    assert "scripts/up" in raised.value.remedy


def test_two_verbs_do_not_change_one_environment_at_once(tmp_path: Path) -> None:
    home = Home(tmp_path / ".taxiway")
    with exclusive(home, "up"), pytest.raises(TaxiwayError, match="another verb"), exclusive(home, "down"):
        pass


def test_too_little_memory_is_said_before_anything_starts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    memory = namedtuple("memory", "available")(2**29)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)
    with pytest.raises(PreflightError, match=r"0\.5 GiB of memory"):
        preflight.check_machine(tmp_path)


def test_too_little_disk_is_said_before_anything_starts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: namedtuple("usage", "free")(2**28))
    with pytest.raises(PreflightError, match=r"0\.2 GiB of disk"):
        preflight.check_machine(tmp_path)
