"""Which notebook is opened, how, and what its process is told."""

from __future__ import annotations

from pathlib import Path

import pytest
from repository import REPOSITORY

from elt.catalogue.registry import DATASETS
from taxiway.asking import notebook
from taxiway.cli.main import main
from taxiway.compose.on_demand import SITE
from taxiway.environment.home import Home, State
from taxiway.errors import UsageError
from taxiway.targets.target import Checkout


def test_the_one_starter_is_found_and_none_or_two_are_named(tmp_path: Path) -> None:
    assert notebook.starter(REPOSITORY).name == "first_look.py"
    with pytest.raises(UsageError, match="none"):
        notebook.starter(tmp_path)
    for name in ("a", "b"):
        (tmp_path / "plugins" / name / "notebooks").mkdir(parents=True)
        (tmp_path / "plugins" / name / "notebooks" / "x.py").touch()
    with pytest.raises(UsageError, match=r"plugins/a/notebooks/x\.py, plugins/b/notebooks/x\.py"):
        notebook.starter(tmp_path)


def test_it_listens_here_alone_with_its_token_and_shows_it_to_no_other_process(tmp_path: Path) -> None:
    line = notebook.command_line(tmp_path / "mine.py", None)
    assert line[line.index("--host") + 1] == "127.0.0.1"
    assert {"--token", "--headless"} <= set(line)
    assert not any("password" in word for word in line)


def test_a_new_one_begins_with_rows_and_one_that_is_there_stays(tmp_path: Path) -> None:
    new, old, empty = (tmp_path / name for name in ("new.py", "old.py", "empty.py"))
    old.write_text("mine")
    for file in (new, old):
        notebook.begin(file, DATASETS.values())
    notebook.begin(empty, [])
    assert (
        f'ask("warehouse", "SELECT * FROM {next(iter(DATASETS.values())).table} LIMIT 1000")'
        in new.read_text()
    )
    assert old.read_text() == "mine"
    assert "SELECT 1 AS one LIMIT" in empty.read_text()
    compile(new.read_text(), str(new), "exec")


@pytest.mark.parametrize("file", ["mine.ipynb", "mine", "nowhere/mine.py"])
def test_what_cannot_be_a_notebook_is_refused(tmp_path: Path, file: str) -> None:
    with pytest.raises(UsageError, match="is no notebook"):
        notebook.command_line(tmp_path / file, None)


def test_its_process_has_the_connections_and_nothing_else_of_airflow(tmp_path: Path) -> None:
    stack = {
        "AIRFLOW_CONN_TAXI_POSTGRES": "{}",
        "AIRFLOW__CORE__FERNET_KEY_CMD": "cat x",
        "GCP_PROJECT_ID": "p",
    }
    found = notebook.variables(stack, tmp_path)
    assert {"AIRFLOW_CONN_TAXI_POSTGRES", "GCP_PROJECT_ID"} <= found.keys()
    assert not any(name.startswith("AIRFLOW__") for name in found)
    assert found["PYTHONPATH"] == str(tmp_path / SITE)


@pytest.mark.parametrize(("made", "sentence"), [(False, "no environment here yet"), (True, "does not run")])
def test_without_a_platform_it_says_what_to_start(tmp_path: Path, made, sentence, capsys) -> None:
    if made:
        State({"supervisor": 9, "api-server": 9}).save(Home.of("local", tmp_path))
    assert main(["notebook"], Checkout(tmp_path)) == 1
    said = capsys.readouterr().err
    assert sentence in said
    assert "scripts/up" in said
