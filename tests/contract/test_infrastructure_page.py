import re
import subprocess

import pytest

from elt.orchestration.pools import POOLS
from taxiway.docgen.infrastructure import PAGE, TABLES, current
from taxiway.environment.home import REPOSITORY

TEXT = PAGE.read_text()
NAMED = set(re.findall(r"`((?:infra|scripts|tests|docs|dags|plugins)/[\w./-]*)[`\s]", TEXT))
MADE_BY_ITS_OWNER = {"infra/stacks/Pulumi.alice.yaml", "infra/stacks/Pulumi.local.yaml"}
COMMAND = "PYTHONPATH=scripts .venv/bin/python -m taxiway.docgen.infrastructure"


def test_the_tables_of_the_page_are_current():
    assert current(TEXT) == TEXT, f"docs/infrastructure.md is behind the code: {COMMAND}"


def test_every_table_is_on_the_page_once():
    assert sorted(re.findall(r"<!-- table ([\w-]+) -->", TEXT)) == sorted(TABLES)


def test_a_table_that_is_behind_the_code_is_noticed():
    behind = TEXT.replace("roles/bigquery.jobUser", "roles/bigquery.admin", 1)
    assert current(behind) == TEXT != behind


@pytest.mark.parametrize("path", sorted(NAMED - MADE_BY_ITS_OWNER))
def test_what_the_page_names_exists(path):
    assert (REPOSITORY / path).exists()


def test_the_way_by_hand_sets_exactly_what_the_program_asks_for():
    keys = set(re.findall(r"pulumi config set (taxiway:\w+)", TEXT.split("## What is created")[0]))
    assert keys == {"taxiway:project", "taxiway:owner"}


def test_the_way_by_hand_is_complete_from_the_stack_to_the_containers():
    block = TEXT.split("## By hand")[1].split("```")[1].split("\n")
    commands = [" ".join(line.split()[:2]) for line in block if line]
    assert commands == ["pulumi stack", *["pulumi config"] * 2, "pulumi up", "scripts/env", "docker compose"]


def test_the_command_that_lists_the_pools_lists_them():
    (command,) = re.findall(r"^(PYTHONPATH=plugins .*) \|$", TEXT, re.MULTILINE)
    done = subprocess.run(command, shell=True, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert [line.split() for line in done.stdout.splitlines()] == [[n, str(s)] for n, s in POOLS.items()]
