"""What the services answer with: JSON, Google's errors, parts of files, pages of lists."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import logging
import os
import re
import zlib
from bisect import bisect_right
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import unquote

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

Json = dict[str, Any]
PIECE = 1 << 20
HEALTH = "/healthz"
JSON_BYTES = 10 << 20
# Long enough for a client in a debugger; a dead one does not hold its file for ever.
STALL_SECONDS = 120.0
REASONS = {
    304: ("notModified", "ABORTED"),
    400: ("invalid", "INVALID_ARGUMENT"),
    401: ("authError", "UNAUTHENTICATED"),
    403: ("forbidden", "PERMISSION_DENIED"),
    404: ("notFound", "NOT_FOUND"),
    408: ("timeout", "DEADLINE_EXCEEDED"),
    409: ("conflict", "ABORTED"),
    412: ("conditionNotMet", "FAILED_PRECONDITION"),
    413: ("uploadTooLarge", "INVALID_ARGUMENT"),
    415: ("unsupportedMediaType", "INVALID_ARGUMENT"),
    416: ("requestedRangeNotSatisfiable", "OUT_OF_RANGE"),
    500: ("backendError", "INTERNAL"),
    501: ("notImplemented", "UNIMPLEMENTED"),
}
logger = logging.getLogger("http")


class Refused(Exception):  # noqa: N818 - it is an answer, not a fault of the program
    """An answer with Google's error body; `reason` and `status` default to the code's usual ones."""

    def __init__(
        self,
        code: int,
        message: str,
        reason: str = "",
        status: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        usual = REASONS.get(code, ("backendError", "UNKNOWN"))
        self.code, self.headers = code, headers
        self.reason, self.status = reason or usual[0], status or usual[1]


class Answer(JSONResponse):
    """A JSON answer, in Google's content type."""

    media_type = "application/json; charset=UTF-8"


def error_body(refused: Refused) -> Json:
    """Google's error body."""
    message = str(refused)
    entry = {"message": message, "domain": "global", "reason": refused.reason}
    return {"error": {"code": refused.code, "message": message, "errors": [entry], "status": refused.status}}


def error_answer(refused: Refused) -> Response:
    """The whole answer to a request that is refused; only 304 has no body."""
    if refused.code == 304:
        return Response(status_code=304)
    return Answer(error_body(refused), refused.code, refused.headers)


class Application:
    """The ASGI application of the service `name`: its routes, its health check, Google's errors.

    Paths are matched as they came, still quoted, because an object's name may hold a `/` (`%2F`); `part`
    unquotes what was matched. `normalize` may change a path before. Handlers find `store` in their
    application's state.
    """

    def __init__(
        self, name: str, routes: Sequence[BaseRoute], store: Any, normalize: Callable[[str], str] = str
    ) -> None:
        self._name, self._normalize = name, normalize
        self._app = Starlette(
            routes=[Route(HEALTH, self._health), *routes],
            exception_handlers={
                Refused: _refused, HTTPException: self._unknown, ClientDisconnect: _gone, Exception: _failed,
            },
        )  # fmt: skip
        self._app.router.redirect_slashes = False
        self._app.state.entry, self._app.state.store = self, store

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request."""
        path = self._normalize(re.sub("//+", "/", scope["raw_path"].decode("ascii")))
        override = dict(scope["headers"]).get(b"x-http-method-override")
        method = override.decode("latin-1").upper() if override else scope["method"]
        await self._app({**scope, "path": path, "method": method}, receive, send)

    async def _health(self, _request: Request) -> Response:
        return Answer({"status": "ok", "service": self._name})

    async def _unknown(self, request: Request, _error: Exception) -> Response:
        message = f"Not part of the emulated {self._name}: {request.method} {request.url.path}"
        logger.error("%s", message)
        return error_answer(Refused(501, message))


async def _refused(_request: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)  # noqa: S101 - Starlette registers it for nothing else
    return error_answer(error)


async def _gone(_request: Request, _error: Exception) -> Response:
    return Response(status_code=499)  # nobody is there to read it


async def _failed(_request: Request, error: Exception) -> Response:
    # Starlette raises the error again after this answer, and the server logs it with its traceback.
    return error_answer(Refused(500, f"{type(error).__name__}: {error}"))


def part(request: Request, name: str) -> str:
    """A part of the request's path, unquoted. Raises Refused 400 where that is not UTF-8."""
    try:
        return unquote(request.path_params[name], errors="strict")
    except UnicodeDecodeError:
        raise Refused(400, f"Not UTF-8: {request.path_params[name]!r}") from None


def base_url(request: Request) -> str:
    """Scheme, host and port under which this client knows the service; links in answers start with it."""
    return str(request.base_url).rstrip("/")


async def pieces(request: Request) -> AsyncIterator[bytes]:
    """The body as it arrives.

    Raises ClientDisconnect where it ends early, Refused 408 where nothing comes for two minutes.
    """
    more = True
    while more:
        try:
            async with asyncio.timeout(STALL_SECONDS):
                message = await request.receive()
        except TimeoutError:
            raise Refused(408, f"Nothing of the body came for {STALL_SECONDS:.0f} seconds.") from None
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        more = message.get("more_body", False)
        yield message.get("body", b"")


async def whole_body(request: Request, limit: int = JSON_BYTES) -> bytes:
    """The body, unzipped. Raises Refused 413 where it is more than `limit` bytes."""
    content = bytearray()
    async for piece in pieces(request):
        content += piece
        if len(content) > limit:
            raise Refused(413, f"The request's body is larger than {limit} bytes.")
    if request.headers.get("content-encoding", "").lower() != "gzip" or not content:
        return bytes(content)
    try:
        unzip = zlib.decompressobj(wbits=31)
        plain = unzip.decompress(bytes(content), limit)
    except zlib.error as error:
        raise Refused(400, f"The request's body is not gzip: {error}") from None
    if unzip.unconsumed_tail:
        raise Refused(413, f"The request's body is larger than {limit} bytes.")
    return plain


def parsed(content: bytes) -> Json:
    """The object in a JSON body; nothing where the body is empty. Raises Refused 400 for anything else."""
    try:
        found = json.loads(content or b"{}")
    except (ValueError, RecursionError) as error:
        raise Refused(400, f"Invalid JSON payload received: {error}", "parseError") from None
    if not isinstance(found, dict):
        raise Refused(400, f"A JSON object is expected, not {type(found).__name__}.", "parseError")
    return found


async def json_body(request: Request) -> Json:
    """The object in the request's JSON body."""
    return parsed(await whole_body(request))


class FileAnswer(Response):
    """An open file, or the part of it that a `Range` asks for; closed when sent. HEAD gets the headers alone.

    The file is open before anything is awaited: whoever replaces the object meanwhile does not change what a
    slow reader gets. Several ranges at once are answered with the whole, as RFC 9110 allows.
    """

    def __init__(self, request: Request, file: BinaryIO, headers: Mapping[str, str]) -> None:
        self._file, size = file, os.fstat(file.fileno()).st_size
        self._start, self._end, partial = _span(request.headers.get("range", ""), size)
        self._head_only, self.background = request.method == "HEAD", None
        self.status_code = 206 if partial else 200
        whole = {**headers, "Accept-Ranges": "bytes", "Content-Length": str(self._end - self._start)}
        if partial:
            whole["Content-Range"] = f"bytes {self._start}-{self._end - 1}/{size}"
        self.raw_headers = [(name.lower().encode(), value.encode()) for name, value in whole.items()]

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:  # noqa: ARG002 - ASGI
        """Send it, piece by piece."""
        with self._file:
            await send(
                {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
            )
            at = self._end if self._head_only else self._start
            while at < self._end:
                piece = os.pread(self._file.fileno(), min(PIECE, self._end - at), at)
                at += len(piece)
                async with asyncio.timeout(STALL_SECONDS):
                    await send({"type": "http.response.body", "body": piece, "more_body": at < self._end})
                # A connection that takes all at once would never let the others have their turn.
                await asyncio.sleep(0)
            if self._head_only or self._start == self._end:
                await send({"type": "http.response.body", "body": b""})


def _span(header: str, size: int) -> tuple[int, int, bool]:
    """Start, end (exclusive), and whether a part was asked for. Raises Refused 416 for one past the end."""
    match = re.fullmatch(r"\s*bytes=(\d{0,20})-(\d{0,20})\s*", header, re.ASCII)
    if not match or match.groups() == ("", ""):
        return 0, size, False
    first, last = match.groups()
    start = int(first) if first else max(0, size - int(last))
    end = min(size, int(last) + 1) if first and last else size
    if start >= size or end <= start:
        message = f"The requested range cannot be satisfied: {header} of {size} bytes."
        raise Refused(416, message, headers={"Content-Range": f"bytes */{size}"})
    return start, end, True


def number(query: Mapping[str, str], name: str, default: int, most: int) -> int:
    """A positive number in the query, at most `most`. Raises Refused 400 for what is none."""
    text = query.get(name) or str(default)
    if not re.fullmatch(r"\d{1,18}", text, re.ASCII):
        raise Refused(400, f"Invalid value for {name}: {text!r}; give a number.")
    return min(int(text) or default, most)


def token_of(last: Any) -> str:
    """The page token that goes on after `last`, a JSON value."""
    return base64.urlsafe_b64encode(json.dumps(last).encode()).decode()


def after(query: Mapping[str, str]) -> Any:
    """What `pageToken` says came last, None without a token. Raises Refused 400 for one not of ours."""
    token = query.get("pageToken")
    try:
        return json.loads(base64.urlsafe_b64decode(token)) if token else None
    except ValueError:
        raise Refused(400, f"Invalid page token: {token!r}.") from None


def page(entries: Mapping[str, Json], query: Mapping[str, str], size: str) -> tuple[list[Json], Json]:
    """The entries of one page, ordered by key, and `{"nextPageToken": ...}` where more follow.

    `size` is what this API calls the parameter with the page's length. Entries that come or go between two
    pages do not shift the others: a token names the last key.
    """
    keys, last = sorted(entries), after(query)
    start = bisect_right(keys, last) if isinstance(last, str) else 0
    chosen = keys[start : start + number(query, size, 1000, 1000)]
    more = start + len(chosen) < len(keys)
    return [entries[key] for key in chosen], {"nextPageToken": token_of(chosen[-1])} if more else {}


def project_number(project: str) -> str:
    """The twelve-digit number that every service of the emulated cloud gives `project`."""
    if project.isdigit():
        return project
    digest = int.from_bytes(hashlib.sha256(project.encode()).digest()[:8], "big")
    return str(100_000_000_000 + digest % 900_000_000_000)


def write_atomically(path: Path, content: bytes) -> None:
    """Replace `path`: a reader, or a restart after kill -9, sees all of the new content or the old.

    One writer at a time: what a kill leaves beside it, the next write replaces.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_bytes(content)
    temporary.replace(path)
