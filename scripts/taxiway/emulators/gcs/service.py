"""Handlers of Cloud Storage's JSON API.

A handler that does not `await` changes the store atomically: requests share one event loop.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import re
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from email.message import Message
from email.parser import BytesParser
from http import HTTPStatus
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import unquote, urlsplit
from weakref import WeakValueDictionary

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from taxiway.emulators import answers
from taxiway.emulators.answers import PIECE, Answer, Application, HttpError, Json, part
from taxiway.emulators.gcs import objects_root, resources
from taxiway.emulators.gcs.resources import check, checked_metadata, object_name
from taxiway.emulators.gcs.store import LIVE, NONCURRENT, SOFT_DELETED, Incoming, Session, Store, Stored

SOURCES = 32
BATCH = 100
PART_BYTES = 1 << 20
CHECKSUMS = {"crc32c": "crc32c", "md5": "md5Hash"}


@asynccontextmanager
async def open_app(data: Path) -> AsyncIterator[Application]:
    """The service over the objects under `data`."""
    store = Store(objects_root(data))
    try:
        yield Application("gcs", ROUTES, store)
    finally:
        store.close()


@dataclass(frozen=True)
class _Call:
    """A request with its JSON body, and what handlers need of it."""

    request: Request
    body: Json

    @property
    def method(self) -> str:
        return self.request.method

    @property
    def query(self) -> Mapping[str, str]:
        return self.request.query_params

    @property
    def store(self) -> Store:
        store: Store = self.request.app.state.store
        return store

    def bucket(self) -> Json:
        """The requested bucket's resource."""
        return self.store.bucket(part(self.request, "bucket"))[0]

    def name(self, parameter: str = "object") -> str:
        return part(self.request, parameter)

    def object(self, query: Mapping[str, str], key: str = "generation", name: str = "") -> Stored:
        """The requested object, or that of `name`; `query` may ask for an old or soft-deleted generation."""
        bucket, name = self.bucket()["name"], name or self.name()
        deleted, generation = query.get("softDeleted") == "true", query.get(key)
        if generation is None and not deleted:
            found = self.store.live(bucket, name)
        elif re.fullmatch(r"\d{1,18}", generation or "", re.ASCII):
            found = self.store.version(bucket, name, int(generation or 0), deleted=deleted)
        else:
            raise HttpError(400, f"Invalid value for {key}: {generation!r}. Give a number.")
        if found is None:
            raise HttpError(404, f"No such object: {bucket}/{name}{f'#{generation}' if generation else ''}")
        return found

    def shown(self, resource: Json) -> Json:
        return resources.linked(resource, answers.base_url(self.request))


Handler = Callable[[_Call], Any]


def _route(path: str, handler: Handler, *methods: str, has_json: bool = True) -> Route:
    async def endpoint(request: Request) -> Response:
        content = await answers.whole_body(request) if has_json else b""
        answer = handler(_Call(request, answers.parsed(content)))
        if inspect.isawaitable(answer):
            answer = await answer
        return answer if isinstance(answer, Response) else Answer(answer)

    return Route(path, endpoint, methods=methods or ["GET"])


# Buckets


def _project(call: _Call) -> str:
    project = call.query.get("project")
    if not project:
        raise HttpError(400, "Required parameter: project", "required")
    return project


def _list_buckets(call: _Call) -> Json:
    number, prefix = answers.project_number(_project(call)), call.query.get("prefix", "")
    found = {
        bucket["name"]: bucket
        for bucket in call.store.buckets()
        if bucket["projectNumber"] == number and bucket["name"].startswith(prefix)
    }
    # Buckets themselves are never soft-deleted here.
    items, more = answers.page(
        {} if call.query.get("softDeleted") == "true" else found, call.query, "maxResults"
    )
    return {"kind": "storage#buckets", "items": items, **more}


def _insert_bucket(call: _Call) -> Json:
    bucket = resources.new_bucket(_project(call), call.body)
    if any(other["name"] == bucket["name"] for other in call.store.buckets()):
        message = "Your previous request to create the named bucket succeeded and you already own it."
        raise HttpError(409, message)
    call.store.put_bucket(bucket)
    return bucket


def _one_bucket(call: _Call) -> Any:
    bucket, policy = call.store.bucket(call.name("bucket"))
    check(call.query, bucket, reading=call.method == "GET")
    if call.method == "GET":
        return bucket
    if call.method == "DELETE":
        if not call.store.delete_bucket(bucket["name"]):
            raise HttpError(409, f"The bucket you tried to delete is not empty: {bucket['name']!r}.")
        return Response(status_code=204)
    changed = resources.changed_bucket(bucket, call.body, merge=call.method == "PATCH")
    call.store.put_bucket(changed, policy)
    return changed


def _policy(call: _Call) -> Json:
    """Read or replace a bucket's access policy; 412 if it changed since it was read."""
    bucket, present = call.store.bucket(call.name("bucket"))
    fixed = {"kind": "storage#policy", "resourceId": f"projects/_/buckets/{bucket['name']}"}
    present = present or {**fixed, "version": 1, "etag": answers.etag(1), "bindings": []}
    if call.method == "GET":
        return present
    if call.body.get("etag") not in (None, "", present["etag"]):
        raise HttpError(412, "The access policy changed since it was read; read it again.")
    tag = answers.etag(answers.changes(present["etag"]) + 1)
    bindings = [binding for binding in call.body.get("bindings") or [] if binding.get("members")]
    changed = {**fixed, "version": call.body.get("version", 1), "etag": tag, "bindings": bindings}
    call.store.put_bucket(bucket, changed)
    return changed


def _test_permissions(call: _Call) -> Json:
    """Grant every permission: emulators check none."""
    call.bucket()
    asked = call.request.query_params.getlist("permissions")
    return {"kind": "storage#testIamPermissionsResponse", "permissions": asked}


def _list_caches(call: _Call) -> Json:
    """An empty list; the Pulumi provider requests it before it deletes a bucket."""
    call.bucket()
    return {"kind": "storage#anywhereCaches", "items": []}


def _service_account(call: _Call) -> Json:
    agent = f"service-{answers.project_number(call.name('project'))}@gs-project-accounts"
    return {"kind": "storage#serviceAccount", "email_address": f"{agent}.iam.gserviceaccount.com"}


# Objects


def _list_objects(call: _Call) -> Json:
    bucket, query = call.bucket(), call.query
    most = answers.number(query, "maxResults", 1000, 1000)
    items: list[Json] = []
    prefixes: list[str] = []
    answer: Json = {"kind": "storage#objects"}
    start, generation = answers.page_start(query, ["", -1])
    generation = max(-1, min(generation, 1 << 62))  # SQLite has no larger numbers
    for entry in _listing(call.store, bucket["name"], query, start, generation):
        if len(items) + len(prefixes) == most:
            answer["nextPageToken"] = answers.page_token([start, generation])
            break
        if isinstance(entry, str):
            prefixes.append(entry)
            start, generation = _behind(entry), -1
        else:
            items.append(call.shown(entry.resource))
            start, generation = entry.name, entry.generation
    answer |= {"items": items} if items else {}
    return answer | ({"prefixes": prefixes} if prefixes else {})


def _listing(
    store: Store, bucket: str, query: Mapping[str, str], start: str, generation: int
) -> Iterator[Stored | str]:
    """Objects and common prefixes, in order, after `start` and `generation`."""
    prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
    end, pattern = query.get("endOffset"), query.get("matchGlob")
    matches = re.compile(_glob(pattern), re.DOTALL) if pattern else None
    states = [LIVE, NONCURRENT] if query.get("versions") == "true" else [LIVE]
    if query.get("softDeleted") == "true":
        states = [SOFT_DELETED]
    start, generation = max((start, generation), (prefix, -1), (query.get("startOffset", ""), -1))
    while True:
        for stored in store.listed(bucket, states, start, generation):
            name = stored.name
            if not name.startswith(prefix) or (end and name >= end):
                return
            at = name.find(delimiter, len(prefix)) if delimiter else -1
            if at >= 0:
                group = name[: at + len(delimiter)]
                if name == group and query.get("includeTrailingDelimiter") == "true":
                    yield stored
                yield group
                # Skip the group, which may hold most of the bucket.
                start, generation = _behind(group), -1
                break
            if matches is None or matches.fullmatch(name):
                yield stored
        else:
            return


def _behind(prefix: str) -> str:
    """The smallest string greater than all that start with `prefix`."""
    code = ord(prefix[-1]) + 1
    # Surrogates cannot occur in names.
    return prefix[:-1] + chr(min(0xE000 if code == 0xD800 else code, 0x10FFFF))


def _glob(pattern: str) -> str:
    """The regular expression of a glob: `*` matches within a folder, `**` across, `{a,b}` either."""
    signs = {"**": ".*", "*": "[^/]*", "?": "[^/]", "{": "(?:", "}": ")", ",": "|"}
    found, depth = "", 0
    for sign in re.findall(r"\*\*|\[!?[^\]]+\]|.", pattern, re.DOTALL):
        depth += {"{": 1, "}": -1}.get(sign, 0)
        if sign[0] == "[" and len(sign) > 2:
            negated, inner = sign[1] == "!", sign[1:-1].lstrip("!")
            found += f"[{'^' * negated}" + re.escape(inner).replace(r"\-", "-") + "]"
        else:
            found += signs[sign] if sign in signs and (sign != "," or depth) else re.escape(sign)
    return found


def _one_object(call: _Call) -> Any:
    """Read, download, change or delete an object, or permanently one of its generations."""
    if call.method == "DELETE":
        # An object that does not exist fails a precondition before it is not found.
        check(call.query, call.store.live(call.bucket()["name"], call.name()))
        call.store.delete(call.object(call.query), keep_version="generation" not in call.query)
        return Response(status_code=204)
    stored = call.object(call.query)
    check(call.query, stored, reading=call.method == "GET")
    if call.method != "GET":
        changed = resources.changed_object(stored.resource, call.body, merge=call.method == "PATCH")
        call.store.update(stored, changed)
        return call.shown(changed)
    if call.query.get("alt") != "media" and not call.request.url.path.startswith("/download/"):
        return call.shown(stored.resource)
    headers = resources.download_headers(stored.resource)
    return answers.FileAnswer(call.request, _opened(call.store, stored), headers)


def _opened(store: Store, stored: Stored) -> BinaryIO:
    try:
        return store.path(stored).open("rb")
    except FileNotFoundError:
        # Someone removed the file; the other objects are not affected.
        raise HttpError(404, f"The content of {stored.bucket}/{stored.name} is lost.") from None


def _copy_object(call: _Call) -> Json:
    """Handle copyTo and rewriteTo; a rewrite completes with its first request."""
    source = call.object(call.query, "sourceGeneration")
    check(call.query, source, prefix="ifSource")
    given = call.body if any(key in call.body for key in resources.OBJECT_WRITABLE) else source.resource
    with call.store.new_file() as path:
        # Files never change, so a hard link is a copy.
        os.link(call.store.path(source), path)
        shown = _renewed(call, source, call.name("to_bucket"), "to_object", given, path)
    if "/copyTo/" in call.request.url.path:
        return shown
    size = {"totalBytesRewritten": shown["size"], "objectSize": shown["size"]}
    return {"kind": "storage#rewriteResponse", **size, "done": True, "resource": shown}


def _move_object(call: _Call) -> Json:
    """Rename an object within its bucket, atomically."""
    source = call.object({})
    check(call.query, source, prefix="ifSource")
    path = call.store.path(source)
    return _renewed(call, source, source.bucket, "to_object", source.resource, path, source)


def _restore_object(call: _Call) -> Json:
    """Restore a soft-deleted generation as a new one."""
    source = call.object({"generation": "0", **call.query, "softDeleted": "true"})
    path = call.store.path(source)
    return _renewed(call, source, source.bucket, "object", source.resource, path, source)


def _renewed(
    call: _Call, source: Stored, bucket: str, target: str, given: Json, path: Path,
    instead_of: Stored | None = None,
) -> Json:  # fmt: skip
    """Make a new generation with the content of `source`; `target` is the path parameter with its name."""
    fields = checked_metadata(given, new=True)
    kept = ("size", "md5Hash", "crc32c", "componentCount")
    content = {key: source.resource[key] for key in kept if key in source.resource}
    name = object_name(call.name(target))
    return call.shown(
        _commit(call.store, bucket, name, fields, call.query, content, path, instead_of=instead_of)
    )


async def _compose_object(call: _Call) -> Json:
    """Concatenate up to 32 objects of a bucket into one."""
    store, bucket, name = call.store, call.bucket()["name"], object_name(call.name())
    entries = call.body.get("sourceObjects")
    if not isinstance(entries, list) or not 1 <= len(entries) <= SOURCES:
        raise HttpError(400, f"Give 1 to {SOURCES} source objects.")
    sources = []
    for entry in entries:
        if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
            raise HttpError(400, f"A source object needs a name: {entry!r}")
        generation = {"generation": str(entry["generation"])} if "generation" in entry else {}
        source = call.object(generation, name=entry["name"])
        conditions = entry.get("objectPreconditions") or {}
        check({key: str(value) for key, value in conditions.items()}, source)
        sources.append(source)
    fields = checked_metadata(call.body.get("destination") or {}, new=True)
    files = [_opened(store, source) for source in sources]

    def concatenate(incoming: Incoming) -> None:
        for file in files:
            with file:
                while piece := file.read(PIECE):
                    incoming.write([piece])

    with store.new_file() as path:
        incoming = Incoming(path)
        await asyncio.to_thread(concatenate, incoming)
        count = sum(source.resource.get("componentCount", 1) for source in sources)
        content = incoming.content() | {"componentCount": count}
        del content["md5Hash"]  # a composite object has none
        return call.shown(_commit(store, bucket, name, fields, call.query, content, path))


# Uploads in one request (media, multipart)


async def _upload(call: _Call) -> Any:
    """POST, PUT or DELETE on a bucket's objects: a whole object, or a step of a session."""
    request, kind = call.request, call.query.get("uploadType")
    if "upload_id" in call.query:
        return await _continue_session(call)
    bucket = call.bucket()["name"]
    if kind == "resumable":
        return await _begin_session(call, bucket)
    if kind == "media":
        given: Json = {"contentType": request.headers.get("content-type")}
        return await _store_whole(call, bucket, given, answers.pieces(request))
    if kind == "multipart":
        given, content = await _related(request)
        return await _store_whole(call, bucket, given, content)
    raise HttpError(400, f"Invalid value for uploadType: {kind!r}. Give media, multipart or resumable.")


async def _store_whole(call: _Call, bucket: str, given: Json, content: AsyncIterator[bytes]) -> Json:
    store, query = call.store, call.query
    name = object_name(query.get("name") or given.get("name"))
    given.setdefault("contentEncoding", query.get("contentEncoding"))
    fields = checked_metadata(given, new=True)
    check(query, store.live(bucket, name))
    with store.new_file() as path:
        incoming = Incoming(path)
        await _receive(incoming, content)
        checksums = _expected(given, call.request)
        found = incoming.content()
        return call.shown(_commit(store, bucket, name, fields, query, found, path, expected=checksums))


async def _receive(incoming: Incoming, content: AsyncIterator[bytes]) -> None:
    """Write content as it arrives, about a MiB at a time, in a thread because hashing takes milliseconds.

    If the client disconnects, the bytes received so far are written, too; the caller decides about them.
    """
    waiting: list[bytes] = []
    size = 0
    try:
        async for piece in content:
            waiting.append(piece)
            size += len(piece)
            if size >= PIECE:
                # Drop the list before the next piece arrives, so that memory stays flat.
                full, waiting, size = waiting, [], 0
                await asyncio.to_thread(incoming.write, full)
    finally:
        # For a small object, starting a thread costs more than writing it.
        incoming.write(waiting)


def _commit(
    store: Store, bucket: str, name: str, fields: Json, query: Mapping[str, str], content: Json, path: Path,
    *, expected: Json | None = None, session: str = "", instead_of: Stored | None = None,
) -> Json:  # fmt: skip
    """Make the file at `path` an object, and return its resource.

    `content` holds the file's size and checksums, which must match `expected`. Raises HttpError 400, 404 or
    412 without changing anything.
    """
    found, _ = store.bucket(bucket)
    # Checked again after the upload: another one may have finished meanwhile.
    check(query, store.live(bucket, name))
    for key, wanted in (expected or {}).items():
        if wanted != content[key]:
            message = f'Provided {key} "{wanted}" doesn\'t match calculated {key} "{content[key]}".'
            raise HttpError(400, message)
    resource = resources.new_object(found, name, store.next_generation(), fields) | content
    store.put(resource, path, session=session, instead_of=instead_of)
    return resource


def _expected(given: Json, request: Request) -> Json:
    """The checksums in the metadata or headers of a request, by field name."""
    found = {key: given[key] for key in CHECKSUMS.values() if given.get(key)}
    for header in request.headers.getlist("x-goog-hash"):
        for entry in header.split(","):
            name, _, value = entry.strip().partition("=")
            if name in CHECKSUMS:
                found[CHECKSUMS[name]] = value
    return found


async def _related(request: Request) -> tuple[Json, AsyncIterator[bytes]]:
    """Metadata and content of a `multipart/related` body, whose end is its last delimiter."""
    message = Message()
    message["Content-Type"] = request.headers.get("content-type", "")
    boundary = message.get_param("boundary")
    if not isinstance(boundary, str) or not re.fullmatch(r"[ -~]{1,70}", boundary):
        raise HttpError(400, "Invalid multipart request: no boundary.")
    delimiter, content = b"\r\n--" + boundary.encode(), answers.pieces(request)
    # The line break makes the first delimiter look like the others.
    beginning, cut_off = (
        b"\r\n",
        HttpError(400, "Invalid multipart request: it ends before its last delimiter."),
    )
    while True:
        parts = beginning.split(delimiter, 2)
        if len(parts) == 3 and b"\r\n\r\n" in parts[2]:
            break
        if len(beginning) > PART_BYTES:
            raise HttpError(400, f"Invalid multipart request: a part is larger than {PART_BYTES} bytes.")
        if not (piece := await anext(content, b"")):
            raise cut_off
        beginning += piece
    given = answers.parsed(parts[1].partition(b"\r\n\r\n")[2])
    head, _, first = parts[2].partition(b"\r\n\r\n")
    given.setdefault("contentType", BytesParser().parsebytes(head.lstrip())["Content-Type"])

    async def rest() -> AsyncIterator[bytes]:
        held, ending = first, delimiter + b"--"
        while (at := held.find(ending)) < 0:
            # It may end with the beginning of the delimiter.
            ready, held = held[: -len(ending)], held[-len(ending) :]
            yield ready
            if not (piece := await anext(content, b"")):
                raise cut_off
            held += piece
        yield held[:at]
        async for _ in content:  # what follows has no meaning
            pass

    return given, rest()


# Resumable uploads


async def _begin_session(call: _Call, bucket: str) -> Response:
    query, headers = dict(call.query), call.request.headers
    given = answers.parsed(await answers.whole_body(call.request, PART_BYTES))
    name = object_name(query.get("name") or given.get("name"))
    given.setdefault("contentType", headers.get("x-upload-content-type"))
    checksums = {key: given[key] for key in CHECKSUMS.values() if given.get(key)}
    check(query, call.store.live(bucket, name))
    made = call.store.begin(bucket, name, checked_metadata(given, new=True) | checksums, query)
    path = f"/upload/storage/v1/b/{bucket}/o?uploadType=resumable&upload_id={made}"
    location = answers.base_url(call.request) + path
    return Response(headers={"Location": location, "X-GUploader-UploadID": made})


_busy: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()


async def _continue_session(call: _Call) -> Any:
    """PUT of a chunk, a status request, or DELETE to cancel."""
    made = call.query["upload_id"]
    # A retry may arrive before the server notices that the first attempt was cut off.
    lock = _busy.setdefault(made, asyncio.Lock())
    async with lock:
        session = call.store.session(made)
        if session is None or session.bucket != call.name("bucket"):
            raise HttpError(404, f"No such upload session: {made[:40]!r}")
        if session.done is not None:
            return call.shown(session.done)
        if call.method == "DELETE":
            call.store.cancel(session)
            return Response(status_code=499)
        return await _take_chunk(call, session)


async def _take_chunk(call: _Call, session: Session) -> Any:
    request = call.request
    start, end, total = _content_range(request.headers.get("content-range"))
    length = request.headers.get("content-length")
    if start is not None and end is not None and length is not None and int(length) != end - start:
        raise HttpError(400, f"The chunk has {length} bytes, its Content-Range {end - start}.")
    incoming = call.store.received(session)
    # If bytes are missing before it, a chunk is ignored, and the client continues from what is there.
    if start is not None and start <= incoming.size:
        # A client whose answer was lost sends bytes again; they are skipped.
        await _receive(incoming, _without_first(answers.pieces(request), incoming.size - start))
        if end is None and total is None:
            total = incoming.size
    if total is None or incoming.size < total:
        # `Range` is left out while nothing was received.
        headers = {"Range": f"bytes=0-{incoming.size - 1}"} if incoming.size else {}
        return Response(status_code=308, headers=headers)
    if incoming.size > total:
        raise HttpError(400, f"The upload has {incoming.size} bytes, {total} were announced.")
    expected = _expected(session.given, request)
    fields = {key: value for key, value in session.given.items() if key not in CHECKSUMS.values()}
    resource = _commit(
        call.store, session.bucket, session.name, fields, session.query, incoming.content(), incoming.path,
        expected=expected, session=session.id,
    )  # fmt: skip
    return call.shown(resource)


def _content_range(header: str | None) -> tuple[int | None, int | None, int | None]:
    """First byte (None: status request), end (exclusive; None: the body's) and total (None: unknown yet)."""
    if header is None:
        return 0, None, None
    match = re.fullmatch(r"bytes (?:\*|(\d{1,18})-(\d{1,18}|\*))/(\d{1,18}|\*)", header.strip(), re.ASCII)
    first, last, total = match.groups() if match else (None, None, None)
    start = int(first) if first else None
    end = int(last) + 1 if last and last != "*" else None
    if not match or (start is not None and end is not None and end < start):
        raise HttpError(400, f"Invalid Content-Range: {header[:80]!r}")
    return start, end, None if total == "*" else int(total or 0)


async def _without_first(content: AsyncIterator[bytes], count: int) -> AsyncIterator[bytes]:
    async for piece in content:
        yield piece[count:]
        count = max(0, count - len(piece))


# Batches


async def _batch(call: _Call) -> Response:
    """Answer up to a hundred requests, in their order."""
    request = call.request
    head = f"Content-Type: {request.headers.get('content-type', '')}\r\n\r\n".encode()
    parts = BytesParser().parsebytes(head + await answers.whole_body(request)).get_payload()
    if not isinstance(parts, list) or len(parts) > BATCH:
        raise HttpError(400, f"A batch is multipart/mixed, of at most {BATCH} requests.")
    boundary = f"batch_{os.urandom(12).hex()}"
    content = b""
    for entry in parts:
        assert isinstance(entry, Message)  # noqa: S101 - what a multipart message consists of
        content += f"--{boundary}\r\n".encode() + await _inner(request, entry) + b"\r\n"
    media_type = f"multipart/mixed; boundary={boundary}"
    return Response(content + f"--{boundary}--\r\n".encode(), media_type=media_type)


async def _inner(request: Request, entry: Message) -> bytes:
    """The answer to one request of a batch, as a part's content."""
    payload = entry.get_payload(decode=True)
    line, _, rest = (payload if isinstance(payload, bytes) else b"").lstrip().partition(b"\n")
    try:
        method, target, *_ = line.decode("ascii").split()
    except (UnicodeDecodeError, ValueError):
        raise HttpError(400, f"Invalid request in a batch: {line[:80]!r}") from None
    inner, url = BytesParser().parsebytes(rest), urlsplit(target)
    if url.path.startswith(("/upload", "/download", "/batch")) or "alt=media" in url.query:
        raise HttpError(400, f"A batch cannot contain uploads or downloads: {line[:80]!r}")
    headers = [pair for pair in request.scope["headers"] if pair[0] == b"host"]
    headers += [(name.lower().encode(), str(value).encode()) for name, value in inner.items()]
    scope = {
        **request.scope, "method": method.upper(), "path": unquote(url.path), "raw_path": url.path.encode(),
        "query_string": url.query.encode(), "headers": headers,
    }  # fmt: skip
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": inner.get_payload(decode=True) or b""}

    async def send(message: Any) -> None:
        sent.append(message)

    await request.app.state.entry(scope, receive, send)
    status = HTTPStatus(sent[0]["status"])
    lines = [
        b"Content-Type: application/http",
        f"Content-ID: response-{entry['Content-ID'] or ''}\r\n".encode(),
        f"HTTP/1.1 {status.value} {status.phrase}".encode(),
        *(name + b": " + value for name, value in sent[0]["headers"]),
        b"",
        b"".join(message.get("body", b"") for message in sent[1:]),
    ]
    return b"\r\n".join(lines)


_V1 = "/storage/v1"
_B = _V1 + "/b/{bucket}"
_O = _B + "/o/{object}"
ROUTES = [
    # Routes are tried in order: frequent ones first.
    _route(_B + "/o", _list_objects),
    _route("/upload" + _B + "/o", _upload, "POST", "PUT", "DELETE", has_json=False),
    _route("/download" + _O, _one_object),
    _route(_O, _one_object, "GET", "PATCH", "PUT", "DELETE"),
    _route(_V1 + "/b", _list_buckets),
    _route(_V1 + "/b", _insert_bucket, "POST"),
    _route(_B, _one_bucket, "GET", "PATCH", "PUT", "DELETE"),
    _route(_B + "/iam", _policy, "GET", "PUT"),
    _route(_B + "/iam/testPermissions", _test_permissions),
    _route(_B + "/anywhereCaches", _list_caches),
    _route(_B + "/anywhereCaches/", _list_caches),
    _route(_O + "/compose", _compose_object, "POST"),
    _route(_O + "/restore", _restore_object, "POST"),
    _route(_O + "/copyTo/b/{to_bucket}/o/{to_object}", _copy_object, "POST"),
    _route(_O + "/rewriteTo/b/{to_bucket}/o/{to_object}", _copy_object, "POST"),
    _route(_O + "/moveTo/o/{to_object}", _move_object, "POST"),
    _route(_V1 + "/projects/{project}/serviceAccount", _service_account),
    _route("/batch" + _V1, _batch, "POST", has_json=False),
]
