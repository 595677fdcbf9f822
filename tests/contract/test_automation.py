"""What forks and bots run: the workflow calls README's commands, Renovate finds every version there is."""

from __future__ import annotations

import json
import re
import tomllib

import pytest
import yaml
from repository import REPOSITORY

WORKFLOW = yaml.safe_load((REPOSITORY / ".github" / "workflows" / "ci.yml").read_text())
RENOVATE = json.loads((REPOSITORY / "renovate.json").read_text())


def test_a_fork_runs_what_ci_runs() -> None:
    job = WORKFLOW["jobs"]["run"]
    of_the_fork = {f"scripts/{command}" for command in job["strategy"]["matrix"]["command"]}
    parts = re.findall(r"^part (.+)$", (REPOSITORY / ".ci" / "run").read_text(), re.MULTILINE)
    assert of_the_fork == {part for part in parts if part.startswith("scripts/")}
    assert job["steps"][-1]["run"] == "scripts/${{ matrix.command }}"
    assert WORKFLOW["permissions"] == {"contents": "read"}


@pytest.mark.parametrize(
    "file", ["scripts/_bootstrap.py", "airflow/Dockerfile", "scripts/taxiway/emulators/Dockerfile"]
)
def test_uv_is_installed_by_the_hashes_of_the_lock(file: str) -> None:
    text = (REPOSITORY / file).read_text()
    assert "uv.txt" in text
    assert "--require-hashes" in text
    assert "uv==" not in text
    locked = (REPOSITORY / "scripts" / "uv.txt").read_text()
    assert re.fullmatch(r"uv==[\d.]+( \\\n    --hash=sha256:[0-9a-f]{64})+\n", locked)


def test_renovate_leaves_the_bounds_of_what_is_patched_to_people() -> None:
    page = (REPOSITORY / "docs" / "decisions" / "0006-patches-of-foreign-code.md").read_text()
    patched = set(re.findall(r"^\| ([a-z-]+) \| `", page, re.MULTILINE)) - {"apache-airflow"}
    assert {*RENOVATE["packageRules"][0]["matchPackageNames"]} == patched


def test_what_is_built_here_is_built_by_the_uv_that_installs_it() -> None:
    version = re.match(r"uv==(\d+\.\d+)", (REPOSITORY / "scripts" / "uv.txt").read_text())
    assert version
    for file in REPOSITORY.glob("*/pyproject.toml"):
        requires = tomllib.loads(file.read_text())["build-system"]["requires"]
        assert all(text.startswith(f"uv_build>={version[1]}") for text in requires), file
