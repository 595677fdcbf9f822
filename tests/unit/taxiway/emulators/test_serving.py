"""What the services share: the guard, limits of a connection, answers, the log."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.testclient import TestClient

from taxiway.emulators import serving
from taxiway.emulators.answers import (
    Answer,
    Application,
    FileAnswer,
    HttpError,
    page,
    parsed,
    part,
    whole_body,
)
from taxiway.emulators.guard import Guard
from taxiway.environment.ports import USUAL

LOCAL = {"Host": "127.0.0.1:9023"}


async def echo(request: Request) -> Response:
    return Answer({"name": part(request, "name"), "body": parsed(await whole_body(request))})


async def breaks(_request: Request) -> Response:
    raise ValueError("it broke")


def client(**guard: Any) -> TestClient:
    """A client of a small service behind a guard."""
    routes = [Route("/echo/{name}", echo, methods=["GET", "POST"]), Route("/breaks", breaks)]
    app = Guard(Application("thing", routes, None), **guard)
    return TestClient(app, base_url="http://127.0.0.1:9023", raise_server_exceptions=False)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.0.0.1:1", "LOCALHOST:80", "[::1]:9023", "gcs:9023", "GCS"]
)
def test_loopback_and_the_names_given_are_answered(host: str) -> None:
    assert client(hosts=["gcs"]).get("/echo/x", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "bigquery:9050",
        "gcs.evil.test",
        "localhost.evil.test",
        "127.0.0.1@evil.test",
        "[::2]",
        "127.0.0.2",
        ":80",
    ],
)
def test_other_names_are_not(host: str) -> None:
    assert client(hosts=["gcs"]).get("/echo/x", headers={"Host": host}).status_code == 403


def test_two_host_names_are_none() -> None:
    answer = client().get("/echo/x", headers=[("Host", "127.0.0.1"), ("Host", "evil.test")])
    assert answer.status_code == 403


def test_an_open_path_takes_a_form_without_a_token_but_from_no_page() -> None:
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    guarded = client(tokens=["t"], open_paths=("/echo/token",))
    assert guarded.post("/echo/token", content="{}", headers=form).status_code == 200
    assert guarded.post("/echo/other", content="{}", headers=form).status_code == 401
    assert guarded.post("/echo/token", content="{}", headers=form | {"Origin": "null"}).status_code == 403


def test_a_token_is_one_line_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "token"
    for content in ("", "\n", "two words\n", "two\nlines\n", "ü\n", "bell\a\n"):
        file.write_text(content)
        with pytest.raises(serving.CannotStartError, match="token"):
            serving.token_in(file)
    with pytest.raises(serving.CannotStartError, match="cannot be read"):
        serving.token_in(tmp_path / "nowhere")
    file.write_text("good-one\n")
    assert (serving.token_in(file), serving.token_in(None)) == ("good-one", "")


@pytest.mark.parametrize("component", ["gcs", "bigquery", "control-plane", "sample-source"])
def test_the_usual_port_has_one_owner(component: str) -> None:
    assert serving.parser("A service.", component).parse_args([]).port == USUAL[component]


def test_a_part_of_a_path_is_unquoted_once_and_only_utf_8() -> None:
    assert client().get("/echo/a%2Fb%252F").json()["name"] == "a/b%2F"
    assert client().get("/echo/%ff").status_code == 400
    assert client().get("/echo///x").json()["name"] == "x"


def test_what_is_not_known_and_what_breaks_has_googles_error_body() -> None:
    unknown = client().get("/nowhere").json()["error"]
    assert (unknown["code"], unknown["errors"][0]["reason"]) == (501, "notImplemented")
    assert "GET /nowhere" in unknown["message"]
    broken = client().get("/breaks").json()["error"]
    assert (broken["code"], broken["status"], "it broke" in broken["message"]) == (500, "INTERNAL", True)


def test_a_url_that_is_not_utf_8_is_refused() -> None:
    app = client()
    assert app.get("/echo/x?name=%ff").status_code == 400
    assert app.get("/echo/x?name=%C3%BC").status_code == 200


def test_a_method_may_be_named_in_a_header() -> None:
    answer = client().post("/echo/x", headers={"X-HTTP-Method-Override": "DELETE"})
    assert "DELETE /echo/x" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("asked", "status", "content"),
    [
        ("", 200, b"0123456789"),
        ("bytes=0-3", 206, b"0123"),
        ("bytes=-3", 206, b"789"),
        ("bytes=-99", 206, b"0123456789"),
        ("bytes=8-", 206, b"89"),
        ("bytes=8-99", 206, b"89"),
        ("bytes=10-", 416, None),
        ("bytes=5-3", 416, None),
        ("bytes=0-1,3-4", 200, b"0123456789"),
        ("bytes=-", 200, b"0123456789"),
        ("lines=0-1", 200, b"0123456789"),
        ("bytes=" + "9" * 5_000 + "-", 200, b"0123456789"),
        ("bytes=٣-", 200, b"0123456789"),
    ],
)
def test_a_part_of_a_file_is_what_was_asked_for(
    tmp_path: Path, asked: str, status: int, content: bytes | None
) -> None:
    (tmp_path / "file").write_bytes(b"0123456789")

    async def serve(request: Request) -> Response:
        return FileAnswer(request, (tmp_path / "file").open("rb"), {"X-Name": "x"})

    http = TestClient(Application("thing", [Route("/file", serve)], None))
    answer = http.get("/file", headers={"Range": asked.encode()} if asked else {})
    assert answer.status_code == status
    if content is not None:
        assert (answer.content, answer.headers["Content-Length"]) == (content, str(len(content)))


def test_pages_neither_lose_nor_repeat_what_stays() -> None:
    entries = {f"k{number}": {"n": number} for number in range(5)}
    first, more = page(entries, {"size": "2"}, "size")
    del entries["k1"]
    entries["k00"] = {"n": -1}
    rest, end = page(entries, {"pageToken": more["nextPageToken"]}, "size")
    assert ([entry["n"] for entry in first + rest], end) == ([0, 1, 2, 3, 4], {})


@pytest.mark.parametrize("query", [{"size": "-1"}, {"size": "x"}, {"size": "٣"}, {"pageToken": "no"}])
def test_a_page_of_nonsense_is_refused(query: dict[str, str]) -> None:
    with pytest.raises(HttpError):
        page({"a": {}}, query, "size")


def test_a_log_line_stays_one_line_and_is_plain() -> None:
    formatter = serving.PlainFormatter("%(name)s %(message)s")
    record = logging.LogRecord(
        "n", logging.INFO, "f", 1, "GET %s", ("\x1b]0;owned\x07\n\x9b31mforged\r",), None
    )
    assert formatter.format(record) == r"n GET \x1b]0;owned\x07\x0a\x9b31mforged\x0d"


class Hasty(serving.LimitedProtocol):
    """It waits a moment for a head."""

    head_seconds = 0.05


@pytest.fixture
def hasty() -> Iterator[Any]:
    """Talks to a server in the same loop: takes what is sent, returns what comes until the end."""

    async def talk(sent: bytes) -> bytes:
        config = uvicorn.Config(Application("thing", [], None), http=Hasty, lifespan="off", log_config=None)
        server = uvicorn.Server(config)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            serve = asyncio.create_task(server.serve(sockets=[listener]))
            reader, writer = await asyncio.open_connection(*listener.getsockname())
            writer.write(sent)
            answer = await asyncio.wait_for(reader.read(), 10)
            writer.close()
            server.should_exit = True
            await serve
        return answer

    yield lambda sent: asyncio.run(talk(sent))


@pytest.mark.parametrize("sent", [b"", b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n"])
def test_a_connection_that_asks_for_nothing_is_closed(hasty: Any, sent: bytes) -> None:
    assert hasty(sent) == b""


def test_a_head_that_is_too_large_is_refused(hasty: Any) -> None:
    assert b" 400 " in hasty(b"GET / HTTP/1.1\r\nX: " + b"x" * 100_000)
