"""Answers that all services share: JSON, Google's error bodies, file ranges, pages of lists."""

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
HEALTH = "/healthz"
PIECE = 1 << 20
JSON_BYTES = 10 << 20
# Long enough for a client that is stopped in a debugger.
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


class HttpError(Exception):
    """An answer with Google's error body; `reason` and `status` default to the usual ones of the code."""

    def __init__(
        self, code: int, message: str, reason: str = "", status: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(message)
        usual = REASONS.get(code, ("backendError", "UNKNOWN"))
        self.code, self.headers = code, headers
        self.reason, self.status = reason or usual[0], status or usual[1]


class Answer(JSONResponse):
    """JSON with Google's content type."""

    media_type = "application/json; charset=UTF-8"


def error_answer(error: HttpError) -> Response:
    """The response to a request that failed; 304 has no body."""
    if error.code == 304:
        return Response(status_code=304)
    entry = {"message": str(error), "domain": "global", "reason": error.reason}
    body = {"code": error.code, "message": str(error), "errors": [entry], "status": error.status}
    return Answer({"error": body}, error.code, error.headers)


class Application:
    """The ASGI application of the service `name`; handlers find `store` in `request.app.state`.

    Routes match the quoted path, because an object's name may contain a `/` (`%2F`); `part` unquotes a
    matched part. `normalize` may rewrite a path before it is matched.
    """

    def __init__(
        self, name: str, routes: Sequence[BaseRoute], store: Any, normalize: Callable[[str], str] = str
    ) -> None:
        self._name, self._normalize = name, normalize
        self._app = Starlette(
            routes=[Route(HEALTH, self._health), *routes],
            exception_handlers={
                HttpError: _failed, HTTPException: self._unknown, ClientDisconnect: _gone, Exception: _broken,
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
        return error_answer(HttpError(501, message))


async def _failed(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HttpError)  # noqa: S101 - Starlette calls it for nothing else
    return error_answer(error)


async def _gone(_request: Request, _error: Exception) -> Response:
    return Response(status_code=499)  # the client has left and will not read it


async def _broken(_request: Request, error: Exception) -> Response:
    # Starlette raises the error again after this answer, so that the server logs its traceback.
    return error_answer(HttpError(500, f"{type(error).__name__}: {error}"))


def part(request: Request, name: str) -> str:
    """A part of the request's path, unquoted. Raises HttpError 400 if it is not UTF-8."""
    try:
        return unquote(request.path_params[name], errors="strict")
    except UnicodeDecodeError:
        raise HttpError(400, f"Not UTF-8: {request.path_params[name]!r}") from None


def base_url(request: Request) -> str:
    """Scheme, host and port by which this client reached the service; links in answers start with it."""
    return str(request.base_url).rstrip("/")


async def pieces(request: Request) -> AsyncIterator[bytes]:
    """The request's body as it arrives.

    Raises ClientDisconnect if it ends early, HttpError 408 if no byte arrives for two minutes.
    """
    more = True
    while more:
        try:
            async with asyncio.timeout(STALL_SECONDS):
                message = await request.receive()
        except TimeoutError:
            raise HttpError(408, f"No part of the body arrived for {STALL_SECONDS:.0f} seconds.") from None
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        more = message.get("more_body", False)
        yield message.get("body", b"")


async def whole_body(request: Request, limit: int = JSON_BYTES) -> bytes:
    """The whole body, unzipped. Raises HttpError 413 if it is larger than `limit` bytes."""
    too_large = HttpError(413, f"The request's body is larger than {limit} bytes.")
    content = bytearray()
    async for piece in pieces(request):
        content += piece
        if len(content) > limit:
            raise too_large
    if request.headers.get("content-encoding", "").lower() != "gzip" or not content:
        return bytes(content)
    try:
        unzip = zlib.decompressobj(wbits=31)
        plain = unzip.decompress(bytes(content), limit)
    except zlib.error as error:
        raise HttpError(400, f"The request's body is not gzip: {error}") from None
    if unzip.unconsumed_tail:
        raise too_large
    return plain


def parsed(content: bytes) -> Json:
    """The JSON object in `content`, empty if there is no content. Raises HttpError 400 for anything else."""
    try:
        found = json.loads(content or b"{}")
    except (ValueError, RecursionError) as error:
        raise HttpError(400, f"Invalid JSON payload received: {error}", "parseError") from None
    if not isinstance(found, dict):
        raise HttpError(400, f"Expected a JSON object, got {type(found).__name__}.", "parseError")
    return found


async def json_body(request: Request) -> Json:
    """The JSON object in the request's body."""
    return parsed(await whole_body(request))


class FileAnswer(Response):
    """An open file, or the range of it that the request asks for; closes the file when sent.

    The file is opened before the first `await`, so replacing the object does not affect a slow reader. A
    request for several ranges gets the whole file, as RFC 9110 allows.
    """

    def __init__(self, request: Request, file: BinaryIO, headers: Mapping[str, str]) -> None:
        self._file, size = file, os.fstat(file.fileno()).st_size
        self._start, self._end, partial = _range(request.headers.get("range", ""), size)
        self._head_only, self.background = request.method == "HEAD", None
        self.status_code = 206 if partial else 200
        whole = {**headers, "Accept-Ranges": "bytes", "Content-Length": str(self._end - self._start)}
        if partial:
            whole["Content-Range"] = f"bytes {self._start}-{self._end - 1}/{size}"
        self.raw_headers = [(name.lower().encode(), value.encode()) for name, value in whole.items()]

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:  # noqa: ARG002 - ASGI
        """Send it in pieces of a MiB."""
        head = {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
        with self._file:
            await send(head)
            at = self._end if self._head_only else self._start
            while at < self._end:
                piece = os.pread(self._file.fileno(), min(PIECE, self._end - at), at)
                at += len(piece)
                async with asyncio.timeout(STALL_SECONDS):
                    await send({"type": "http.response.body", "body": piece, "more_body": at < self._end})
                # `send` returns at once while the client keeps up: give other connections a turn.
                await asyncio.sleep(0)
            if self._head_only or self._start == self._end:
                await send({"type": "http.response.body", "body": b""})


def _range(header: str, size: int) -> tuple[int, int, bool]:
    """Start, end (exclusive), and whether a range was requested. Raises HttpError 416 past the end."""
    match = re.fullmatch(r"\s*bytes=(\d{0,20})-(\d{0,20})\s*", header, re.ASCII)
    if not match or match.groups() == ("", ""):
        return 0, size, False
    first, last = match.groups()
    start = int(first) if first else max(0, size - int(last))
    end = min(size, int(last) + 1) if first and last else size
    if start >= size or end <= start:
        message = f"The requested range cannot be satisfied: {header} of {size} bytes."
        raise HttpError(416, message, headers={"Content-Range": f"bytes */{size}"})
    return start, end, True


def number(query: Mapping[str, str], name: str, default: int, most: int) -> int:
    """A positive number from the query, capped at `most`. Raises HttpError 400 for anything else."""
    text = query.get(name) or str(default)
    if not re.fullmatch(r"\d{1,18}", text, re.ASCII):
        raise HttpError(400, f"Invalid value for {name}: {text!r}. Give a number.")
    return min(int(text) or default, most)


def page_token(last: Any) -> str:
    """The token of the page after `last`, any JSON value."""
    return base64.urlsafe_b64encode(json.dumps(last).encode()).decode()


def page_start(query: Mapping[str, str]) -> Any:
    """The value inside `pageToken`, None without one. Raises HttpError 400 for a token of other origin."""
    token = query.get("pageToken")
    try:
        return json.loads(base64.urlsafe_b64decode(token)) if token else None
    except ValueError:
        raise HttpError(400, f"Invalid page token: {token!r}.") from None


def page(entries: Mapping[str, Json], query: Mapping[str, str], size: str) -> tuple[list[Json], Json]:
    """One page of `entries`, ordered by key, and `{"nextPageToken": ...}` if more follow.

    `size` is the API's name for the page length parameter. A token holds the last key, so entries added or
    removed between two requests do not shift the others.
    """
    keys, last = sorted(entries), page_start(query)
    start = bisect_right(keys, last) if isinstance(last, str) else 0
    chosen = keys[start : start + number(query, size, 1000, 1000)]
    more = start + len(chosen) < len(keys)
    return [entries[key] for key in chosen], {"nextPageToken": page_token(chosen[-1])} if more else {}


def project_number(project: str) -> str:
    """The twelve-digit number of `project`, the same in every service."""
    if project.isdigit():
        return project
    digest = int.from_bytes(hashlib.sha256(project.encode()).digest()[:8], "big")
    return str(100_000_000_000 + digest % 900_000_000_000)


def write_atomically(path: Path, content: bytes) -> None:
    """Replace `path`, so that a reader, or a restart after kill -9, finds the old content or the new.

    Allows one writer at a time: the next write overwrites the temporary file that a kill leaves.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_bytes(content)
    temporary.replace(path)
