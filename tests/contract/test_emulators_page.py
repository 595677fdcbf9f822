"""docs/emulators.md says whom the emulators serve, and what one may send them."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest
from repository import REPOSITORY

from elt.connections import EMULATOR
from taxiway.emulators import answers, iam
from taxiway.emulators.bigquery.front import UPLOAD_BYTES
from taxiway.emulators.gcs.store import SESSION_SECONDS
from taxiway.emulators.guard import FORMS, LOOPBACK, Guard
from taxiway.emulators.serving import HEADERS, LimitedProtocol
from taxiway.environment.secrets import EMULATOR_CREDENTIALS, GENERATORS

TEXT = " ".join((REPOSITORY / "docs" / "emulators.md").read_text().split())
SERVED = TEXT.partition("## Who is served")[2].partition("## ")[0]
CHECKS = dict(re.findall(r"\d\. \*\*(.+?)\.\*\* (.+?)(?= \d\. \*\*| `scripts/up` makes)", SERVED))


def rejected(**headers: str) -> str:
    """Why a request is rejected; empty if it is served."""
    sent: list[Any] = []

    async def served(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200})

    async def send(message: Any) -> None:
        sent.append(message)

    pairs = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "method": "POST", "path": "/b", "headers": pairs}
    asyncio.run(Guard(served, tokens=["t"])(scope, None, send))
    return (sent[1:] or [{"body": b""}])[0]["body"].decode()


def test_what_is_checked_is_said_in_its_order() -> None:
    said = {
        "Host name": "host name",
        "No web page": "web pages",
        "Token": "bearer token",
        "No forms": "text/plain",
    }
    assert [*CHECKS] == [*said]
    request = {"host": "evil.test", "origin": "http://evil.test", "content_type": "text/plain"}
    mended = {
        "host": "127.0.0.1",
        "origin": "",
        "authorization": "Bearer t",
        "content_type": "application/json",
    }
    for words, (name, value) in zip(said.values(), mended.items(), strict=True):
        assert words in rejected(**request)
        request = {key: text for key, text in (request | {name: value}).items() if text}
    assert rejected(**request) == ""


def test_the_names_that_are_checked_are_on_the_page() -> None:
    assert {*re.findall(r"`([^`]+)`", CHECKS["Host name"])} == {"Host", "--allow-host", *LOOPBACK}
    assert {"Origin", "Sec-Fetch-Site"} < {*re.findall(r"`([^`]+)`", CHECKS["No web page"])}
    for site in re.findall(r"other than `(.+?)` and `(.+?)`", CHECKS["No web page"])[0]:
        assert "bearer token" in rejected(host="localhost", sec_fetch_site=site)
    assert "form" in CHECKS["No forms"]
    assert "`text/plain`" in CHECKS["No forms"]
    assert {kind for kind in FORMS if "form" not in kind} == {"text/plain"}


def test_what_needs_no_token_is_said() -> None:
    for path in (answers.HEALTH, iam.TOKEN):
        assert f"`{path}`" in CHECKS["Token"]
    modules = (REPOSITORY / "scripts" / "taxiway" / "emulators").rglob("*.py")
    assert [file.parent.name for file in modules if "public=True" in file.read_text()] == ["tlc_sample"]
    assert "The sample source is public and has no token." in CHECKS["Token"]


def test_who_has_the_token_is_said() -> None:
    rows = re.findall(r"\| `(\w+(?:\.json)?)` \|", SERVED)
    assert rows == ["emulator_token", EMULATOR_CREDENTIALS]
    assert "emulator_token" in GENERATORS
    assert f"Its client id is `{EMULATOR}`" in SERVED


@pytest.mark.parametrize(("name", "value"), HEADERS)
def test_what_protects_from_a_stored_page_is_said(name: str, value: str) -> None:
    assert f"`{name}: {value}`" in SERVED


def test_the_limits_are_those_that_hold() -> None:
    said = TEXT.partition("## Limits")[2].partition("## ")[0]
    head = LimitedProtocol
    for limit in (
        f"within {head.head_seconds:.0f} seconds and have at most {head.head_bytes >> 10} KiB",
        f"JSON bodies at most {answers.JSON_BYTES >> 20} MiB",
        f"uploads into tables {UPLOAD_BYTES >> 20} MiB",
    ):
        assert limit in said
    assert (answers.STALL_SECONDS, "stands still for two minutes" in said) == (120, True)
    assert (SESSION_SECONDS, "expire after a day" in said) == (24 * 3600, True)
