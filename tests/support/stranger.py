"""Others who reach this machine's ports: a second account, and pages of other sites in a signed-in browser.

python stranger.py PID,… PORT…     becomes nobody, tries what it can, and prints what it got as JSON
"""

from __future__ import annotations

import functools
import http.server
import json
import os
import subprocess
import sys
import threading
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import grpc
import psutil
import psycopg
import requests
from google.cloud.bigquery_storage_v1 import types

NOBODY = 65534
QUERY = {"query": "SELECT content FROM read_text('secrets/*')", "useLegacySql": False}
READ = (
    "/storage/v1/b?project=taxiway-local",
    "/bigquery/v2/projects/taxiway-local/datasets",
    "/crm/v1/projects/taxiway-local",
    "/api/v2/dags",
    "/api/v2/connections",
    "/api/v2/variables",
    "/execution/connections/google_cloud_default",
    "/taxiway/api/datasets",
    "/ui/auth/me",
    "/log/",
)
CHANGE = {
    "/storage/v1/b?project=taxiway-local": {"name": "of-a-stranger"},
    "/upload/storage/v1/b/taxiway-local-taxiway-local/o?uploadType=media&name=stranger": {},
    "/bigquery/v2/projects/taxiway-local/queries": QUERY,
    "/iam/v1/projects/taxiway-local/serviceAccounts": {"accountId": "stranger"},
    "/api/v2/dags/zones_to_lake/dagRuns": {"logical_date": None},
    "/api/v2/pools": {"name": "stranger", "slots": 1},
    "/auth/token": {"username": "admin", "password": "admin"},
    "/RPC2": {},
}


class Platform(NamedTuple):
    """A running platform as others see it: its processes and the ports they listen on."""

    pids: list[int]
    ports: list[int]

    @classmethod
    def of(cls, pids: Collection[int]) -> Platform:
        listening = (c for c in psutil.net_connections("tcp") if c.status == psutil.CONN_LISTEN)
        return cls(sorted(pids), sorted({c.laddr.port for c in listening if c.pid in pids}))

    @property
    def web_ports(self) -> list[int]:
        """Those at which a browser gets an answer."""

        def answers(port: int) -> bool:
            with suppress(requests.RequestException):
                requests.get(f"http://127.0.0.1:{port}/", timeout=5)
                return True
            return False

        return list(filter(answers, self.ports))


def as_nobody(platform: Platform) -> list[str]:
    """What an account without any rights was given, in words."""
    command = [sys.executable, __file__, ",".join(map(str, platform.pids)), *map(str, platform.ports)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    found: list[str] = json.loads(done.stdout)
    return found


def _over_http(port: int) -> Iterator[str]:
    start = ""
    with suppress(requests.RequestException):
        start = requests.get(f"http://127.0.0.1:{port}/", timeout=10).text
    for method, paths in (("GET", READ), ("POST", CHANGE)):
        for path in paths:
            body = CHANGE[path] if method == "POST" else None  # type: ignore[index]
            with suppress(requests.RequestException):
                url = f"http://127.0.0.1:{port}{path}"
                answer = requests.request(method, url, json=body, timeout=10, allow_redirects=False)
                # Airflow has one page, which asks people to sign in, for all addresses that it does not know.
                if answer.status_code < 400 and answer.text != start:
                    yield f"{method} {port}{path}: {answer.status_code} {answer.text[:80]!r}"


def _of_postgres(port: int) -> Iterator[str]:
    for user in ("postgres", "airflow", "taxi"):
        for password in ("", user):
            with suppress(psycopg.Error):
                psycopg.connect(
                    host="127.0.0.1",
                    port=port,
                    user=user,
                    password=password,
                    dbname="postgres",
                    connect_timeout=3,
                ).close()
                yield f"{user} signed in at port {port} with {password!r}"


def _over_grpc(port: int) -> Iterator[str]:
    name = "/google.cloud.bigquery.storage.v1.BigQueryRead/CreateReadSession"
    asked = types.CreateReadSessionRequest(parent="projects/taxiway-local")
    with suppress(grpc.RpcError), grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        channel.unary_unary(name)(types.CreateReadSessionRequest.serialize(asked), timeout=5)
        yield f"a read session at port {port}"


def _of_processes(pids: Sequence[str]) -> Iterator[str]:
    for pid in pids:
        for name in ("environ", "maps", "fd/0"):
            with suppress(OSError):
                Path(f"/proc/{pid}/{name}").read_bytes()
                yield f"/proc/{pid}/{name}"


def _main(pids: str, *ports: str) -> list[str]:
    # What is imported late is imported now: nobody may not read root's packages.
    list(_over_http(9))
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)
    found = [*_of_processes(pids.split(","))]
    for port in map(int, ports):
        found += [*_over_http(port), *_of_postgres(port), *_over_grpc(port)]
    return found


_PAGE = """<!doctype html><title>page</title><body><script>
const got = [];
const wait = (promise) => Promise.race([promise, new Promise((done) => setTimeout(done, 3000))]);
const take = async (how, url, options) => {
  try {
    const answer = await fetch(url, { credentials: "include", ...options });
    const text = await answer.text();
    if (answer.ok && text) got.push(`${how} ${url}: ${text.slice(0, 80)}`);
  } catch (refused) {}
};
const form = (url, name, value) => new Promise((done) => {
  const frame = document.body.appendChild(document.createElement("iframe"));
  frame.name = `frame-${Math.random()}`;
  frame.onload = done;
  const sent = document.body.appendChild(document.createElement("form"));
  Object.assign(sent, { method: "POST", action: url, enctype: "text/plain", target: frame.name });
  Object.assign(sent.appendChild(document.createElement("input")), { name, value });
  sent.submit();
});
const all = async () => {
  for (const port of PORTS) {
    const at = (path) => `http://127.0.0.1:${port}${path}`;
    await Promise.all(READ.map((path) => wait(take("GET", at(path), {}))));
    await Promise.all(Object.entries(CHANGE).flatMap(([path, body]) => {
      const text = JSON.stringify(body), headers = { "Content-Type": "application/json" };
      return [
        wait(take("JSON", at(path), { method: "POST", body: text, headers })),
        wait(take("text", at(path), { method: "POST", body: text, mode: "no-cors" })),
        wait(form(at(path), text.slice(0, -1) + (text === "{}" ? '"x":"' : ',"x":"'), '"}')),
      ];
    }));
  }
  document.title = "done";
};
all();
</script>"""


@dataclass
class Site:
    """A site of somebody else's with a page that tries all of that, on the site itself too: there it works.

    `kinds` are the content types of what the page has sent to it.
    """

    ports: Sequence[int]
    port: int = 0
    kinds: set[str] = field(default_factory=set)

    @property
    def page(self) -> str:
        page = _PAGE
        for name, value in (("PORTS", [*self.ports, self.port]), ("READ", READ), ("CHANGE", CHANGE)):
            page = page.replace(name, json.dumps(value))
        return page


@contextmanager
def site(ports: Sequence[int]) -> Iterator[Site]:
    """Serve it at any port."""
    found = Site(ports)

    class Careless(http.server.BaseHTTPRequestHandler):
        def _answer(self, kind: str, body: str) -> None:
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Access-Control-Allow-Origin", self.headers.get("Origin") or "*")
            self.send_header("Access-Control-Allow-Credentials", "true")
            self.send_header("Access-Control-Allow-Headers", "content-type")
            self.end_headers()
            self.wfile.write(body.encode())

        def do_GET(self) -> None:
            if self.path == "/":
                self._answer("text/html", found.page)
            else:
                self._answer("application/json", "{}")

        def do_POST(self) -> None:
            found.kinds.add(self.headers["Content-Type"].partition(";")[0])
            self._answer("application/json", "{}")

        do_OPTIONS = do_GET  # noqa: N815 - http.server's name
        log_message = functools.partialmethod(lambda *_: None)  # type: ignore[assignment]

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Careless) as server:
        found.port = server.server_address[1]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield found
        finally:
            server.shutdown()


if __name__ == "__main__":
    json.dump(_main(*sys.argv[1:]), sys.stdout)
