"""The README names every command, each exists with the options it is given, and links lead somewhere."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys

import pytest
from repository import REPOSITORY

README = (REPOSITORY / "README.md").read_text()
COMMANDS = sorted({line.split("#")[0].strip() for line in README.splitlines() if line.startswith("scripts/")})
LINKS = re.findall(r"\]\(([^)#]+)\)", README)
PATHS = re.findall(r"`((?:plugins|infra|dags|dags_local|airflow|scripts|docs)/[\w./-]*)`", README)


def test_the_readme_has_commands_and_links() -> None:
    assert {"scripts/up", "scripts/test", "scripts/down"} <= set(COMMANDS)
    assert LINKS
    assert PATHS


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_exists_and_knows_the_options_it_is_given(command: str) -> None:
    script, *arguments = shlex.split(command)
    help_text = subprocess.run(
        [sys.executable, REPOSITORY / script, "--help"], capture_output=True, text=True, check=True
    ).stdout
    assert [option for option in arguments if option.startswith("--") and option not in help_text] == []


def test_the_table_of_commands_has_every_command_once() -> None:
    table = re.findall(r"^\| `scripts/([\w-]+)` \|", README, re.MULTILINE)
    files = [path for path in (REPOSITORY / "scripts").iterdir() if path.is_file() and not path.suffix]
    assert sorted(table) == sorted(path.name for path in files)


@pytest.mark.parametrize("link", [link for link in LINKS if "://" not in link])
def test_a_link_leads_to_a_file(link: str) -> None:
    assert (REPOSITORY / link).exists()


@pytest.mark.parametrize("path", PATHS)
def test_a_path_that_is_named_exists(path: str) -> None:
    assert (REPOSITORY / path).exists()
