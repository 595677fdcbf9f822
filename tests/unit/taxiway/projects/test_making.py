"""scripts/init: a project is whole or not there, speaks of no taxi, and takes what is new in Taxiway."""

from __future__ import annotations

import fcntl
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from repository import copy_working_tree

from taxiway.cli.main import main
from taxiway.errors import TaxiwayError, UsageError
from taxiway.projects import making
from taxiway.projects.repository import git
from taxiway.targets.target import Checkout

TAXIS = re.compile(r"nyc_taxi|yellow|\bzones\b|fhv|\bTLC\b|taxi trips|New York", re.IGNORECASE)
WHO = ("-c", "user.name=somebody", "-c", "user.email=somebody@example.com")
CSV = "started_at,minutes\n2024-01-01 08:10:00,12\n2024-01-09 18:00:00,3\n"


def commit(folder: Path, message: str) -> str:
    git(folder, "add", "-A")
    git(folder, *WHO, "commit", "-q", "--no-verify", "-m", message)
    return git(folder, "rev-parse", "HEAD")


def files(folder: Path) -> set[str]:
    return set(git(folder, "ls-files").splitlines())


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone of Taxiway, as a user has it."""
    folder = tmp_path_factory.mktemp("clone") / "taxiway"
    folder.mkdir()
    copy_working_tree(folder)
    git(folder, "init", "-q", "-b", "main")
    commit(folder, "Taxiway")
    return folder


@pytest.fixture(scope="module")
def project(checkout: Path) -> Path:
    target = making.place("bike-city", checkout)
    making.make(checkout, target)
    return target


def test_it_is_beside_the_checkout_which_stays_as_it_is(checkout: Path, project: Path) -> None:
    assert project == checkout.parent / "bike-city"
    assert git(checkout, "status", "--porcelain") == ""
    assert git(checkout, "log", "--format=%s") == "Taxiway"
    assert sorted(path.name for path in checkout.parent.iterdir()) == ["bike-city", "taxiway"]


def test_it_begins_with_one_commit_and_knows_where_it_is_from(checkout: Path, project: Path) -> None:
    assert git(project, "status", "--porcelain") == ""
    assert git(project, "rev-list", "--count", "main") == "1"
    assert git(project, "rev-parse", "taxiway") == git(project, "rev-parse", "main")
    assert git(project, "remote", "-v").split()[:2] == ["upstream", str(checkout)]


def test_nothing_that_a_user_meets_speaks_of_taxis(project: Path) -> None:
    met = ("README", "AGENTS", "docs/", "dags", "plugins/bike_city/", "Pulumi.yaml", ".github/", ".vscode/")
    shown = [name for name in files(project) if name.startswith(met)]
    assert {"README.md", "docs/pipelines.md", "plugins/bike_city/datasets/__init__.py"} <= set(shown)
    assert {name: found[0] for name in shown if (found := TAXIS.search((project / name).read_text()))} == {}


def test_its_pages_link_to_files_that_are_there(project: Path) -> None:
    for page in [project / "README.md", project / "AGENTS.md", *(project / "docs").glob("*.md")]:
        for link in re.findall(r"\]\(([^)#:]+)[^):]*\)", page.read_text()):
            assert (page.parent / link).exists(), f"{page.name}: {link}"
        for command in re.findall(r"(?<![\w/.-])scripts/([a-z]+)\b(?![/.])", page.read_text()):
            assert command == "taxiway" or (project / "scripts" / command).exists(), f"{page.name}: {command}"


def run(folder: Path, *arguments: str, seconds: int = 300) -> subprocess.CompletedProcess[str]:
    """Run Python in the project, with the packages that are installed for this checkout."""
    paths = os.pathsep.join(str(folder / name) for name in ("scripts", "plugins", "infra"))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, capture_output=True, text=True, timeout=seconds,
        env={**environment, "PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip


def test_its_pipelines_run_what_it_has(project: Path) -> None:
    files = [project / ".gitlab-ci.yml", *(project / ".github" / "workflows").glob("*.yml")]
    for file in files:
        assert not re.search(r"scripts/test --(all|docker|cloud)", file.read_text()), file.name


def test_its_own_tests_pass(project: Path) -> None:
    done = run(project, "-m", "pytest", "-q", "-p", "no:cacheprovider")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-500:]
    assert re.search(r"\d+ passed", done.stdout)


def test_its_files_are_as_its_linter_wants_them(project: Path) -> None:
    for check in (["check"], ["format", "--check"]):
        done = run(project, "-m", "ruff", *check, "--no-cache", ".")
        assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("words", [["--all"], ["--docker"], ["--cloud", "acme"]])
def test_tests_that_it_does_not_have_are_refused(
    words: list[str], project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["test", *words], Checkout(project)) == 2
    assert "not in this project" in capsys.readouterr().err


# What is refused


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("My_Project", "cannot be a project's name"),
        ("ab", "cannot be a project's name"),
        ("a-name-that-is-too-long", "cannot be a project's name"),
        ("taxiway", "Taxiway has already"),
        ("my-google", "Google Cloud or Taxiway has already"),
        ("json", "Python has a module json"),
        ("bike-city", "is there already"),
        ("taxiway/inside", "is inside this checkout"),
    ],
)
def test_a_place_that_cannot_be_is_refused_in_a_sentence(
    name: str, sentence: str, checkout: Path, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = str(checkout.parent / name) if "/" in name else name
    assert main(["init", words], Checkout(checkout)) == 2
    shown = capsys.readouterr().err
    assert sentence in shown
    assert len(shown.splitlines()) <= 3
    assert git(project, "status", "--porcelain") == ""


def test_what_is_not_committed_is_not_left_behind_in_silence(checkout: Path) -> None:
    own = checkout / "plugins" / "own.py"
    own.write_text("")
    try:
        with pytest.raises(TaxiwayError, match=r"plugins/own\.py .*would be left behind"):
            making.make(checkout, checkout.parent / "other")
    finally:
        own.unlink()
    assert not (checkout.parent / "other").exists()


def test_a_project_is_not_made_of_a_project(project: Path) -> None:
    with pytest.raises(UsageError, match="a project already"):
        making.make(project, project.parent / "other")


def test_a_folder_without_git_is_refused(tmp_path: Path) -> None:
    (tmp_path / making.EXAMPLE).mkdir(parents=True)
    with pytest.raises(TaxiwayError, match="no git repository"):
        making.make(tmp_path, tmp_path.parent / "other")


# Whole or not at all


def test_a_first_dataset_that_cannot_be_read_leaves_nothing(
    checkout: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    missing = str(tmp_path / "bikes.csv")
    with pytest.raises(TaxiwayError, match="nothing was made"):
        making.make(checkout, tmp_path / "my-project", first=["bikes", missing])
    assert list(tmp_path.iterdir()) == []
    assert missing in capfd.readouterr().err


def test_what_a_kill_has_left_is_removed_and_the_first_dataset_written(
    checkout: Path, tmp_path: Path
) -> None:
    (tmp_path / ".my-project.init" / "my-project" / "half").mkdir(parents=True)
    (tmp_path / "bikes_2024-01.csv").write_text(CSV)
    making.make(checkout, tmp_path / "my-project", first=["bikes", str(tmp_path / "bikes_2024-01.csv")])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bikes_2024-01.csv", "my-project"]
    added = git(tmp_path / "my-project", "diff", "--name-only", "taxiway", "main")
    assert added == "plugins/my_project/datasets/bikes.py"
    done = run(
        tmp_path / "my-project", "-c", "from elt.catalogue.registry import *; print(*DATASETS, *PROBLEMS)"
    )
    assert done.stdout.split() == ["bikes"]


def test_two_that_make_one_project_do_not_meet(checkout: Path, tmp_path: Path) -> None:
    (tmp_path / ".my-project.init").mkdir()
    held = os.open(tmp_path / ".my-project.init", os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(TaxiwayError, match="another scripts/init"):
            making.make(checkout, tmp_path / "my-project")
    finally:
        os.close(held)


def test_history_is_kept_where_that_is_asked_for(checkout: Path, tmp_path: Path) -> None:
    making.make(checkout, tmp_path / "my-project", keep_history=True)
    assert git(tmp_path / "my-project", "log", "--format=%s").splitlines()[1:] == ["Taxiway"]


# What is new in Taxiway


def test_what_is_new_is_merged_without_a_question_where_only_one_has_changed_a_file(
    checkout: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    git(checkout, "clone", "-q", str(checkout), str(tmp_path / "taxiway"))
    upstream, ours = tmp_path / "taxiway", tmp_path / "bike-city"
    git(upstream, "remote", "remove", "origin")
    making.make(upstream, ours)
    (ours / "README.md").write_text("# Ours\n")
    (ours / "plugins" / "bike_city" / "datasets" / "own.py").write_text('"""Ours."""\n')
    commit(ours, "Ours")
    assert main(["init", "--update"], Checkout(ours)) == 0
    assert "Nothing is new" in capsys.readouterr().out

    for name, text in {"plugins/elt/errors.py": "# New.\n", "docs/asking.md": "\nSee yellow.\n"}.items():
        (upstream / name).write_text((upstream / name).read_text() + text)
    (upstream / "plugins" / "nyc_taxi" / "datasets" / "more.py").write_text("")
    (upstream / "tests" / "unit" / "test_more.py").write_text("")
    newer = commit(upstream, "New")
    assert main(["init", "--update"], Checkout(ours)) == 0
    assert f"Taxiway at {newer[:12]}" in capsys.readouterr().out
    assert git(ours, "log", "--format=%s", "main").splitlines()[0] == "Ours"

    git(ours, *WHO, "merge", "-q", "--no-edit", "taxiway")
    changed = set(git(ours, "diff", "--name-only", "HEAD^", "HEAD").splitlines())
    assert changed == {"plugins/elt/errors.py", "docs/asking.md"}
    assert (ours / "docs" / "asking.md").read_text().endswith("See bikes.\n")
    assert (ours / "README.md").read_text() == "# Ours\n"


def test_an_update_takes_no_offence_at_the_projects_own_package(checkout: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Python has a module json"):
        making.place(str(tmp_path / "json"), checkout)
    assert making.place(str(tmp_path / "json"), checkout, again=True) == tmp_path / "json"


def test_where_nothing_was_initialised_there_is_nothing_to_update(
    checkout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["init", "--update"], Checkout(checkout)) == 1
    assert "no branch taxiway" in capsys.readouterr().err


def test_the_pages_own_dag_and_models_are_as_the_projects_checks_want_them(
    project: Path, tmp_path: Path
) -> None:
    page = (project / "docs" / "your-own-dag.md").read_text()
    (tmp_path / "row_report.py").write_text(page.partition("```python\n")[2].partition("```")[0])
    for check in (["check"], ["format", "--check"]):
        options = ("--no-cache", "--config", str(project / "pyproject.toml"))
        done = run(project, "-m", "ruff", *check, *options, str(tmp_path))
        assert done.returncode == 0, done.stdout
    models = re.findall(
        r"```(?:yaml|sql)\n(?:#|--) plugins/NAME/dbt/(\S+)\n", (project / "docs" / "dbt.md").read_text()
    )
    assert models == ["dbt_project.yml", "models/sources.yml", "models/bikes_by_month.sql"]


def test_its_page_of_commands_is_what_its_own_commands_say(project: Path) -> None:
    code = "from pathlib import Path; from taxiway.cli.reference import page; print(page(Path()), end='')"
    done = run(project, "-c", code)
    assert done.stdout == (project / "docs" / "commands.md").read_text(), done.stderr
    assert "## scripts/up\n" in done.stdout
    assert not re.search(r"\b(bench|upgrade|--source)\b", done.stdout)


def test_the_tutorials_files_make_a_project_that_its_checks_accept(checkout: Path, tmp_path: Path) -> None:
    making.make(checkout, tmp_path / "my-shops")
    page = (checkout / "docs" / "tutorial.md").read_text()
    made = [line for line in re.findall(r"```sh\n(.*?)```", page, re.DOTALL) if "<<'END'" in line]
    written = re.sub(r"^scripts/.*\n", "", "".join(made), flags=re.MULTILINE)
    subprocess.run(["bash", "-euc", written], cwd=tmp_path / "my-shops", timeout=60, check=True)
    (notebook,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    package = tmp_path / "my-shops" / "plugins" / "my_shops"
    (package / "notebooks").mkdir()
    (package / "notebooks" / "dashboard.py").write_text(notebook)
    (new,) = re.findall(r"^scripts/(new .*)$", page, re.MULTILINE)
    done = run(tmp_path / "my-shops", "-m", "taxiway", *new.split(), "--no-load")
    reason = re.search(r"`(pieces lots is not int16)`", page)[1]
    assert reason in done.stderr
    for check in (["check"], ["format", "--check"]):
        checked = run(tmp_path / "my-shops", "-m", "ruff", *check, "--no-cache", "plugins/my_shops")
        assert checked.returncode == 0, checked.stdout
    models = sorted(str(path.relative_to(package)) for path in (package / "dbt").rglob("*.*"))
    assert models == ["dbt/dbt_project.yml", "dbt/models/revenue_by_product.sql", "dbt/models/sources.yml"]
