"""Pulumi alone makes a stack, as a platform engineer would; the commands take it as they find it."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import emulators as emulated
import pytest
import requests

from taxiway.environment.home import REPOSITORY
from taxiway.infrastructure import Endpoints

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.long,
    pytest.mark.pulumi,
    pytest.mark.emulators,
    pytest.mark.skipif(not shutil.which("pulumi"), reason="pulumi is not on PATH"),
]
OWNER = "alice@example.com"
SETTINGS = {"taxiway:project": "acme-data", "taxiway:credentials": "key", "taxiway:owner": OWNER}
BUCKET = "acme-data-taxiway-alice"


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[emulated.Emulators]:
    with emulated.running(tmp_path_factory.mktemp("emulators")) as running:
        yield running


@pytest.fixture(scope="module", autouse=True)
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A backend that the engineer chose, with a passphrase of their own; `uv` is on their PATH."""
    folder = tmp_path_factory.mktemp("backend")
    (folder / "passphrase").write_text("correct horse")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", str(REPOSITORY / ".tools" / "uv" / "bin"), prepend=os.pathsep)
        patch.delenv("PULUMI_CONFIG_PASSPHRASE", raising=False)
        patch.setenv("PULUMI_BACKEND_URL", f"file://{folder}")
        patch.setenv("PULUMI_CONFIG_PASSPHRASE_FILE", str(folder / "passphrase"))
        yield folder


@pytest.fixture(scope="module")
def stack(checkout: Any, cloud: emulated.Emulators) -> Iterator[Any]:
    """The stack alice, made by Pulumi alone; takes words for `pulumi`, returns what it printed."""

    def pulumi(*words: str) -> str:
        done = subprocess.run(
            ["pulumi", *words, "--non-interactive"], cwd=checkout.folder, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    endpoints = Endpoints(cloud.storage_url, cloud.bigquery_url, cloud.control_plane_url).config()
    del endpoints["gcp:batching"]  # not a word, and it saves no more than time
    pulumi("stack", "init", "alice")
    for key, value in {**SETTINGS, **endpoints}.items():
        pulumi("config", "set", key, value)
    pulumi("up", "--yes", "--skip-preview", "--policy-pack", "infra/policy")
    yield pulumi
    subprocess.run(
        ["pulumi", "destroy", "--yes", "--stack", "alice"], cwd=checkout.folder, capture_output=True
    )


def test_env_takes_the_selected_stack_and_compose_its_names(stack: Any, checkout: Any) -> None:
    checkout.command("env")
    written = (checkout.folder / ".env").read_text()
    assert "TAXIWAY_STACK=alice\n" in written
    assert f"GCP_GCS_BUCKET={BUCKET}\n" in written
    key = checkout.folder / "google_credentials"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert "PRIVATE KEY" in key.read_text()
    assert "PRIVATE KEY" not in written + checkout.command("env", "--print").stdout


def test_the_state_holds_the_key_encrypted_alone(stack: Any, checkout: Any, backend: Path) -> None:
    body = (checkout.folder / "google_credentials").read_text().split("\\n")[1]
    kept = [*backend.rglob("*.json"), checkout.folder / "infra" / "stacks" / "Pulumi.alice.yaml"]
    assert len(body) > 60
    assert len(kept) > 2
    assert all(body not in path.read_text() for path in kept)


def test_drift_names_a_label_that_was_changed_and_pulumi_puts_it_back(
    stack: Any, checkout: Any, cloud: emulated.Emulators
) -> None:
    assert "Nothing has drifted" in checkout.command("drift", "--stack", "alice").stdout
    url = f"{cloud.storage_url}/storage/v1/b/{BUCKET}"
    requests.patch(url, json={"labels": {"taxiway-owner": "mallory"}}, timeout=10).raise_for_status()
    drifted = checkout.command("drift", "--stack", "alice", code=5).stdout
    assert f"bucket {BUCKET}" in drifted
    assert "taxiway-owner" in drifted
    stack("up", "--yes", "--skip-preview", "--refresh")
    assert "Nothing has drifted" in checkout.command("drift", "--stack", "alice").stdout
    assert "Nothing would change" in checkout.command("preview", "--stack", "alice").stdout


def test_a_stack_that_is_not_there_has_not_drifted_but_is_said(stack: Any, checkout: Any) -> None:
    assert "there is no stack nobody" in checkout.command("drift", "--stack", "nobody", code=1).stderr


def test_stacks_lists_it_and_selects_no_other(stack: Any, checkout: Any) -> None:
    stack("stack", "init", "bob", "--no-select")
    shown = checkout.command("stacks").stdout
    assert OWNER in shown
    assert "bob" in shown
    assert stack("stack", "--show-name").strip() == "alice"
    stack("stack", "rm", "bob", "--yes")


def test_a_stale_lock_is_said_with_the_command_that_clears_it(
    stack: Any, checkout: Any, backend: Path
) -> None:
    folder = backend / ".pulumi" / "locks" / "organization" / "taxiway" / "alice"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "held.json").write_text(
        '{"pid": 1, "username": "bob", "hostname": "elsewhere", "timestamp": "2026-01-01T00:00:00Z"}'
    )
    refused = checkout.command("down", "--stack", "alice", code=1).stderr
    assert "Stack alice is locked by another update" in refused
    remedy = refused.split("If none is running: ")[1].splitlines()[0]
    subprocess.run(remedy, shell=True, check=True, cwd=checkout.folder, capture_output=True)
    assert not list(folder.iterdir())


def test_down_takes_it_away_with_its_files(stack: Any, checkout: Any, cloud: emulated.Emulators) -> None:
    done = checkout.command("down", "--stack", "alice").stdout
    assert f"bucket {BUCKET}" in done
    assert "Nothing is left." in done
    assert requests.get(f"{cloud.storage_url}/storage/v1/b/{BUCKET}", timeout=10).status_code == 404
    assert not (checkout.folder / ".env").exists()
    assert not (checkout.folder / "google_credentials").exists()
    assert not (checkout.folder / ".taxiway").exists()
    assert "alice" not in stack("stack", "ls")
    assert "nothing to remove" in checkout.command("down", "--stack", "alice").stdout


def test_an_engineer_without_a_passphrase_is_asked_for_one(
    stack: Any, checkout: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PULUMI_CONFIG_PASSPHRASE_FILE")
    refused = checkout.command("env", "alice", code=1).stderr
    assert "are encrypted with a passphrase, and none is set" in refused
    assert "PULUMI_CONFIG_PASSPHRASE_FILE" in refused
    assert os.environ["PULUMI_BACKEND_URL"] in refused
