"""An agent's client on all three stores, over standard input and output: what it is told, and refused."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from stacks import Stack
from taxiway.asking.mcp_server import MAX_BYTES, MCP, Tools
from taxiway.cli.options import stores_of
from taxiway.compose.on_demand import SITE
from taxiway.environment.home import Home, State, write_atomically, write_json
from taxiway.environment.ports import USUAL
from taxiway.errors import TaxiwayError
from taxiway.targets.target import Checkout

pytestmark = pytest.mark.emulators
TABLES = {"warehouse": "yellow_trips", "postgres": "yellow_trips", "lake": "yellow"}
ROWS = 38  # as tests/integration/elt/conftest.py loads them, two in quarantine
SECRET = "a-secret-of-more-than-15-characters"
CODE = """
import sys
from pathlib import Path
from taxiway.cli.main import main
from taxiway.targets.target import Checkout
sys.exit(main(["mcp", *sys.argv[2:]], Checkout(Path(sys.argv[1]))))
"""


@pytest.fixture(scope="session")
def installed() -> Path:
    """What scripts/mcp installs, where it does; the SDK's own client is in it."""
    return MCP.installed() / SITE


@pytest.fixture
def checkout(asked: Stack, tmp_path: Path) -> Checkout:
    """Of the stack, as one on Google Cloud: that answers without a platform of this machine."""
    home = Home.of("local", tmp_path)
    State(dict.fromkeys(USUAL, 9), emulated=False).save(home)
    write_json(home.environment, dict(asked.variables))
    write_atomically(home.secrets / "jwt_secret", SECRET)
    write_atomically(home.logs / "scheduler.log", f"first\nsigned with {SECRET}\nlast\n")
    return Checkout(tmp_path)


@pytest.fixture
def agent(installed, checkout, monkeypatch) -> Callable[..., Any]:
    """Start scripts/mcp, and call what is given with a session of the SDK's client."""
    monkeypatch.syspath_prepend(str(installed))
    from mcp import ClientSession, StdioServerParameters
    from mcp.client.stdio import stdio_client

    def call(talk: Callable[[Any], Awaitable[Any]], *options: str) -> Any:
        how = StdioServerParameters(
            command=sys.executable, args=["-W", "ignore", "-c", CODE, str(checkout.folder), *options]
        )

        async def talked() -> Any:
            async with stdio_client(how) as streams, ClientSession(*streams) as session:
                await session.initialize()
                return await talk(session)

        return asyncio.run(asyncio.wait_for(talked(), 120))

    return call


async def text(session: Any, tool: str, **arguments: Any) -> str:
    found = await session.call_tool(tool, arguments)
    assert not found.isError, found.content
    return found.content[0].text


async def refused(session: Any, tool: str, **arguments: Any) -> str:
    found = await session.call_tool(tool, arguments)
    assert found.isError, found.content
    return found.content[0].text


def test_each_store_answers_within_limits_and_refuses_to_write(agent):
    async def talk(session):
        for store, table in TABLES.items():
            counted = json.loads(
                await text(session, "query", store=store, statement=f"SELECT COUNT(*) AS n FROM {table}")
            )
            assert (counted["columns"], counted["rows"], counted["more"]) == (["n"], [[ROWS]], False)
            few = {"store": store, "statement": f"SELECT vendor_id FROM {table}", "limit": 3}
            found = json.loads(await text(session, "query", **few))
            assert (len(found["rows"]), found["more"]) == (3, True)
            assert "fare_amount" in json.loads(await text(session, "tables", store=store))[table]
            for statement in (f"DROP TABLE {table}", f"DELETE FROM {table} WHERE TRUE"):
                said = await refused(session, "query", store=store, statement=statement)
                assert "--write" not in said
            again = await text(session, "query", store=store, statement=f"SELECT COUNT(*) FROM {table}")
            assert json.loads(again)["rows"] == [[ROWS]]
        long = "SELECT repeat('x', 30000) AS x FROM range(50)"
        found = await text(session, "query", store="lake", statement=long)
        assert len(found) <= MAX_BYTES
        assert json.loads(found)["more"]

    agent(talk)


def test_it_tells_what_there_is_and_what_did_not_fit_but_no_secret(agent, checkout):
    async def talk(session):
        offered = await session.list_tools()
        assert all(tool.annotations.readOnlyHint and tool.description for tool in offered.tools)
        names = {tool.name for tool in offered.tools}
        assert names == {"query", "tables", "datasets", "status", "quarantine", "logs"}
        assert "yellow" in json.loads(await text(session, "datasets"))
        columns = json.loads(await text(session, "datasets", name="yellow"))["columns"]
        assert {"name": "fare_amount", "unit": "USD"}.items() <= columns[[c["name"] for c in columns].index(
            "fare_amount")].items()  # fmt: skip
        assert "unknown" in await refused(session, "datasets", name="nope")
        assert "tpep_pickup_datetime … is outside 2024-01" in await text(
            session, "quarantine", dataset="yellow", period="2024-01"
        )
        stolen = checkout.folder / "stolen"
        await refused(session, "quarantine", dataset="yellow", period=f"--output={stolen}.csv")
        assert not list(checkout.folder.glob("stolen*"))
        assert await text(session, "logs", component="scheduler", lines=2) == "signed with ***\nlast\n"
        asked = await text(session, "query", store="lake", statement=f"SELECT '{SECRET}' AS s")
        assert SECRET not in asked
        status = json.loads(await text(session, "status"))
        assert {part["state"] for part in status["components"]} == {"STOPPED"}
        assert "Unknown tool" in await refused(session, "run", dataset="yellow", period="2024-01")

    agent(talk)


def test_a_load_is_offered_only_where_it_is_allowed(agent):
    async def talk(session):
        (offered,) = [t for t in (await session.list_tools()).tools if t.name == "run"]
        assert not offered.annotations.readOnlyHint
        assert "scripts/up" in await refused(session, "run", dataset="yellow", period="2024-01")

    agent(talk, "--allow-run")


@pytest.mark.parametrize(
    ("store", "statement"),
    [
        ("postgres", "SELECT pg_sleep(600)"),
        ("lake", "SELECT MAX(hash(a.range + b.range)) FROM range(1000000) a, range(1000000) b"),
    ],
    ids=["postgres", "lake"],
)
def test_a_question_that_takes_too_long_is_cancelled(checkout, store, statement):
    tools = Tools(checkout, "local", lambda: stores_of(checkout, "local"), lambda _: (0, "", ""), seconds=1)
    with pytest.raises(TaxiwayError, match="no answer within 1 s"):
        tools.query(statement, store)
