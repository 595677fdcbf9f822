"""scripts/status: what runs, and what is loaded where."""

from __future__ import annotations

import json
from typing import Any

from rich.console import Console

from elt import status as report
from elt.errors import PipelineError
from taxiway.cli import arguments as _arguments
from taxiway.console.progress import Progress
from taxiway.console.tables import show_components, show_datasets
from taxiway.environment.paths import Home
from taxiway.environment.state import State
from taxiway.loads.service import settings_of
from taxiway.targets.target import target_of

EXAMPLES = """\
  scripts/status             for people
  scripts/status --json      for programs
exit code: 0 if everything runs, 1 if something does not"""


def main(arguments: list[str]) -> int:
    """Run the verb; returns its exit code."""
    parser = _arguments.parser("status", "Show the components and what is loaded where.", EXAMPLES)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    _arguments.add_stack(parser)
    chosen = parser.parse_args(arguments)
    as_json: bool = chosen.json
    home = Home.of(chosen.stack)
    state = State.load(home)
    if state is None and not as_json:
        State.require(home)
    facts = (
        _facts(home, state) if state else {"target": None, "stack": None, "components": [], "datasets": []}
    )
    if as_json:
        print(json.dumps(facts, indent=2, default=str))  # noqa: T201 - its output
    elif state:
        _show(home, state, facts)
    return 0 if facts["components"] and all(c["state"] == "RUNNING" for c in facts["components"]) else 1


def _facts(home: Home, state: State) -> dict[str, Any]:
    target = target_of(home, state, Progress())
    running = target.states()
    components = [
        {"name": c.name, "state": running.get(c.name, "STOPPED"), "url": c.url} for c in target.components()
    ]
    return {
        "target": state.target,
        "stack": state.stack,
        "components": components,
        "datasets": _datasets(home) if running else [],
    }


def _datasets(home: Home) -> list[dict[str, Any]]:
    try:
        return report.status(settings_of(home))
    except PipelineError:
        return []  # the components' states say why


def _show(home: Home, state: State, facts: dict[str, Any]) -> None:
    console = Console()
    show_components(console, facts["components"])
    show_datasets(console, facts["datasets"])
    port, passfile = state.ports["postgres"], home.secrets / "pgpass"
    postgres = f"psql 'host=127.0.0.1 port={port} dbname=taxi user=taxi passfile={passfile}'"
    console.print(
        f"Airflow    {state.api_url}   user admin, password in {home.secrets / 'admin_password'}",
        highlight=False,
        soft_wrap=True,
    )
    console.print(f"Postgres   {postgres}", highlight=False, soft_wrap=True)
