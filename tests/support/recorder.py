"""Keeps what a process and Google's APIs say to each other, without secrets, so that it can be replayed.

    with Recorder(file, names={"my-project": "p1"}) as recorder:
        subprocess.run(command, env={**os.environ, **recorder.variables(folder)})

A line of the file is an exchange, in the form of tests/conformance/recordings. What is no API of Google's
goes by unseen. `check` refuses a file in which any secret of the run is found, however it came there.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import select
import socket
import ssl
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import Any, Final, Self
from urllib.parse import parse_qsl, urlencode, urlsplit

import requests
from http_server import HttpServer
from tls_proxy import GOOGLE, Tunnel, certificate

# The APIs, by the first part of a recorded path. Of other hosts of Google's only the status is kept.
APIS: Final = {
    "storage.googleapis.com": "gcs",
    "bigquery.googleapis.com": "bq",
    "iam.googleapis.com": "iam",
    "cloudresourcemanager.googleapis.com": "crm",
    "serviceusage.googleapis.com": "su",
}
REDACTED: Final = "REDACTED"
# Fields and parameters that open something, whatever their spelling; and what is signed.
_SECRET = re.compile(
    r"token$|^access_?token|^id_?token|secret|private_?key|password|assertion|credential|signature|^sig$"
    r"|upload_?id|^key$|signed",
    re.IGNORECASE,
)
# Of a list's pages, and of a query's: they open nothing, and a replay needs them.
_HARMLESS: Final = ("pageToken", "nextPageToken")
_HOP: Final = ("connection", "proxy-connection", "transfer-encoding", "content-length", "keep-alive")
_SECONDS = 120
_BODY_BYTES = 1 << 20
Connect = Callable[[str], http.client.HTTPConnection]


class Recorder:
    """A proxy on loopback. `names` are replaced in the file, such as a project by one that is nobody's.

    `connect` is how Google is reached.
    """

    def __init__(
        self, file: Path, names: Mapping[str, str] | None = None, connect: Connect | None = None
    ) -> None:
        self.file, self._names = file, dict(names or {})
        self._connect = connect or (lambda host: http.client.HTTPSConnection(host, timeout=_SECONDS))
        self._secrets: set[str] = set()
        self._lock = Lock()
        self.count = 0

    def __enter__(self) -> Self:
        recorder = self

        class Handler(_Handler):
            kept = recorder

        self.file.parent.mkdir(parents=True, exist_ok=True)
        self.file.write_text("")
        self.file.chmod(0o600)
        self._server = HttpServer(("127.0.0.1", 0), Handler).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop()
        self.check()

    def variables(self, folder: Path) -> dict[str, str]:
        """The variables of a process whose traffic shall be kept: it trusts one authority more."""
        paths = ssl.get_default_verify_paths()
        known = [os.environ.get("SSL_CERT_FILE"), paths.cafile, paths.openssl_cafile, requests.certs.where()]
        theirs = next(Path(file) for file in known if file and Path(file).exists())
        bundle = folder / "trusted.pem"
        bundle.write_bytes(theirs.read_bytes() + b"\n" + certificate()[0])
        proxy = f"http://127.0.0.1:{self._server.server_port}"
        trusted = ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "CURL_CA_BUNDLE", "HTTPLIB2_CA_CERTS")
        return {
            **dict.fromkeys(("HTTPS_PROXY", "https_proxy"), proxy),
            **dict.fromkeys(("NO_PROXY", "no_proxy"), "127.0.0.1,localhost"),
            **dict.fromkeys(trusted, str(bundle)),
        }

    def keep(self, host: str, method: str, target: str, sent: bytes, status: int, answered: bytes) -> None:
        """Keep one exchange."""
        request, response = _json(sent), _json(answered)
        self._learn(request)
        self._learn(response)
        parts = urlsplit(target)
        query = urlencode(_clean(dict(parse_qsl(parts.query, keep_blank_values=True))))
        path = f"/{APIS.get(host, host)}{parts.path}{'?' if query else ''}{query}"
        line = {"method": method, "path": path, "status": status, "answered_by": "google"}
        # Those that mint tokens exchange nothing but secrets.
        if host in APIS:
            line |= {"request": _clean(request) or "", "response": json.dumps(_clean(response) or {})}
        text = json.dumps(line)
        for name, other in self._names.items():
            text = text.replace(name, other)
        with self._lock, self.file.open("a") as file:
            file.write(text + "\n")
            self.count += 1

    def learn(self, secret: str) -> None:
        """Remember a secret that must not be in the file."""
        if len(secret) >= 8:
            self._secrets.add(secret)

    def _learn(self, value: Any, name: str = "") -> None:
        if isinstance(value, Mapping):
            for key, item in value.items():
                self._learn(item, key)
        elif isinstance(value, list):
            for item in value:
                self._learn(item, name)
        elif isinstance(value, str) and _is_secret(name):
            self.learn(value)

    def check(self) -> None:
        """Remove the file, and raise ValueError, if a secret that went by is in it."""
        text = self.file.read_text()
        if any(secret in text for secret in self._secrets):
            self.file.unlink()
            raise ValueError(f"{self.file} had a secret in it, and is removed: a defect of the recorder")


class _Handler(Tunnel):
    kept: Recorder

    def do_CONNECT(self) -> None:  # noqa: N802 - http.server's name
        host, _, port = self.path.partition(":")
        if host.endswith(GOOGLE):
            super().do_CONNECT()
            return
        # A publisher's, a package index': nobody's business here.
        try:
            other = socket.create_connection((host, int(port)), timeout=_SECONDS)
        except OSError as error:
            self.send_error(502, str(error))
            return
        with other:
            self.send_response(200)
            self.end_headers()
            self.wfile.flush()
            _relay(self.connection, other)
        self.close_connection = True

    def handle_request(self, host: str, body: bytes) -> None:
        if not host:
            self.send_error(405, "only HTTPS is recorded")
            return
        self.kept.learn(self.headers.get("authorization", "").partition(" ")[2])
        headers = {name: value for name, value in self.headers.items() if name.lower() not in _HOP}
        # What is recorded has to be read.
        headers |= {"Accept-Encoding": "identity", "Content-Length": str(len(body))}
        connection = self.kept._connect(host)
        try:
            connection.request(self.command, self.path, body, headers)
            answer = connection.getresponse()
            content = answer.read()
        except (OSError, http.client.HTTPException):
            # As it would have been without us: no answer.
            self.close_connection = True
            return
        finally:
            connection.close()
        self.kept.keep(host, self.command, self.path, body, answer.status, content)
        passed = {name: value for name, value in answer.getheaders() if name.lower() not in _HOP}
        self.reply(answer.status, passed, content)


def _relay(one: socket.socket, other: socket.socket) -> None:
    """Carry bytes both ways until one side is silent for long, or at its end."""
    ways = {one: other, other: one}
    while ready := select.select(list(ways), [], [], _SECONDS)[0]:
        for source in ready:
            with suppress(OSError):
                if data := source.recv(1 << 16):
                    ways[source].sendall(data)
                    continue
            return


def _json(content: bytes) -> Any:
    """The body as JSON; None for rows, bytes of objects, forms, and what is large."""
    if not content or len(content) > _BODY_BYTES:
        return None
    try:
        return json.loads(content)
    except ValueError:
        return None


def _clean(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: REDACTED if _is_secret(key) and item else _clean(item) for key, item in value.items()}
    return [_clean(item) for item in value] if isinstance(value, list) else value


def _is_secret(name: str) -> bool:
    return name not in _HARMLESS and bool(_SECRET.search(name))


class Replay:
    """A recording that answers again: each exchange once, in its order among those of its method and path."""

    def __init__(self, file: Path) -> None:
        self._lines: dict[tuple[str, str], list[dict[str, Any]]] = {}
        for text in file.read_text().splitlines():
            line = json.loads(text)
            self._lines.setdefault((line["method"], line["path"]), []).append(line)

    def answer(self, method: str, path: str) -> tuple[int, Any]:
        """Status and body of the next exchange; KeyError for one that was never recorded."""
        waiting = self._lines[method, path]
        # Who polls asks once more than the recorded one did: the last answer stays.
        line = waiting.pop(0) if len(waiting) > 1 else waiting[0]
        return line["status"], json.loads(line.get("response") or "{}")
