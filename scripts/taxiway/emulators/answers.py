"""What all services share: JSON bodies, Google's error bodies, ranges of files, pages of lists."""

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
from collections.abc import AsyncIterator, Mapping, Sequence
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
    matched part.
    """

    def __init__(self, name: str, routes: Sequence[BaseRoute], store: Any) -> None:
        async def healthy(_request: Request) -> Response:
            return Answer({"status": "ok", "service": name})

        async def failed(request: Request, error: Exception) -> Response:
            if isinstance(error, ClientDisconnect):
                return Response(status_code=499)  # nobody will read it
            if isinstance(error, HTTPException):  # no route
                message = f"Not part of the emulated {name}: {request.method} {request.url.path}"
                logging.getLogger("http").error("%s", message)
                error = HttpError(501, message)
            elif not isinstance(error, HttpError):
                # Starlette raises it again after this answer, so that the server logs its traceback.
                error = HttpError(500, f"{type(error).__name__}: {error}")
            return error_answer(error)

        handlers: Any = dict.fromkeys((HttpError, HTTPException, ClientDisconnect, Exception), failed)
        self._app = Starlette(routes=[Route(HEALTH, healthy), *routes], exception_handlers=handlers)
        self._app.router.redirect_slashes = False
        self._app.state.entry, self._app.state.store = self, store

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request."""
        path = re.sub("//+", "/", scope["raw_path"].decode("ascii"))
        override = dict(scope["headers"]).get(b"x-http-method-override", b"").decode("latin-1").upper()
        method = override if override and scope["method"] == "POST" else scope["method"]
        try:
            # Starlette would replace what is not UTF-8, and so make one name of another.
            unquote(scope["query_string"].decode("ascii"), errors="strict")
        except UnicodeDecodeError:
            await error_answer(HttpError(400, "The query is not UTF-8."))(scope, receive, send)
            return
        await self._app({**scope, "path": path, "method": method}, receive, send)


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
        if b"\\ud" in content.lower():
            # Half of a surrogate pair could be kept, but never sent again, alone or in a list.
            json.dumps(found, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise HttpError(400, f"Invalid JSON payload received: {error}", "parseError") from None
    if not isinstance(found, dict):
        raise HttpError(400, f"Expected a JSON object, got {type(found).__name__}.", "parseError")
    return found


class FileAnswer(Response):
    """An open file, or the range of it that the request asks for; closes the file when sent.

    Starlette's FileResponse opens its path after an `await`, when the object may have been replaced, and
    waits without end for a reader that stands still.
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
        with self._file:
            await send(
                {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
            )
            at, more = self._start, True
            while more:
                piece = (
                    b"" if self._head_only else os.pread(self._file.fileno(), min(PIECE, self._end - at), at)
                )
                at += len(piece)
                more = bool(piece) and at < self._end
                async with asyncio.timeout(STALL_SECONDS):
                    await send({"type": "http.response.body", "body": piece, "more_body": more})
                # `send` returns at once while the client keeps up: give other connections a turn.
                await asyncio.sleep(0)


def _range(header: str, size: int) -> tuple[int, int, bool]:
    """Start, end (exclusive), and whether a range was requested. Raises HttpError 416 past the end.

    A request for several ranges gets the whole file, as RFC 9110 allows.
    """
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


def page_token(last: list[Any]) -> str:
    """The token of the page after the entry with these values."""
    return base64.urlsafe_b64encode(json.dumps({"last": last}).encode()).decode()


def page_start(query: Mapping[str, str], first: list[Any]) -> list[Any]:
    """The values inside `pageToken`, `first` without one. Raises HttpError 400 for values of other types."""
    token = query.get("pageToken")
    if not token:
        return first
    try:
        found = parsed(base64.urlsafe_b64decode(token))["last"]
    except (ValueError, KeyError, HttpError):
        found = None
    if not isinstance(found, list) or [type(value) for value in found] != [type(value) for value in first]:
        raise HttpError(400, f"Invalid page token: {token!r}.")
    return found


def page(entries: Mapping[str, Json], query: Mapping[str, str], size: str) -> tuple[list[Json], Json]:
    """One page of `entries`, ordered by key, and `{"nextPageToken": ...}` if more follow.

    `size` is the API's name for the page length parameter. A token holds the last key, so entries added or
    removed between two requests do not shift the others.
    """
    keys, (last,) = sorted(entries), page_start(query, [""])
    start = bisect_right(keys, last)
    chosen = keys[start : start + number(query, size, 1000, 1000)]
    more = start + len(chosen) < len(keys)
    return [entries[key] for key in chosen], {"nextPageToken": page_token(chosen[-1:])} if more else {}


def etag(changes: int) -> str:
    """The entity tag of a resource after so many changes."""
    return base64.b64encode(b"\x08" + changes.to_bytes(7, "big")).decode()


def changes(tag: str) -> int:
    """The number of changes in a tag made by `etag`."""
    return int.from_bytes(base64.b64decode(tag)[1:], "big")


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
