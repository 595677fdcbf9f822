"""Uploads: in one request (media, multipart) or in many (resumable sessions)."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Mapping
from email.message import Message
from email.parser import BytesParser
from pathlib import Path
from weakref import WeakValueDictionary

from starlette.requests import Request
from starlette.responses import Response

from taxiway.emulators.answers import PIECE, Answer, Json, Refused, base_url, parsed, part, pieces, whole_body
from taxiway.emulators.gcs.resources import check_object, checked_metadata, linked, new_object, object_name
from taxiway.emulators.gcs.store import Incoming, Session, Store, Stored

PART_BYTES = 1 << 20
CHECKSUMS = {"crc32c": "crc32c", "md5": "md5Hash"}


async def upload(request: Request) -> Response:
    """POST or PUT of content: a whole object, or the start or a part of a session."""
    store: Store = request.app.state.store
    if "upload_id" in request.query_params:
        return await continue_session(request, store)
    bucket = part(request, "bucket")
    if store.bucket(bucket) is None:
        raise Refused(404, f"The specified bucket does not exist: {bucket!r}.")
    kind = request.query_params.get("uploadType")
    if kind == "resumable":
        return await _begin_session(request, store, bucket)
    if kind == "media":
        given = {"contentType": request.headers.get("content-type")}
        return await _store_whole(request, store, bucket, given, pieces(request))
    if kind == "multipart":
        boundary = _boundary(request.headers.get("content-type", ""))
        related = _Related(pieces(request), boundary)
        given = parsed((await related.next_part())[1])
        headers = await related.begin_part()
        given.setdefault("contentType", headers.get("Content-Type"))
        return await _store_whole(request, store, bucket, given, related.rest())
    raise Refused(400, f"Invalid value for uploadType: {kind!r}; give media, multipart or resumable.")


async def _store_whole(
    request: Request, store: Store, bucket: str, given: Json, content: AsyncIterator[bytes]
) -> Response:
    query = dict(request.query_params)
    name = object_name(query.get("name") or given.get("name"))
    given.setdefault("contentEncoding", query.get("contentEncoding"))
    fields = checked_metadata(given, new=True)
    check_object(query, store.live(bucket, name))
    with store.new_file() as path:
        incoming = Incoming(path)
        await receive(incoming, content)
        checksums = _expected(given, request)
        resource = commit(store, bucket, name, fields, query, incoming.content(), path, expected=checksums)
    return Answer(linked(resource, base_url(request)))


async def receive(incoming: Incoming, content: AsyncIterator[bytes]) -> None:
    """Write content as it arrives, about a MiB at a time, beside the event loop: hashing is slow.

    What had arrived before the client went away is written, too; whether it counts is the caller's to say.
    """
    waiting: list[bytes] = []
    size = 0
    try:
        async for piece in content:
            waiting.append(piece)
            size += len(piece)
            if size >= PIECE:
                # The list is let go of before the next piece comes: what one upload holds does not grow.
                full, waiting, size = waiting, [], 0
                await asyncio.to_thread(incoming.write, full)
    finally:
        # A small object is written sooner than a thread is woken.
        incoming.write(waiting)


def commit(
    store: Store, bucket: str, name: str, fields: Json, query: Mapping[str, str], content: Json, path: Path,
    *, expected: Json | None = None, session: str = "", instead_of: Stored | None = None,
) -> Json:  # fmt: skip
    """Make the file at `path` an object, and return its resource.

    `content`: what it tells of the file, which must agree with `expected`. Raises Refused 400, 404 or 412,
    and nothing has changed.
    """
    found = store.bucket(bucket)
    if found is None:
        raise Refused(404, f"The specified bucket does not exist: {bucket!r}.")
    # Again, after the content: another one may have been quicker.
    check_object(query, store.live(bucket, name))
    for key, wanted in (expected or {}).items():
        if wanted != content[key]:
            message = f'Provided {key} "{wanted}" doesn\'t match calculated {key} "{content[key]}".'
            raise Refused(400, message)
    resource = new_object(found[0], name, store.next_generation(), fields) | content
    store.put(resource, path, session=session, instead_of=instead_of)
    return resource


def _expected(given: Json, request: Request) -> Json:
    """The checksums that the client gave with the metadata or in its headers, by name in a resource."""
    found = {key: given[key] for key in CHECKSUMS.values() if given.get(key)}
    for header in request.headers.getlist("x-goog-hash"):
        for entry in header.split(","):
            name, _, value = entry.strip().partition("=")
            if name in CHECKSUMS:
                found[CHECKSUMS[name]] = value
    return found


# Sessions


async def _begin_session(request: Request, store: Store, bucket: str) -> Response:
    query = dict(request.query_params)
    given = parsed(await whole_body(request, PART_BYTES))
    name = object_name(query.get("name") or given.get("name"))
    given.setdefault("contentType", request.headers.get("x-upload-content-type"))
    fields = checked_metadata(given, new=True) | {
        key: given[key] for key in CHECKSUMS.values() if given.get(key)
    }
    check_object(query, store.live(bucket, name))
    made = store.begin(bucket, name, fields, query)
    target = f"{base_url(request)}/upload/storage/v1/b/{bucket}/o?uploadType=resumable&upload_id={made}"
    return Response(headers={"Location": target, "X-GUploader-UploadID": made})


_busy: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()


async def continue_session(request: Request, store: Store) -> Response:
    """A part of an upload, a question how far it is, or its end (DELETE)."""
    made = request.query_params["upload_id"]
    # A client that tries again may be here before its first attempt is known to be over.
    lock = _busy.setdefault(made, asyncio.Lock())
    async with lock:
        session = store.session(made)
        if session is None or session.bucket != part(request, "bucket"):
            raise Refused(404, f"No such upload session, or it is over: {made[:40]!r}")
        if session.done is not None:
            return Answer(linked(session.done, base_url(request)))
        if request.method == "DELETE":
            store.cancel(session)
            return Response(status_code=499)
        return await _take_chunk(request, store, session)


async def _take_chunk(request: Request, store: Store, session: Session) -> Response:
    start, end, total = _content_range(request.headers.get("content-range"))
    length = request.headers.get("content-length")
    if start is not None and end is not None and length is not None and int(length) != end - start:
        raise Refused(400, f"The chunk is of {length} bytes, and its Content-Range of {end - start}.")
    incoming = store.received(session)
    if start is not None:
        if start > incoming.size:
            # What lies between is lost: the client is told where it stands, and goes on from there.
            return _incomplete(incoming)
        # What is sent again, because the answer was lost, is not written again.
        await receive(incoming, _without_first(pieces(request), incoming.size - start))
        if end is None and total is None:
            total = incoming.size
    if total is None or incoming.size < total:
        return _incomplete(incoming)
    if incoming.size > total:
        raise Refused(400, f"The upload is of {incoming.size} bytes, and {total} were announced.")
    checksums = {key: session.given[key] for key in CHECKSUMS.values() if key in session.given}
    fields = {key: value for key, value in session.given.items() if key not in checksums}
    resource = commit(
        store, session.bucket, session.name, fields, session.query, incoming.content(), incoming.path,
        expected=checksums | _expected({}, request), session=session.id,
    )  # fmt: skip
    return Answer(linked(resource, base_url(request)))


def _incomplete(incoming: Incoming) -> Response:
    """308 and what has arrived: no `Range` at all where that is nothing."""
    headers = {"Range": f"bytes=0-{incoming.size - 1}"} if incoming.size else {}
    return Response(status_code=308, headers=headers)


def _content_range(header: str | None) -> tuple[int | None, int | None, int | None]:
    """First byte (None: only asks), end (exclusive; None: of the body) and total (None: not known yet).

    Raises Refused 400 for what is none.
    """
    if header is None:
        return 0, None, None
    match = re.fullmatch(r"bytes (?:\*|(\d{1,18})-(\d{1,18}|\*))/(\d{1,18}|\*)", header.strip(), re.ASCII)
    if not match:
        raise Refused(400, f"Invalid Content-Range: {header[:80]!r}")
    first, last, total = match.groups()
    start = int(first) if first else None
    end = int(last) + 1 if last and last != "*" else None
    if start is not None and end is not None and end < start:
        raise Refused(400, f"Invalid Content-Range: {header[:80]!r}")
    return start, end, None if total == "*" else int(total)


async def _without_first(content: AsyncIterator[bytes], count: int) -> AsyncIterator[bytes]:
    async for piece in content:
        yield piece[count:]
        count = max(0, count - len(piece))


# Multipart


def _boundary(content_type: str) -> bytes:
    message = Message()
    message["Content-Type"] = content_type
    found = message.get_param("boundary")
    if not isinstance(found, str) or not re.fullmatch(r"[ -~]{1,70}", found):
        raise Refused(400, "Invalid multipart request: no boundary.")
    return found.encode()


class _Related:
    """A `multipart/related` body read as it arrives: small parts whole, the last one as a stream."""

    def __init__(self, content: AsyncIterator[bytes], boundary: bytes) -> None:
        self._content, self._delimiter = content, b"\r\n--" + boundary
        self._buffer = b"\r\n"  # so that the first delimiter is like the others
        self._over = False

    async def next_part(self) -> tuple[Message, bytes]:
        """Headers and content of a part that fits into a MiB."""
        headers = await self.begin_part()
        content = await self._until(self._delimiter)
        self._buffer = self._delimiter + self._buffer
        return headers, content

    async def begin_part(self) -> Message:
        """The headers of the next part."""
        await self._until(self._delimiter)
        await self._until(b"\n")
        head = b""
        while (line := await self._until(b"\n")).strip():
            head += line + b"\n"
            if len(head) > PART_BYTES:
                raise Refused(400, "Invalid multipart request: a part has no end of its headers.")
        return BytesParser().parsebytes(head, headersonly=True)

    async def rest(self) -> AsyncIterator[bytes]:
        """The content of the part that has begun, up to its delimiter. Raises Refused 400 without one."""
        keep = len(self._delimiter)
        while (at := self._buffer.find(self._delimiter)) < 0:
            # A delimiter may have begun at the end of what is here.
            ready, self._buffer = self._buffer[: -keep + 1], self._buffer[-keep + 1 :]
            if ready:
                yield ready
            await self._more()
        yield self._buffer[:at]
        with contextlib.suppress(StopAsyncIteration):
            while True:
                await anext(self._content)

    async def _until(self, mark: bytes) -> bytes:
        while (at := self._buffer.find(mark)) < 0:
            if len(self._buffer) > PART_BYTES:
                raise Refused(400, f"Invalid multipart request: a part is larger than {PART_BYTES} bytes.")
            await self._more()
        found, self._buffer = self._buffer[:at], self._buffer[at + len(mark) :]
        return found

    async def _more(self) -> None:
        try:
            self._buffer += await anext(self._content)
        except StopAsyncIteration:
            raise Refused(400, "Invalid multipart request: it ends before its last delimiter.") from None
