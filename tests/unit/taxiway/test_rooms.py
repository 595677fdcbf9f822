"""Which room of scripts/taxiway may know which: arrows go down, and the command line is known to nobody."""

from __future__ import annotations

from collections import Counter

import pytest
from arrows import imported, upward
from repository import REPOSITORY

TAXIWAY = REPOSITORY / "scripts" / "taxiway"
# Each may import those before it, and itself.
ROOMS = (
    "errors", "waiting", "environment", "console", "airflow", "infrastructure", "emulators", "token_server",
    "embedded", "compose", "targets", "loads", "asking", "transforming", "docgen", "entries", "projects",
    "cli",
)  # fmt: skip
# The last service of Compose is a command in a container: it loads, as `up` does.
PROGRAMS = ("compose/loader.py", "__main__.py")
SOURCE = ("dags", "infra", "plugins", "scripts/taxiway")
MODULES = [path for path in TAXIWAY.rglob("*.py") if str(path.relative_to(TAXIWAY)) not in PROGRAMS]


@pytest.mark.parametrize("own", ROOMS)
def test_a_room_imports_only_what_lies_below_it(own: str) -> None:
    assert upward(TAXIWAY, ROOMS, own, MODULES) == set()


def test_only_the_command_line_knows_click() -> None:
    knowing = {m.relative_to(TAXIWAY).parts[0] for m in MODULES if "click" in set(imported(m))}
    assert knowing == {"cli"}


def test_the_engine_stays_small() -> None:
    """What only imitates Google's provider is not worth more: `--engine cli` has the real one."""
    parts = ("in_process", "plan", "resources", "cost")
    files = [TAXIWAY / "infrastructure" / f"{name}.py" for name in parts]
    assert sum(file.read_text().count("\n") for file in files) <= 1_000


def test_a_folder_can_be_overlooked() -> None:
    folders = Counter(file.parent for root in SOURCE for file in (REPOSITORY / root).rglob("*.py"))
    assert {str(folder): count for folder, count in folders.items() if count > 14} == {}
