"""Every patch of foreign code is on its page, bounded, and tested; none is on it that is gone."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from repository import REPOSITORY

PAGE = (REPOSITORY / "docs" / "decisions" / "0006-patches-of-foreign-code.md").read_text()
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in PAGE.splitlines()
    if re.match(r"\| [a-z]", line) and not line.startswith("| library")
]
OURS = {"bench", "elt", "lakehouse", "nyc_taxi", "taxiway", "taxiway_left_out"}
SOURCES = [file for folder in ("plugins", "infra", "scripts") for file in (REPOSITORY / folder).rglob("*.py")]


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def foreign_names(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """The names in a module that are bound to modules or objects of others, with what they are there."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            bound = [((alias.asname or alias.name).split(".")[0], alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            bound = [(alias.asname or alias.name, f"{node.module}.{alias.name}") for alias in node.names]
        else:
            continue
        yield from (pair for pair in bound if pair[1].split(".")[0] not in OURS | sys.stdlib_module_names)


def patched(file: Path) -> set[str]:
    """Names of foreign code that a file replaces, overrides or uses though they are private."""
    tree = ast.parse(file.read_text())
    foreign = dict(foreign_names(tree))
    found = {full.rpartition(".")[2] for full in foreign.values() if is_private(full.rpartition(".")[2])}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and is_private(node.attr):
            base = ast.unparse(node.value)
            # `context` is what the BigQuery emulator's library hands its own functions.
            if base.split(".")[0] in {*foreign, "context"}:
                found.add(node.attr)
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "wrapt.patch_function_wrapper":
            found.add(ast.literal_eval(node.args[1]))
        if (
            isinstance(node, ast.ClassDef)
            and "bigquery" in file.parts
            and any(ast.unparse(base).split(".")[0] in foreign for base in node.bases)
        ):
            methods = [m.name for m in node.body if isinstance(m, ast.FunctionDef | ast.AsyncFunctionDef)]
            found |= {name for name in methods if is_private(name)}
    return found


def test_the_page_lists_the_patches() -> None:
    assert len(ROWS) > 8
    assert all(len(row) == 4 for row in ROWS)


@pytest.mark.parametrize("file", [file for file in SOURCES if patched(file)], ids=lambda file: file.name)
def test_every_name_that_is_patched_is_on_the_page(file: Path) -> None:
    missing = {name for name in patched(file) if f"`{name}`" not in PAGE}
    assert missing == set(), f"describe them in docs/decisions ({file.relative_to(REPOSITORY)})"


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_what_is_patched_is_bounded_as_the_page_says_and_has_a_test(row: list[str]) -> None:
    library, bound, what, test = row
    members = [REPOSITORY / folder / "pyproject.toml" for folder in ("plugins", "scripts", "infra")]
    declared = [
        Requirement(text)
        for member in members
        for table in [tomllib.loads(member.read_text())["project"]]
        for texts in [table["dependencies"], *table.get("optional-dependencies", {}).values()]
        for text in texts
    ]
    bounds = {str(part) for r in declared if r.name == library for part in r.specifier}
    assert bound.strip("`") in bounds
    assert (REPOSITORY / test.strip("`")).exists()
    places = re.findall(r"`((?:plugins|scripts|infra)/[\w./]+|pyproject\.toml)`", what)
    assert places
    assert [place for place in places if not (REPOSITORY / place).exists()] == []


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_every_library_that_is_patched_has_the_issue_that_would_make_it_unnecessary(row: list[str]) -> None:
    issues = PAGE.split("## Issues to file")[1].split("\n\n")[1:]
    assert len(issues) > 8
    asked = [issue for issue in issues if row[0] in re.split(r"[^a-z-]+", issue.split(":")[0].lower())]
    assert asked, "write its text: what it does, what it should do, and what that costs today"


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_every_name_on_the_page_is_still_in_the_code(row: list[str]) -> None:
    places = re.findall(r"`((?:plugins|scripts|infra)/[\w./]+|pyproject\.toml)`", row[2])
    texts = [
        file.read_text()
        for place in places
        for file in (
            [REPOSITORY / place] if (REPOSITORY / place).is_file() else (REPOSITORY / place).rglob("*.py")
        )
    ]
    # Names, not modules or paths, which are described beside them.
    names = [
        name for name in re.findall(r"`([\w.]+)`", row[2]) if "/" not in name and not name.endswith("toml")
    ]
    gone = [name for name in names if not any(name.rpartition(".")[2] in text for text in texts)]
    assert gone == []
