"""An API over HTTP that pages its records in every usual way, and misbehaves as the test tells it."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from urllib.parse import parse_qsl, urlsplit

from http_server import HttpServer

PAGE = 2


@dataclass
class Answer:
    """One answer; `cut` is how many bytes of the announced body really go out."""

    body: bytes = b""
    status: int = 200
    kind: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None


@dataclass
class PagedApi:
    """`records` are JSON texts, so that every digit is as the test wrote it.

    `/links` has the next page's address in its body, `/headers` in its Link header, `/cursors` a cursor,
    `/numbers` counts pages and `/offsets` records; `answers` replace those of a path, one after the other
    (None: a usual one). `periods` are the records of queries whose `from` is such a moment.
    """

    url: str = ""
    records: list[str] = field(default_factory=list)
    periods: dict[str, list[str]] = field(default_factory=dict)
    token: str = ""
    answers: dict[str, list[Answer | None]] = field(default_factory=dict)
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    change: Callable[[dict[str, str]], None] | None = None

    def answer(self, target: str, authorization: str) -> Answer:
        path, query = urlsplit(target).path, dict(parse_qsl(urlsplit(target).query))
        self.requests.append((path, query))
        if self.token and authorization != f"Bearer {self.token}":
            return Answer(b'{"error": "token"}', 401)
        planned = self.answers.get(path)
        if planned and (answer := planned.pop(0)):
            return answer
        answer = self._page(path, query)
        if self.change:
            self.change(query)
        return answer

    def _page(self, path: str, query: dict[str, str]) -> Answer:
        start = int(query.get("at") or query.get("offset") or 0)
        if "page" in query:
            start = (int(query["page"]) - 1) * PAGE
        records = self.periods.get(query.get("from", ""), self.records)
        items = records[start : start + PAGE]
        more = start + PAGE < len(records)
        following = f"{path}?at={start + PAGE}"
        paging = {
            "/links": {"next": following if more else None},
            "/cursors": {"next": str(start + PAGE) if more else ""},
        }.get(path, {"total": len(records)})
        # As pretty printers do: line breaks between the parts of a page, within records as well.
        listed = ",\n".join(items)
        body = f'{{"meta": {json.dumps(paging)},\r\n "data": {{"items": [\n{listed}\n]}}}}'
        link = {"Link": f'<{self.url}{following}>; rel="next"'} if path == "/headers" and more else {}
        return Answer(body.encode(), headers=link)


class _Handler(BaseHTTPRequestHandler):
    api: PagedApi

    def do_GET(self) -> None:
        answer = self.api.answer(self.path, self.headers.get("Authorization", ""))
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.kind)
        self.send_header("Content-Length", str(len(answer.body)))
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer.body[: answer.cut])

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@contextmanager
def running() -> Iterator[PagedApi]:
    """Run one on a free port."""
    api = PagedApi()
    with HttpServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"api": api})) as server:
        api.url = f"http://127.0.0.1:{server.server_address[1]}"
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield api
        server.shutdown()
