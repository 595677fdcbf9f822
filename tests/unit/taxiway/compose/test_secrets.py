"""Secrets of the compose target: made once, laid out by who may read them."""

from __future__ import annotations

from pathlib import Path

import pytest

from taxiway.compose import secrets


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for audience in (secrets.VAULT, "database", "tokens", "admin", "broker", "taxi", "flower"):
        (tmp_path / audience).mkdir()
    return tmp_path


def laid_out(root: Path) -> dict[str, str]:
    secrets.lay_out(root, secrets.forms(secrets.originals(root / secrets.VAULT)))
    return {str(file.relative_to(root)): file.read_text() for file in root.rglob("*") if file.is_file()}


def test_a_second_time_changes_nothing(root: Path) -> None:
    first = laid_out(root)
    times = {file: file.stat().st_mtime_ns for file in root.rglob("*")}
    assert laid_out(root) == first
    assert {file: file.stat().st_mtime_ns for file in root.rglob("*")} == times


def test_no_two_secrets_and_no_two_environments_are_alike(
    root: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    here = secrets.originals(root / secrets.VAULT)
    there = secrets.originals(tmp_path_factory.mktemp("other"))
    assert len({*here.values(), *there.values()}) == 2 * len(here)
    assert all(len(secret) >= 32 for secret in here.values())
    assert len(here["jwt_secret"].encode()) >= 64


def test_what_a_kill_left_half_way_is_completed(root: Path) -> None:
    first = laid_out(root)
    (root / "database" / "metadata_dsn").unlink()
    (root / "broker" / "broker_url").chmod(0o600)
    (root / "broker" / "broker_url").write_text("redis://half")
    (root / "taxi" / ".password").write_text("half of a write")
    assert {**laid_out(root), "taxi/.password": ""} == {**first, "taxi/.password": ""}


def test_a_files_group_may_read_it_and_nobody_else(root: Path) -> None:
    laid_out(root)
    modes = {oct(file.stat().st_mode & 0o777) for file in root.rglob("*") if file.is_file()}
    assert modes == {"0o440", "0o400"}
    originals = {oct(file.stat().st_mode & 0o777) for file in (root / secrets.VAULT).iterdir()}
    assert originals == {"0o400"}


def test_workers_read_no_secret_of_airflows_own(root: Path) -> None:
    laid_out(root)
    worker = "".join(f.read_text() for audience in ("broker", "taxi") for f in (root / audience).iterdir())
    vault = {file.name: file.read_text() for file in (root / secrets.VAULT).iterdir()}
    assert {name for name, secret in vault.items() if secret in worker} == {
        "redis_password",
        "taxi_database_password",
    }
