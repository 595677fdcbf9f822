"""What has to be true of a machine before containers are started on it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from taxiway.compose import preflight
from taxiway.errors import PreflightError

GIB = 2**30


def test_too_little_memory_of_the_engine_is_reported() -> None:
    with pytest.raises(PreflightError, match=r"Docker has 1\.9 GiB of memory"):
        preflight.check_engine({"MemTotal": int(1.9 * GIB)})
    preflight.check_engine({"MemTotal": 4 * GIB, "DockerRootDir": "/on/another/machine"})


def test_too_little_disk_of_the_engine_is_reported(tmp_path: Path) -> None:
    engine = {"MemTotal": 4 * GIB, "DockerRootDir": str(tmp_path)}
    with pytest.raises(PreflightError, match=r"1\.0 GiB of disk are free"):
        preflight.check_engine(engine, free=lambda _: GIB)
    preflight.check_engine(engine, free=lambda _: 100 * GIB)


@pytest.mark.parametrize(
    "source", ["http://127.0.0.1:8000", "http://localhost:8000/x", "http://0.0.0.0:8000"]
)
def test_a_source_on_this_machines_loopback_is_refused_with_the_address_that_works(source: str) -> None:
    with pytest.raises(PreflightError, match="cannot reach") as raised:
        preflight.check_source(source)
    assert "http://host.docker.internal:8000" in raised.value.remedy


@pytest.mark.parametrize("source", ["sample", "https://example.com/tlc", "http://host.docker.internal:8000"])
def test_any_other_source_is_accepted(source: str) -> None:
    preflight.check_source(source)


def test_a_checkout_that_the_containers_cannot_read_is_refused(tmp_path: Path) -> None:
    for name in preflight.SHARED:
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text("")
    preflight.check_readable(tmp_path, 54321)
    (tmp_path / "dags" / "file").chmod(0o600)
    with pytest.raises(PreflightError, match=r"dags/file cannot be read by uid 54321"):
        preflight.check_readable(tmp_path, 54321)
    preflight.check_readable(tmp_path, os.getuid())
