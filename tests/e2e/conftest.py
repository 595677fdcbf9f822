"""A checkout of its own for each module, and the platform in containers."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest
from checkout import Checkout, make_checkout
from compose_stack import Stack, fresh_clone, require_docker


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkout]:
    made = make_checkout(tmp_path_factory.mktemp("checkout"))
    yield made
    if made.home.exists():
        made.command("down")


@pytest.fixture(scope="session")
def platform() -> Iterator[Stack]:
    """`docker compose up` in a fresh clone, beside which other projects run; down at the end in any case."""
    require_docker()
    made = Stack(fresh_clone("platform"))
    try:
        made.up()
        yield made
    finally:
        made.compose("down", "--volumes", "--remove-orphans", "--timeout", "5", code=None)
        shutil.rmtree(made.folder)
