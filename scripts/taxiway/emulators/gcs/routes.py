"""The requests of Cloud Storage's JSON API, and the XML API's GET and PUT of one object."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from email.message import Message
from email.parser import BytesParser
from http import HTTPStatus
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import unquote, urlsplit

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from taxiway.emulators.answers import (
    PIECE,
    Answer,
    Application,
    FileAnswer,
    Json,
    Refused,
    after,
    base_url,
    json_body,
    number,
    page,
    part,
    pieces,
    project_number,
    token_of,
    whole_body,
)
from taxiway.emulators.gcs import objects_root, resources, uploads
from taxiway.emulators.gcs.resources import check, check_object, linked
from taxiway.emulators.gcs.store import LIVE, NONCURRENT, SOFT_DELETED, Incoming, Store, Stored

SOURCES = 32
BATCH = 100


@asynccontextmanager
async def open_app(data: Path) -> AsyncIterator[Application]:
    """The service over the objects under `data`."""
    store = Store(objects_root(data))
    try:
        yield Application("gcs", ROUTES, store, without_api)
    finally:
        store.close()


def without_api(path: str) -> str:
    """The path without `/storage/v1`: some clients leave it away where they talk to an emulator."""
    return re.sub(r"^(/upload|/download|)/storage/v1(?=/)", r"\1", path)


# Buckets


def _bucket(request: Request) -> tuple[Store, Json, Json | None]:
    """Store, bucket and policy of the bucket that is named. Raises Refused 404 where there is none."""
    store: Store = request.app.state.store
    name = part(request, "bucket")
    found = store.bucket(name)
    if found is None:
        raise Refused(404, f"The specified bucket does not exist: {name!r}.")
    return store, *found


def _project(request: Request) -> str:
    project = request.query_params.get("project")
    if not project:
        raise Refused(400, "Required parameter: project", "required")
    return project


async def _list_buckets(request: Request) -> Response:
    number_, query = project_number(_project(request)), request.query_params
    store: Store = request.app.state.store
    found = {
        bucket["name"]: bucket
        for bucket in store.buckets()
        if bucket["projectNumber"] == number_ and bucket["name"].startswith(query.get("prefix", ""))
    }
    # A bucket that is deleted here is gone.
    items, more = page({} if query.get("softDeleted") == "true" else found, query, "maxResults")
    return Answer({"kind": "storage#buckets", "items": items, **more})


async def _insert_bucket(request: Request) -> Response:
    store: Store = request.app.state.store
    bucket = resources.new_bucket(_project(request), await json_body(request))
    if store.bucket(bucket["name"]):
        message = "Your previous request to create the named bucket succeeded and you already own it."
        raise Refused(409, message)
    store.put_bucket(bucket)
    return Answer(bucket)


async def _get_bucket(request: Request) -> Response:
    _, bucket, _ = _bucket(request)
    check(request.query_params, bucket, reading=True)
    return Answer(bucket)


async def _change_bucket(request: Request) -> Response:
    body = await json_body(request)
    store, bucket, policy = _bucket(request)
    check(request.query_params, bucket)
    change = resources.patched_bucket if request.method == "PATCH" else resources.replaced_bucket
    changed = change(bucket, body)
    store.put_bucket(changed, policy)
    return Answer(changed)


async def _delete_bucket(request: Request) -> Response:
    store, bucket, _ = _bucket(request)
    check(request.query_params, bucket)
    if not store.delete_bucket(bucket["name"]):
        raise Refused(409, f"The bucket you tried to delete is not empty: {bucket['name']!r}.")
    return Response(status_code=204)


async def _get_policy(request: Request) -> Response:
    _, bucket, policy = _bucket(request)
    return Answer(policy or resources.new_policy(bucket["name"], {}, 0))


async def _set_policy(request: Request) -> Response:
    """Replace a bucket's access policy. Raises Refused 412 where it was changed since it was read."""
    body = await json_body(request)
    store, bucket, policy = _bucket(request)
    present = policy or resources.new_policy(bucket["name"], {}, 0)
    if body.get("etag") not in (None, "", present["etag"]):
        raise Refused(412, "The access policy changed since it was read; read it again.")
    changed = resources.new_policy(bucket["name"], body, resources.changes(present["etag"]))
    store.put_bucket(bucket, changed)
    return Answer(changed)


async def _test_permissions(request: Request) -> Response:
    """All the permissions that are asked for: whoever is served may do everything."""
    _bucket(request)
    asked = request.query_params.getlist("permissions")
    return Answer({"kind": "storage#testIamPermissionsResponse", "permissions": asked})


async def _list_caches(request: Request) -> Response:
    """No Anywhere Caches; the Pulumi provider asks for them before it deletes a bucket."""
    _bucket(request)
    return Answer({"kind": "storage#anywhereCaches", "items": []})


async def _service_account(request: Request) -> Response:
    """The account by which Cloud Storage itself would act in a project."""
    email = f"service-{project_number(part(request, 'project'))}@gs-project-accounts.iam.gserviceaccount.com"
    return Answer({"kind": "storage#serviceAccount", "email_address": email})


# Objects


def _object(request: Request) -> tuple[Store, Stored]:
    """Store and the generation that is asked for, by default the live one. Raises Refused 404."""
    store, bucket, _ = _bucket(request)
    return store, _found(store, bucket["name"], part(request, "object"), request.query_params)


def _found(
    store: Store, bucket: str, name: str, query: Mapping[str, str], parameter: str = "generation"
) -> Stored:
    generation = query.get(parameter)
    if generation is None:
        found = store.live(bucket, name)
    else:
        deleted = query.get("softDeleted") == "true"
        wanted = number(query, parameter, 0, 1 << 62)
        found = store.version(bucket, name, wanted, deleted=deleted)
    if found is None:
        raise Refused(404, f"No such object: {bucket}/{name}{f'#{generation}' if generation else ''}")
    return found


async def _list_objects(request: Request) -> Response:
    store, bucket, _ = _bucket(request)
    query, base = request.query_params, base_url(request)
    most = number(query, "maxResults", 1000, 1000)
    items: list[Json] = []
    prefixes: list[str] = []
    answer: Json = {"kind": "storage#objects"}
    start, generation = after(query) or ("", -1)
    for entry in _listing(store, bucket["name"], query, str(start), int(generation)):
        if len(items) + len(prefixes) == most:
            answer["nextPageToken"] = token_of([start, generation])
            break
        if isinstance(entry, str):
            prefixes.append(entry)
            start, generation = _behind(entry), -1
        else:
            items.append(linked(entry.resource, base))
            start, generation = entry.name, entry.generation
    answer |= {"items": items} if items else {}
    return Answer(answer | ({"prefixes": prefixes} if prefixes else {}))


def _listing(
    store: Store, bucket: str, query: Mapping[str, str], start: str, generation: int
) -> Iterator[Stored | str]:
    """Objects, and common prefixes in their place, after `start` and `generation`."""
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
                # The group may hold all of the bucket: none of it is read.
                start, generation = _behind(group), -1
                break
            if matches is None or matches.fullmatch(name):
                yield stored
        else:
            return


def _behind(prefix: str) -> str:
    """The first text behind all that begin with `prefix`."""
    code = ord(prefix[-1]) + 1
    # Surrogates are no characters: no name can hold one.
    return prefix[:-1] + chr(min(0xE000 if code == 0xD800 else code, 0x10FFFF))


def _glob(pattern: str) -> str:
    """A regular expression for a glob: `*` stays within a folder, `**` does not, `{a,b}` is a choice."""
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


async def _get_object(request: Request) -> Response:
    store, stored = _object(request)
    check_object(request.query_params, stored, reading=True)
    if request.query_params.get("alt") != "media":
        return Answer(linked(stored.resource, base_url(request)))
    return _content(request, store, stored)


async def _download(request: Request) -> Response:
    store, stored = _object(request)
    check_object(request.query_params, stored, reading=True)
    return _content(request, store, stored)


def _content(request: Request, store: Store, stored: Stored) -> Response:
    return FileAnswer(request, _opened(store, stored), resources.download_headers(stored.resource))


def _opened(store: Store, stored: Stored) -> BinaryIO:
    try:
        return store.path(stored).open("rb")
    except FileNotFoundError:
        # Somebody removed it behind our back: the others are as good as before.
        raise Refused(404, f"The content of {stored.bucket}/{stored.name} is lost.") from None


async def _change_object(request: Request) -> Response:
    body = await json_body(request)
    store, stored = _object(request)
    check_object(request.query_params, stored)
    change = resources.patched_object if request.method == "PATCH" else resources.replaced_object
    changed = change(stored.resource, body)
    store.update(stored, changed)
    return Answer(linked(changed, base_url(request)))


async def _delete_object(request: Request) -> Response:
    """Delete an object, or one of its generations for good."""
    store, bucket, _ = _bucket(request)
    name = part(request, "object")
    check_object(request.query_params, store.live(bucket["name"], name))
    stored = _found(store, bucket["name"], name, request.query_params)
    store.delete(stored, keep_version="generation" not in request.query_params)
    return Response(status_code=204)


async def _copy_object(request: Request) -> Response:
    """By copyTo or rewriteTo; a rewrite is done with its first request."""
    body = await json_body(request)
    store, bucket, _ = _bucket(request)
    source = _found(store, bucket["name"], part(request, "object"), request.query_params, "sourceGeneration")
    check(request.query_params, source.resource, live=source.state == LIVE, prefix="ifSource")
    given = body if any(key in body for key in resources.OBJECT_WRITABLE) else source.resource
    with store.new_file() as path:
        # Content never changes: the copy is a second name of the same file.
        os.link(store.path(source), path)
        shown = _renewed(request, source, part(request, "to_bucket"), "to_object", given, path)
    if "/copyTo/" in request.url.path:
        return Answer(shown)
    size = {"totalBytesRewritten": shown["size"], "objectSize": shown["size"]}
    return Answer({"kind": "storage#rewriteResponse", **size, "done": True, "resource": shown})


async def _move_object(request: Request) -> Response:
    """Give an object another name in its bucket, at once."""
    store, bucket, _ = _bucket(request)
    source = _found(store, bucket["name"], part(request, "object"), {})
    check(request.query_params, source.resource, prefix="ifSource")
    path = store.path(source)
    return Answer(_renewed(request, source, source.bucket, "to_object", source.resource, path, source))


async def _restore_object(request: Request) -> Response:
    """Bring a soft-deleted generation back, as a new one."""
    store, bucket, _ = _bucket(request)
    asked = {"generation": "0", **request.query_params, "softDeleted": "true"}
    source = _found(store, bucket["name"], part(request, "object"), asked)
    path = store.path(source)
    return Answer(_renewed(request, source, source.bucket, "object", source.resource, path, source))


def _renewed(
    request: Request, source: Stored, bucket: str, target: str, given: Json, path: Path,
    instead_of: Stored | None = None,
) -> Json:  # fmt: skip
    """A new generation with the content of `source`, as a client sees it; `target` names a part."""
    fields = resources.checked_metadata(given, new=True)
    kept = ("size", "md5Hash", "crc32c", "componentCount")
    content = {key: source.resource[key] for key in kept if key in source.resource}
    name, query = resources.object_name(part(request, target)), request.query_params
    store: Store = request.app.state.store
    resource = uploads.commit(store, bucket, name, fields, query, content, path, instead_of=instead_of)
    return linked(resource, base_url(request))


async def _compose_object(request: Request) -> Response:
    """Concatenate up to 32 objects of a bucket into one."""
    body = await json_body(request)
    store, bucket, _ = _bucket(request)
    name, query = resources.object_name(part(request, "object")), request.query_params
    entries = body.get("sourceObjects")
    if not isinstance(entries, list) or not 1 <= len(entries) <= SOURCES:
        raise Refused(400, f"Give 1 to {SOURCES} source objects.")
    sources = [_source(store, bucket["name"], entry) for entry in entries]
    fields = resources.checked_metadata(body.get("destination") or {}, new=True)
    files = [_opened(store, source) for source in sources]
    with store.new_file() as path:
        incoming = Incoming(path)
        await asyncio.to_thread(_concatenate, files, incoming)
        count = sum(source.resource.get("componentCount", 1) for source in sources)
        content = incoming.content() | {"componentCount": count}
        del content["md5Hash"]  # a composite object has none
        resource = uploads.commit(store, bucket["name"], name, fields, query, content, path)
    return Answer(linked(resource, base_url(request)))


def _source(store: Store, bucket: str, entry: Any) -> Stored:
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
        raise Refused(400, f"A source object needs a name: {entry!r}")
    found = _found(store, bucket, entry["name"], {key: str(value) for key, value in entry.items()})
    conditions = entry.get("objectPreconditions") or {}
    check({key: str(value) for key, value in conditions.items()}, found.resource, live=found.state == LIVE)
    return found


def _concatenate(files: list[BinaryIO], incoming: Incoming) -> None:
    for file in files:
        with file:
            while piece := file.read(PIECE):
                incoming.write([piece])


async def _xml(request: Request) -> Response:
    if request.path_params["bucket"] in ("b", "batch", "download", "projects", "storage", "upload"):
        raise HTTPException(404)  # of the JSON API, and not there
    if request.method != "PUT":
        return await _download(request)
    store, bucket, _ = _bucket(request)
    name = resources.object_name(part(request, "object"))
    fields = resources.checked_metadata({"contentType": request.headers.get("content-type")})
    with store.new_file() as path:
        incoming = Incoming(path)
        await uploads.receive(incoming, pieces(request))
        resource = uploads.commit(store, bucket["name"], name, fields, {}, incoming.content(), path)
    return Response(headers={"X-Goog-Generation": resource["generation"], "ETag": resource["etag"]})


# Batches


async def _batch(request: Request) -> Response:
    """Up to a hundred requests in one, each answered for itself, in their order."""
    head = f"Content-Type: {request.headers.get('content-type', '')}\r\n\r\n".encode()
    whole = BytesParser().parsebytes(head + await whole_body(request))
    parts = whole.get_payload()
    if not isinstance(parts, list) or len(parts) > BATCH:
        raise Refused(400, f"A batch is multipart/mixed, of at most {BATCH} requests.")
    answers = [await _inner(request, entry) for entry in parts if isinstance(entry, Message)]
    boundary = f"batch_{os.urandom(12).hex()}"
    content = b"".join(f"--{boundary}\r\n".encode() + answer + b"\r\n" for answer in answers)
    media_type = f"multipart/mixed; boundary={boundary}"
    return Response(content + f"--{boundary}--\r\n".encode(), media_type=media_type)


async def _inner(request: Request, entry: Message) -> bytes:
    """Answer one request of a batch, as the content of its part."""
    payload = entry.get_payload(decode=True)
    line, _, rest = (payload if isinstance(payload, bytes) else b"").lstrip().partition(b"\n")
    try:
        method, target, *_ = line.decode("ascii").split()
    except (UnicodeDecodeError, ValueError):
        raise Refused(400, f"Invalid request in a batch: {line[:80]!r}") from None
    inner, url = BytesParser().parsebytes(rest), urlsplit(target)
    body = inner.get_payload(decode=True) or b""
    headers = [(name.lower().encode(), str(value).encode()) for name, value in inner.items()]
    if url.path.startswith(("/upload", "/download", "/batch")) or "alt=media" in url.query:
        raise Refused(400, f"A batch holds no uploads and downloads: {line[:80]!r}")
    host = [(name, value) for name, value in request.scope["headers"] if name == b"host"]
    scope = {
        **request.scope, "method": method.upper(), "path": unquote(url.path), "raw_path": url.path.encode(),
        "query_string": url.query.encode(), "headers": [*host, *headers],
    }  # fmt: skip
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": body}

    async def send(message: Any) -> None:
        sent.append(message)

    await request.app.state.entry(scope, receive, send)
    status = HTTPStatus(sent[0]["status"])
    lines = [
        b"Content-Type: application/http",
        f"Content-ID: response-{entry['Content-ID'] or ''}".encode(),
        b"",
    ]
    lines += [f"HTTP/1.1 {status.value} {status.phrase}".encode()]
    lines += [name + b": " + value for name, value in sent[0]["headers"]]
    return b"\r\n".join([*lines, b"", b"".join(message.get("body", b"") for message in sent[1:])])


_B, _O = "/b/{bucket}", "/b/{bucket}/o/{object}"
ROUTES = [
    Route("/b", _list_buckets),
    Route("/b", _insert_bucket, methods=["POST"]),
    Route(_B, _get_bucket),
    Route(_B, _change_bucket, methods=["PATCH", "PUT"]),
    Route(_B, _delete_bucket, methods=["DELETE"]),
    Route(f"{_B}/iam", _get_policy),
    Route(f"{_B}/iam", _set_policy, methods=["PUT"]),
    Route(f"{_B}/iam/testPermissions", _test_permissions),
    Route(f"{_B}/anywhereCaches", _list_caches),
    Route(f"{_B}/anywhereCaches/", _list_caches),
    Route(f"{_B}/o", _list_objects),
    Route(f"{_B}/o", uploads.upload, methods=["POST", "PUT", "DELETE"]),
    Route(f"/upload{_B}/o", uploads.upload, methods=["POST", "PUT", "DELETE"]),
    Route(f"/download{_O}", _download),
    Route(_O, _get_object),
    Route(_O, _change_object, methods=["PATCH", "PUT"]),
    Route(_O, _delete_object, methods=["DELETE"]),
    Route(f"{_O}/compose", _compose_object, methods=["POST"]),
    Route(f"{_O}/restore", _restore_object, methods=["POST"]),
    Route(f"{_O}/copyTo/b/{{to_bucket}}/o/{{to_object}}", _copy_object, methods=["POST"]),
    Route(f"{_O}/rewriteTo/b/{{to_bucket}}/o/{{to_object}}", _copy_object, methods=["POST"]),
    Route(f"{_O}/moveTo/o/{{to_object}}", _move_object, methods=["POST"]),
    Route("/projects/{project}/serviceAccount", _service_account),
    Route("/batch/storage/v1", _batch, methods=["POST"]),
    Route("/batch", _batch, methods=["POST"]),
    # Its slashes may stand unquoted.
    Route("/{bucket}/{object:path}", _xml, methods=["GET", "PUT"]),
]
