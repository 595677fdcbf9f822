"""The product without its example, which is one folder: nothing names its datasets, everything goes on."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from repository import REPOSITORY

from taxiway.cli.main import group
from taxiway.console import examples

# What only the example has, in whatever a user is shown.
TAXIS = re.compile(r"nyc_taxi|yellow|\bzones\b|fhv|\bTLC\b")
CODE = """
from taxiway.airflow.bootstrap import expected_dags
from taxiway.compose.loader import more
from taxiway.docgen import datasets, pipelines
from taxiway.loads.arguments import first_load, next_load, nothing_first
from elt.catalogue.registry import DATASETS, MARTS, PROBLEMS
assert not (DATASETS or MARTS or PROBLEMS), (DATASETS, MARTS, PROBLEMS)
assert first_load() == first_load("2024-01") == []
assert not any(expected_dags().values())
assert [dag.dag_id for dag in pipelines._dags() if dag.tags] == []
print(nothing_first("2024-01"), next_load([]), more(), datasets.page(), sep="\\n")
"""


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what runs, without the folder."""
    folder = tmp_path_factory.mktemp("bare")
    for name in ("plugins", "dags", "dags_local", "infra", "scripts", "airflow", "tests"):
        ignored = shutil.ignore_patterns("nyc_taxi", "__pycache__", "benchmarks")
        shutil.copytree(REPOSITORY / name, folder / name, ignore=ignored)
    for name in ("pyproject.toml", "Pulumi.yaml", "docker-compose.yaml"):
        shutil.copy(REPOSITORY / name, folder)
    return folder


def python(bare: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    paths = [str(bare / name) for name in ("scripts", "plugins", "infra")]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
    return subprocess.run(
        [sys.executable, *arguments], cwd=bare, capture_output=True, text=True, timeout=120,
        env={**environment, "PYTHONPATH": os.pathsep.join(paths), "COLUMNS": "80"},
    )  # fmt: skip


def test_catalogue_dags_and_the_first_load_are_empty_and_say_how_to_begin(bare: Path) -> None:
    done = python(bare, "-c", CODE)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("scripts/new NAME ADDRESS") >= 4
    assert not TAXIS.search(done.stdout)


@pytest.mark.parametrize("words", ["run all 2024-01", "run bikes 2024-01", "run 2024-01", "quarantine bikes"])
def test_a_command_that_needs_a_dataset_says_how_to_add_one(words: str, bare: Path) -> None:
    done = python(bare, "-m", "taxiway", *words.split())
    assert done.returncode in (1, 2)
    assert "scripts/new NAME ADDRESS" in done.stderr
    assert len(done.stderr.splitlines()) <= 3


def test_tests_of_the_example_are_left_out_and_those_of_every_project_run(bare: Path) -> None:
    code = """
from pathlib import Path
from conftest import pytest_ignore_collect
for path in sorted(Path("tests").resolve().iterdir()):
    if path.is_dir() and not pytest_ignore_collect(path):
        print(path.name)
"""
    done = python(bare, "-c", f"import sys; sys.path.insert(0, 'tests'){code}")
    assert done.stdout.split() == ["project"], done.stderr


@pytest.mark.parametrize("name", sorted(group().commands))
def test_help_names_datasets_that_are_there(name: str, tmp_path: Path) -> None:
    text = getattr(group().commands[name], "examples", "")
    shown = examples.named(text, examples.names(tmp_path))
    assert not TAXIS.search(shown)
    assert max(map(len, shown.splitlines()), default=0) <= 80
    assert examples.named(text, examples.names(REPOSITORY / "plugins")) == text


def test_a_users_datasets_take_the_places_of_the_examples(tmp_path: Path) -> None:
    folder = tmp_path / "own" / "datasets"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("ORDER = ()\n")
    (folder / "rides_of_the_city.py").write_text("RIDES = Dataset(\n    first=Month(2024, 1),\n)\n")
    (folder / "stops.py").write_text("STOPS = Dataset(\n)\n")
    known = examples.names(tmp_path)
    assert examples.named("run yellow 2024-01     a month\nTABLE zones   all", known) == (
        "run rides_of_the_city 2024-01  a month\nTABLE stops   all"
    )
