"""`down` may be interrupted anywhere: called again it finishes, and nothing is left."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from taxiway.cli.commands import down
from taxiway.environment import paths
from taxiway.environment.files import write_atomically, write_json
from taxiway.environment.paths import Home
from taxiway.environment.state import State
from taxiway.errors import TaxiwayError
from taxiway.infrastructure import stackfile
from taxiway.targets import stack

REMOVALS = ("os.remove", "os.rmdir")
interruption = SimpleNamespace(step=lambda: None)


def _audit(event: str, _arguments: Any) -> None:
    if event in REMOVALS:
        interruption.step()


# A hook stays for the life of the interpreter: it does what the test at hand says, or nothing.
sys.addaudithook(_audit)


class Cloud:
    """One stack on Google Cloud, seen through the engine that a verb opens."""

    def __init__(self) -> None:
        self.there = ["bucket lake", "service account pipelines"]
        self.stays: list[str] = []
        self.known = True

    def destroy(self) -> list[str]:
        gone = []
        while self.there:
            interruption.step()
            gone.append(self.there.pop())
        interruption.step()
        return gone

    def forget(self) -> None:
        interruption.step()
        self.known = False

    def leftovers(self) -> list[str]:
        interruption.step()
        return self.there + self.stays


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(paths, "ENVIRONMENTS", tmp_path / ".taxiway")
    monkeypatch.setattr(down, "REPOSITORY", tmp_path)
    monkeypatch.setattr(stackfile, "FOLDER", tmp_path / "stacks")
    return tmp_path


@pytest.fixture
def alice(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Cloud]:
    """Make alice's environment, its Airflow stopped; returns what there is of it on Google Cloud."""

    def make() -> Cloud:
        home, cloud = Home.of("alice"), Cloud()

        @contextmanager
        def open_stack(wanted: stack.StackSettings) -> Iterator[Cloud]:
            assert (wanted.name, wanted.project, wanted.engine) == ("alice", "acme-data", "cli")
            yield cloud

        monkeypatch.setattr(down, "open_stack", open_stack)
        State({"supervisor": 9001}, stack="alice", project="acme-data", engine="cli").save(home)
        write_atomically(home.secrets / "admin_password", "x")
        write_json(home.engine / "passphrase", {})
        write_atomically(checkout / ".env", "TAXIWAY_STACK=alice\n")
        write_atomically(checkout / "google_credentials", "{}")
        return cloud

    return make


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_down_removes_the_stack_and_its_files(checkout: Path, alice: Any, capsys: Any) -> None:
    cloud = alice()
    assert down.main(["--stack", "alice"]) == 0
    assert cloud.there == files(checkout) == []
    assert not cloud.known
    shown = capsys.readouterr().out
    assert all(thing in shown for thing in ("bucket lake", ".env", "google_credentials", "Nothing is left."))


def test_down_is_continued_wherever_it_was_interrupted(
    checkout: Path, alice: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def step() -> None:
        nonlocal passed
        passed += 1
        if passed == interrupted:
            raise KeyboardInterrupt

    for interrupted in range(1, 100):
        cloud, passed = alice(), 0
        monkeypatch.setattr(interruption, "step", step)
        try:
            down.main(["--stack", "alice"])
        except KeyboardInterrupt:
            assert down.main(["--stack", "alice"]) == 0
            assert cloud.there == files(checkout) == [], f"after step {interrupted}"
        else:
            break
        finally:
            monkeypatch.setattr(interruption, "step", lambda: None)
    assert interrupted > 10


def test_down_fails_with_the_list_of_what_the_cloud_still_has(checkout: Path, alice: Any) -> None:
    cloud = alice()
    cloud.stays = ["soft-deleted bucket lake"]
    with pytest.raises(TaxiwayError, match="left something behind: soft-deleted bucket lake"):
        down.main(["--stack", "alice"])
    assert State.load(Home.of("alice"))
    assert cloud.known
    cloud.stays = []
    assert down.main(["--stack", "alice"]) == 0
    assert files(checkout) == []


def test_down_leaves_what_env_wrote_for_another_stack(checkout: Path, alice: Any) -> None:
    alice()
    write_atomically(checkout / ".env", "TAXIWAY_STACK=bob\n")
    assert down.main(["--stack", "alice"]) == 0
    assert files(checkout) == [".env", "google_credentials"]


def test_a_stack_of_pulumis_is_not_said_to_be_nothing_where_no_pulumi_can_be_asked(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    stackfile.write("alice", {"taxiway:project": "acme-data"})
    with pytest.raises(
        TaxiwayError, match=r"Pulumi\.alice\.yaml is a stack of Pulumi's, and there is no pulumi"
    ):
        down.main(["--stack", "alice"])
    stackfile.remove("alice")
    assert down.main(["--stack", "alice"]) == 0
