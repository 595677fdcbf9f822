"""`down` may be interrupted anywhere: called again it finishes, and nothing is left."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from taxiway.cli.main import INTERRUPTED, main
from taxiway.environment.home import Home, State, write_atomically, write_json
from taxiway.infrastructure.stackfile import StackFiles
from taxiway.targets.target import Checkout

REMOVALS = ("os.remove", "os.rmdir")


class Interruption:
    """Ends the command at the step that the test says; counts the steps that were passed."""

    def __init__(self) -> None:
        self.passed, self.at = 0, 0

    def step(self) -> None:
        if self.at:
            self.passed += 1
            if self.passed == self.at:
                raise KeyboardInterrupt


interruption = Interruption()


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    # Not what the test itself, or pytest beside it, removes.
    if event in REMOVALS and interruption.at and "taxiway" in str(arguments[0]):
        interruption.step()


# A hook stays for the life of the interpreter: it does what the test at hand says, or nothing.
sys.addaudithook(_audit)


@dataclass
class Cloud:
    """An engine, and what it has on Google Cloud of the stack that it was opened for."""

    files: StackFiles
    there: list[str] = field(default_factory=lambda: ["bucket lake", "service account pipelines"])
    stays: list[str] = field(default_factory=list)
    known: bool = True
    opened: list[tuple[Any, ...]] = field(default_factory=list)

    def open(self, *arguments: Any) -> Cloud:
        self.opened.append(arguments)
        return self

    def exists(self) -> bool:
        return self.known

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
        self.files.remove("alice")  # as `pulumi stack rm` does

    def leftovers(self) -> list[str]:
        interruption.step()
        return self.there + self.stays


WRITTEN = ("google_credentials", "google_own_credentials", "google_reader_credentials")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "taxiway"
    made.mkdir()
    return made


def alice(folder: Path) -> Cloud:
    """Make alice's environment, its Airflow stopped, her stack on Google Cloud."""
    home = Home.of("alice", folder)
    State({"supervisor": 9001}, emulated=False, engine="cli").save(home)
    files = Checkout(folder).files
    files.write("alice", {"taxiway:project": "acme-data"})
    write_atomically(home.secrets / "admin_password", "x")
    write_json(home.engine / "passphrase", {})
    write_atomically(folder / ".env", "TAXIWAY_STACK=alice\n")
    for name in WRITTEN:
        write_atomically(folder / name, "{}")
    return Cloud(files)


def down(folder: Path, cloud: Cloud) -> int:
    return main(["down", "--stack", "alice"], Checkout(folder, cloud.open))


def files(folder: Path) -> list[str]:
    paths = (str(path.relative_to(folder)) for path in folder.rglob("*"))
    return sorted(path for path in paths if path not in ("infra", "infra/stacks"))


def test_down_removes_the_stack_and_its_files(folder: Path, capsys: Any) -> None:
    cloud = alice(folder)
    assert down(folder, cloud) == 0
    assert cloud.there == files(folder) == []
    assert not cloud.known
    name, stack, endpoints, _folder, config, _files = cloud.opened[0]
    assert (name, stack, endpoints, config) == ("cli", "alice", None, {"taxiway:project": "acme-data"})
    shown = capsys.readouterr().out
    assert all(thing in shown for thing in ("bucket lake", ".env", "google_credentials", "Nothing is left."))


def test_down_is_continued_wherever_it_was_interrupted(folder: Path) -> None:
    for at in range(1, 100):
        cloud = alice(folder)
        interruption.passed, interruption.at = 0, at
        code = down(folder, cloud)
        interruption.at = 0
        if code == 0:
            break
        assert code == INTERRUPTED
        assert down(folder, cloud) == 0, f"after step {at}"
        assert cloud.there == files(folder) == [], f"after step {at}"
    assert at > 10


def test_down_fails_with_the_list_of_what_the_cloud_still_has(folder: Path, capsys: Any) -> None:
    cloud = alice(folder)
    cloud.stays = ["soft-deleted bucket lake"]
    assert down(folder, cloud) == 1
    assert "left something behind: soft-deleted bucket lake" in capsys.readouterr().err
    assert State.load(Home.of("alice", folder))
    assert cloud.known
    cloud.stays = []
    assert down(folder, cloud) == 0
    assert files(folder) == []


def test_a_stack_that_there_is_not_is_named(folder: Path, capsys: Any) -> None:
    assert main(["down", "--stack", "nobody"], Checkout(folder)) == 0
    assert "no environment of the stack nobody here: nothing to remove" in capsys.readouterr().out


def test_down_leaves_what_env_wrote_for_another_stack(folder: Path) -> None:
    cloud = alice(folder)
    write_atomically(folder / ".env", "TAXIWAY_STACK=bob\n")
    assert down(folder, cloud) == 0
    assert files(folder) == [".env", *WRITTEN]


def test_a_stack_of_pulumis_is_not_reported_as_nothing_if_no_pulumi_can_be_asked(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    stack_files = Checkout(folder).files
    stack_files.write("alice", {"taxiway:project": "acme-data"})
    assert down(folder, Cloud(stack_files)) == 1
    assert "Pulumi.alice.yaml is a stack of Pulumi's, and there is no pulumi" in capsys.readouterr().err
    stack_files.remove("alice")
    assert down(folder, Cloud(stack_files)) == 0


def test_down_removes_what_env_wrote_for_a_stack_that_pulumi_has_removed(folder: Path, capsys: Any) -> None:
    """After `pulumi destroy --remove` there is neither stack nor settings; the proof is made."""
    written = "TAXIWAY_STACK=alice\nGCP_PROJECT_ID=acme-data\nGCP_GCS_BUCKET=acme-lake\nEMULATORS_OFF=1\n"
    write_atomically(folder / ".env", written)
    write_atomically(folder / "google_credentials", "{}")
    cloud = Cloud(Checkout(folder).files, there=[], stays=["bucket acme-lake"], known=False)
    assert down(folder, cloud) == 1
    assert "left something behind: bucket acme-lake" in capsys.readouterr().err
    assert files(folder) == [".env", "google_credentials"]
    cloud.stays = []
    assert down(folder, cloud) == 0
    assert files(folder) == []
    assert cloud.opened[-1][4] == {"taxiway:project": "acme-data", "taxiway:bucket": "acme-lake"}
    assert "google_credentials" in capsys.readouterr().out


def test_down_reads_the_state_of_any_release(folder: Path) -> None:
    cloud = alice(folder)
    home = Home.of("alice", folder)
    stored: dict[str, Any] = {"version": 9, "ports": {"supervisor": 9001}, "emulated": False, "new": [1]}
    write_json(home.state, stored)
    assert down(folder, cloud) == 0
    assert cloud.there == files(folder) == []
