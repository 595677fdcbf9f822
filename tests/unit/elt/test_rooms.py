"""Which room of plugins/elt may know which: arrows go down, and there is no circle."""

from __future__ import annotations

import pytest
from arrows import imported, upward
from repository import REPOSITORY

ELT = REPOSITORY / "plugins" / "elt"
# Each may import those before it, and itself.
ROOMS = (
    "errors", "provenance", "connection_fields", "periods", "settings", "layout", "catalogue", "formats",
    "stage_request", "conforming", "stores", "sources", "warehouse", "connections", "stages", "evolution",
    "status", "bulk", "orchestration",
)  # fmt: skip
MODULES = [*ELT.rglob("*.py")]


@pytest.mark.parametrize("own", ROOMS)
def test_a_room_imports_only_what_lies_below_it(own: str) -> None:
    assert upward(ELT, ROOMS, own, MODULES) == set()


def test_every_room_has_its_place() -> None:
    assert {m.relative_to(ELT).parts[0].removesuffix(".py") for m in MODULES} == {*ROOMS, "__init__"}


def test_only_orchestration_knows_airflow() -> None:
    knowing = {
        module.relative_to(ELT).parts[0]
        for module in MODULES
        if any(name.split(".")[0] == "airflow" for name in imported(module))
    }
    assert knowing == {"orchestration"}
