"""The first service: secrets, owners, folders, the day on which schedules begin."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from taxiway.compose import prepare
from taxiway.errors import PreflightError

GIB = 2**30


def test_on_a_machine_that_is_too_small_nothing_starts(capsys: pytest.CaptureFixture[str]) -> None:
    assert prepare.main(memory=2 * 2**30) == 1
    printed = capsys.readouterr().err.splitlines()
    assert printed[0] == "prepare: Docker has 2.0 GiB of memory, the platform needs 3"
    assert printed[1].startswith("prepare: remedy: ")


def test_too_little_memory_of_the_engine_is_reported() -> None:
    with pytest.raises(PreflightError, match=r"Docker has 1\.9 GiB of memory"):
        prepare.check_engine({"MemTotal": int(1.9 * GIB)})
    prepare.check_engine({"MemTotal": 4 * GIB, "DockerRootDir": "/on/another/machine"})


def test_too_little_disk_of_the_engine_is_reported(tmp_path: Path) -> None:
    engine = {"MemTotal": 4 * GIB, "DockerRootDir": str(tmp_path)}
    with pytest.raises(PreflightError, match=r"1\.0 GiB of disk are free"):
        prepare.check_engine(engine, free=lambda _: GIB)
    prepare.check_engine(engine, free=lambda _: 100 * GIB)


@pytest.mark.skipif(os.getuid() != 0, reason="only root may look as somebody else")
def test_a_checkout_that_the_services_cannot_read_is_said_with_its_owner(tmp_path: Path) -> None:
    for folder in tmp_path.parents:
        folder.chmod(folder.stat().st_mode | 0o011)
    file = tmp_path / "dags" / "to_lake.py"
    file.parent.mkdir()
    file.touch()
    (file.parent / "__pycache__").mkdir(mode=0o700)
    tmp_path.chmod(0o755)
    prepare.check_readable([file.parent], 54321)
    os.chown(file.parent, 1234, 1234)
    for path, mode in ((file, 0o600), (file.parent, 0o700)):
        path.chmod(mode)
        with pytest.raises(
            PreflightError, match=f"{path} of this checkout cannot be read by uid 54321"
        ) as told:
            prepare.check_readable([file.parent], 54321)
        assert "AIRFLOW_UID=1234" in told.value.remedy


def test_the_day_is_remembered_once(tmp_path: Path) -> None:
    file = tmp_path / "environment"
    prepare.remember_the_day(file)
    assert file.read_text().startswith("TAXI_SCHEDULE_START=20")
    file.chmod(0o644)
    file.write_text("TAXI_SCHEDULE_START=2020-01-01\n")
    prepare.remember_the_day(file)
    assert file.read_text() == "TAXI_SCHEDULE_START=2020-01-01\n"


def test_a_script_is_offered_to_everybody_again_and_again(tmp_path: Path) -> None:
    (tmp_path / "script").write_text("#!/bin/sh\n")
    (tmp_path / "script").chmod(0o600)
    for _ in range(2):
        prepare.offer(tmp_path / "script", tmp_path / "offered")
        assert (tmp_path / "offered").stat().st_mode & 0o777 == 0o555


def test_logs_let_the_containers_group_in_and_nobody_else(tmp_path: Path) -> None:
    prepare.share_logs(tmp_path, os.getuid()) if os.getuid() == 0 else pytest.skip(
        "gives away: only root may"
    )
    status = tmp_path.stat()
    assert (status.st_gid, status.st_mode & 0o7777) == (0, 0o2770)


def test_a_volume_of_another_user_is_given_with_all_that_is_in_it(tmp_path: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("gives away: only root may")
    (tmp_path / "bucket").mkdir()
    (tmp_path / "bucket" / "object").write_text("x")
    (tmp_path / "link").symlink_to("/etc/hostname")
    owner = Path("/etc/hostname").stat().st_uid
    prepare.give(tmp_path, 54321)
    assert {path.lstat().st_uid for path in (tmp_path, *tmp_path.rglob("*"))} == {54321}
    assert Path("/etc/hostname").stat().st_uid == owner


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for audience in (prepare.VAULT, "database", "tokens", "admin", "broker", "taxi", "flower"):
        (tmp_path / audience).mkdir()
    return tmp_path


def laid_out(root: Path) -> dict[str, str]:
    prepare.lay_out(root, prepare.forms(prepare.originals(root / prepare.VAULT)))
    return {str(file.relative_to(root)): file.read_text() for file in root.rglob("*") if file.is_file()}


def test_a_second_time_changes_nothing(root: Path) -> None:
    first = laid_out(root)
    times = {file: file.stat().st_mtime_ns for file in root.rglob("*")}
    assert laid_out(root) == first
    assert {file: file.stat().st_mtime_ns for file in root.rglob("*")} == times


def test_no_two_secrets_and_no_two_environments_are_alike(
    root: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    here = prepare.originals(root / prepare.VAULT)
    there = prepare.originals(tmp_path_factory.mktemp("other"))
    assert len({*here.values(), *there.values()}) == 2 * len(here)
    assert all(len(secret) >= 32 for secret in here.values())
    assert len(here["jwt_secret"].encode()) >= 64


def test_what_a_kill_left_half_way_is_completed(root: Path) -> None:
    first = laid_out(root)
    (root / "database" / "metadata_dsn").unlink()
    (root / "broker" / "broker_url").chmod(0o600)
    (root / "broker" / "broker_url").write_text("redis://half")
    assert laid_out(root) == first


def test_a_files_group_may_read_it_and_nobody_else(root: Path) -> None:
    laid_out(root)
    modes = {oct(file.stat().st_mode & 0o777) for file in root.rglob("*") if file.is_file()}
    assert modes == {"0o440", "0o400"}
    originals = {oct(file.stat().st_mode & 0o777) for file in (root / prepare.VAULT).iterdir()}
    assert originals == {"0o400"}


def test_workers_read_no_secret_of_airflows_own(root: Path) -> None:
    laid_out(root)
    worker = "".join(
        f.read_text() for audience in ("broker", "taxi", "emulator") for f in (root / audience).iterdir()
    )
    vault = {file.name: file.read_text() for file in (root / prepare.VAULT).iterdir()}
    assert {name for name, secret in vault.items() if secret in worker} == {
        "emulator_token",
        "redis_password",
        "taxi_database_password",
    }
