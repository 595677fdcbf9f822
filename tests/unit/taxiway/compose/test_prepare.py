"""The first service: owners, folders, the day on which schedules begin."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from taxiway.compose import prepare
from taxiway.errors import PreflightError


def test_a_machine_that_is_too_small_is_told_so_before_anything_starts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(prepare, "memory", lambda: 2 * 2**30)
    assert prepare.main() == 1
    said = capsys.readouterr().err.splitlines()
    assert said[0] == "prepare: Docker has 2.0 GiB of memory, the platform needs 3"
    assert said[1].startswith("prepare: remedy: ")


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
