"""What an agent may ask of a stack over the Model Context Protocol; it only reads unless it may run loads.

A tool answers with a text of at most MAX_BYTES in which no secret of the stack is left. All run in the main
thread, one at a time, so that the time limit ends them as Ctrl-C would.
"""

from __future__ import annotations

import functools
import itertools
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from elt.catalogue.registry import DATASETS
from elt.catalogue.registry import dataset as entry
from elt.connections import EnvironmentConnections, fields_in
from elt.errors import PipelineError
from taxiway.asking.answers import jsonable
from taxiway.asking.stores import open_store
from taxiway.compose.on_demand import SITE, OnDemand
from taxiway.environment.home import read_json
from taxiway.errors import TaxiwayError
from taxiway.targets.target import Checkout
from taxiway.waiting import run

MCP = OnDemand("mcp", Path(__file__).with_name("mcp.txt"), there=f"{SITE}/mcp", megabytes=32)
MAX_ROWS, MAX_BYTES, MAX_LINES = 1_000, 50_000, 1_000
# What a client waits for a question, and for a load.
SECONDS, LOAD_SECONDS = 60, 600
INSTRUCTIONS = """\
A data platform: datasets by periods in a lake (files), a warehouse (BigQuery or its emulator) and Postgres.
`datasets` says what there is, `tables` what can be queried, `status` what is loaded and what failed.
"""
StoreName = Literal["warehouse", "postgres", "lake"]


class _LateError(KeyboardInterrupt):
    """Time is up; the stores cancel what they do, as for Ctrl-C."""


@contextmanager
def limited(seconds: int) -> Iterator[None]:
    """End what runs inside, in the main thread, with a TaxiwayError after so many seconds."""

    def late(*_: object) -> None:
        raise _LateError

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    except _LateError:
        raise TaxiwayError(f"no answer within {seconds} s: cancelled", "Ask for less.") from None
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@dataclass(frozen=True)
class Tools:
    """The tools of one stack; each method's docstring is what the agent reads.

    `stores` gives its connections, or TaxiwayError where they are emulators that do not run; `command` runs a
    command of scripts/ and returns its exit code, its output and its errors.
    """

    checkout: Checkout
    stack: str
    stores: Callable[[], EnvironmentConnections]
    command: Callable[[Sequence[str]], tuple[int, str, str]]
    seconds: int = SECONDS

    def query(self, statement: str, store: StoreName = "warehouse", limit: int = 100) -> str:
        """Run one SQL query (GoogleSQL, Postgres, or DuckDB on the lake) that reads; at most 1000 rows.

        Answers with JSON: columns, rows, and whether there are more. Decimals are texts of their digits.
        """
        wanted = max(1, min(limit, MAX_ROWS))
        asked = open_store(store, self.stores()).ask(statement, few=wanted + 1)
        with limited(self.seconds), asked as answer:
            rows, more = _fitting(answer.rows, wanted)
            found = {"columns": list(answer.names), "rows": rows, "more": more, "note": answer.note}
            return json.dumps(found, ensure_ascii=False)

    def tables(self, store: StoreName = "warehouse") -> str:
        """List a store's tables with their columns, as JSON."""
        with limited(self.seconds):
            return json.dumps(dict(open_store(store, self.stores()).tables()), ensure_ascii=False)

    def datasets(self, name: str = "") -> str:
        """List the datasets of the catalogue, or describe one with its columns, types and units; JSON."""
        if not name:
            return json.dumps({ds.name: ds.title for ds in DATASETS.values()}, ensure_ascii=False)
        found = entry(name)
        columns = [
            {"name": c.name, "type": str(c.type), "unit": c.unit, "description": c.description}
            for c in found.columns
        ]
        facts = {"title": found.title, "every": found.every and str(found.every), "first": found.first}
        return json.dumps({"name": name, **facts, "table": found.table, "columns": columns}, default=str)

    def status(self) -> str:
        """Say which components run, what is loaded where, and what failed and why; JSON."""
        # 1 is a platform of which something is not well, which is an answer.
        return self._called("status", "--json", well=(0, 1))

    def quarantine(self, dataset: str, period: str = "") -> str:
        """Show the rows of a dataset that did not fit, counted by reason, and the first of them."""
        return self._called("quarantine", "--limit", "20", "--", dataset, *filter(None, [period]))

    def logs(self, component: str, lines: int = 100) -> str:
        """Show the last lines of a component's log; `status` lists the components."""
        last = max(1, min(lines, MAX_LINES))
        command = self.checkout.platform(self.stack).log_command(component, last, follow=False)
        return run(command, self.seconds, stdin=subprocess.DEVNULL).stdout[-MAX_BYTES:]

    def run(self, dataset: str, period: str = "") -> str:
        """Load a dataset's period, such as yellow 2024-03 or 2024-01..2024-06, and wait for it.

        What is loaded already is not loaded again. Called again, a load goes on where it stopped.
        """
        return self._called("run", "--", dataset, *filter(None, [period]), seconds=LOAD_SECONDS)

    def _called(self, name: str, *words: str, well: Sequence[int] = (0,), seconds: int | None = None) -> str:
        """The output of a command. Behind -- a word of the agent's is no option."""
        with limited(seconds or self.seconds):
            code, output, errors = self.command([name, "--stack", self.stack, *words])
        if code not in well or not output:
            raise TaxiwayError(errors.strip().removeprefix("taxiway: "))
        return output

    def shown(self, text: str) -> str:
        """A text without the stack's secrets, and no longer than an agent wants to read."""
        for secret in self._secrets():
            text = text.replace(secret, "***")
        cut = text.encode()[:MAX_BYTES].decode(errors="ignore")
        return text if len(cut) == len(text) else f"{cut}\n… cut: {len(text):,} characters"

    def _secrets(self) -> Iterator[str]:
        home = self.checkout.home(self.stack)
        for file in home.secrets.glob("*"):
            # Those that hold one word: all others, such as pgpass, are forms of these.
            word = file.read_text(errors="ignore").strip()
            if len(word) > 15 and word.isprintable() and " " not in word:
                yield word
        variables = read_json(home.environment)
        for name in variables:
            if name.startswith("AIRFLOW_CONN_"):
                found = fields_in(variables, name.removeprefix("AIRFLOW_CONN_").lower())
                if found and found.password:
                    yield found.password


def _fitting(rows: Iterator[Sequence[Any]], wanted: int) -> tuple[list[Any], bool]:
    """The first rows, as many as are wanted and fit into an answer, and whether there are more."""
    found = list[Any]()
    size = 0
    for row in itertools.islice(rows, wanted):
        values = [jsonable(value) for value in row]
        size += len(json.dumps(values, ensure_ascii=False).encode())
        if size > MAX_BYTES - 5_000:
            return found, True
        found.append(values)
    return found, next(rows, None) is not None


def _tool(tools: Tools, function: Any) -> Callable[..., str]:
    """A tool as the SDK calls it: errors are sentences, and nothing else is printed into the protocol."""
    from mcp.server.fastmcp.exceptions import ToolError

    @functools.wraps(function)
    def called(*arguments: Any, **named: Any) -> str:
        with redirect_stdout(sys.stderr):
            try:
                return tools.shown(function(*arguments, **named))
            except (TaxiwayError, PipelineError) as error:
                remedy = getattr(error, "remedy", "")
                remedy = "This server only reads." if "--write" in remedy else remedy
                raise ToolError(tools.shown(f"{error}\n{remedy}".strip())) from None

    return called


def serve(tools: Tools, *, allow_run: bool = False) -> None:
    """Answer on standard input and output until the client closes them."""
    # What is installed is beside .venv, of the versions that .venv has.
    sys.path.insert(0, str(MCP.installed() / SITE))
    from mcp.server.fastmcp import FastMCP
    from mcp.types import ToolAnnotations

    _keep_apart()
    server = FastMCP("taxiway", INSTRUCTIONS, log_level="ERROR")
    reading = (tools.query, tools.tables, tools.datasets, tools.status, tools.quarantine, tools.logs)
    for function in (*reading, *([tools.run] if allow_run else [])):
        hints = ToolAnnotations(
            readOnlyHint=function != tools.run, destructiveHint=False, openWorldHint=False
        )
        server.add_tool(_tool(tools, function), annotations=hints, structured_output=False)
    server.run("stdio")


def _keep_apart() -> None:
    """Leave the protocol to the server: the programs that it calls read nothing and print to its errors."""
    sys.stdin, sys.stdout = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w")
    with Path(os.devnull).open() as nothing:
        os.dup2(nothing.fileno(), 0)
    os.dup2(2, 1)
