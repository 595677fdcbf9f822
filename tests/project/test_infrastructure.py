"""The infrastructure program holds for every stack of this project, and all agree on the project's name."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lakehouse.names import PROJECT, Names
from lakehouse.outputs import BUCKET, DATASET
from lakehouse.outputs import PROJECT as CLOUD_PROJECT
from taxiway.infrastructure.plan import plan
from taxiway.infrastructure.stackfile import StackFiles

FOLDER = Path(__file__).resolve().parents[2]
STACKS = sorted(
    file.stem.removeprefix("Pulumi.") for file in (FOLDER / "infra" / "stacks").glob("Pulumi.*.yaml")
)


def test_the_project_has_one_name() -> None:
    named = re.search(r"(?m)^name: *(\S+)", (FOLDER / "Pulumi.yaml").read_text())
    assert named
    assert named[1] == PROJECT
    compose = (FOLDER / "docker-compose.yaml").read_text()
    local = Names.of(f"{PROJECT}-local", "local")
    expected = {CLOUD_PROJECT: f"{PROJECT}-local", BUCKET: local.bucket, DATASET: local.dataset}
    assert {name: {*re.findall(rf"\$\{{{name}-(.+?)\}}", compose)} for name in expected} == {
        name: {text} for name, text in expected.items()
    }


@pytest.mark.parametrize("stack", STACKS)
def test_a_stack_is_what_the_program_can_make(stack: str) -> None:
    assert plan(stack, StackFiles().read(stack)).resources


def test_a_new_stack_is_named_by_the_project() -> None:
    outputs = plan("alice", {"taxiway:project": "acme-data", "taxiway:owner": "a@example.com"}).outputs
    names = Names.of("acme-data", "alice")
    assert (outputs[BUCKET], outputs[DATASET]) == (names.bucket, names.dataset)
    assert PROJECT in names.bucket
