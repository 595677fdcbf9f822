"""Commands on README and in docs/ exist with the options they are given, and README's paths are there."""

from __future__ import annotations

import re
import shlex

import pytest
from repository import REPOSITORY

from taxiway.cli.main import group
from taxiway.cli.reference import help_of

README = (REPOSITORY / "README.md").read_text()
PAGES = sorted((REPOSITORY / "docs").glob("*.md"))
COMMANDS = sorted(
    {
        line.partition(" #")[0].partition("; ")[0].strip()
        for text in (README, *(page.read_text() for page in PAGES if page.name != "commands.md"))
        for block in re.findall(r"^ *```sh\n(.*?)```", text, re.DOTALL | re.MULTILINE)
        for line in block.splitlines()
        if line.startswith("scripts/")
    }
)
LINKS = re.findall(r"\]\(([^)#]+)\)", README)
PATHS = re.findall(r"`((?:plugins|infra|dags|dags_local|airflow|scripts|docs)/[\w./-]*)`", README)


def test_the_readme_has_commands_and_links() -> None:
    assert {"scripts/up", "scripts/test", "scripts/down"} <= set(COMMANDS)
    assert LINKS
    assert PATHS


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_exists_and_knows_the_options_it_is_given(command: str) -> None:
    script, *arguments = shlex.split(re.split(r" [|<>&\\]", command)[0])
    assert (REPOSITORY / script).exists()
    help_text = help_of(group().commands[script.removeprefix("scripts/")])
    assert [option for option in arguments if option.startswith("--") and option not in help_text] == []


def test_the_page_of_commands_has_every_command_once() -> None:
    page = (REPOSITORY / "docs" / "commands.md").read_text()
    listed = re.findall(r"^## scripts/([\w-]+)$", page, re.MULTILINE)
    assert "docs/commands.md" in LINKS
    files = [path for path in (REPOSITORY / "scripts").iterdir() if path.is_file() and not path.suffix]
    assert sorted(listed) == sorted(path.name for path in files)


@pytest.mark.parametrize("link", [link for link in LINKS if "://" not in link])
def test_a_link_leads_to_a_file(link: str) -> None:
    assert (REPOSITORY / link).exists()


@pytest.mark.parametrize("path", PATHS)
def test_a_path_that_is_named_exists(path: str) -> None:
    assert (REPOSITORY / path).exists()
