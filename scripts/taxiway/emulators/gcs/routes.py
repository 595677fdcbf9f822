"""Requests that are answered here instead of by the library, each with the gap it closes."""

import re
from collections.abc import Callable
from typing import Any

from gcp_storage_emulator.exceptions import NotFound

from taxiway.emulators.gcs import buckets
from taxiway.emulators.gcs.store import Store
from taxiway.emulators.serving import google_error, project_number

Json = dict[str, Any]
Handler = Callable[[Any, Any, Store], None]


class Refused(Exception):  # noqa: N818 (it is an answer, not a fault of the program)
    """An answer with Google's error body."""

    def __init__(self, code: int, message: str, reason: str = "") -> None:
        super().__init__(message)
        self.code, self.body = code, google_error(code, message, reason)


def _first(request: Any, name: str) -> str | None:
    values = request.query.get(name)
    return str(values[0]) if values else None


def _bucket(request: Any, storage: Store) -> Json:
    name = request.params["bucket_name"]
    found = storage.buckets.get(name)
    if not isinstance(found, dict):
        raise Refused(404, f"The specified bucket does not exist: {name!r}.")
    return found


def check_conditions(request: Any, storage: Store) -> None:
    """Refuse with 412 what asks for another state than there is.

    Gap: the library ignores ifGenerationMatch and its kin, on insert (multipart, media, start and end of a
    resumable session), get, patch, delete, compose and as the target of copy and rewrite.
    """
    bucket = request.params.get("dest_bucket_name") or request.params.get("bucket_name")
    name = (
        request.params.get("dest_object_id")
        or request.params.get("object_id")
        or _upload_name(request, storage)
    )
    if not name:
        return _check_bucket_conditions(request, storage)
    live = storage.objects.get(bucket, {}).get(name) or {}
    _check(request, "ifGenerationMatch", live.get("generation", "0"), wanted=True)
    _check(request, "ifGenerationNotMatch", live.get("generation", "0"), wanted=False)
    _check(request, "ifMetagenerationMatch", live.get("metageneration", "0"), wanted=True)
    _check(request, "ifMetagenerationNotMatch", live.get("metageneration", "0"), wanted=False)
    return _check_generation(request, live)


def _check_bucket_conditions(request: Any, storage: Store) -> None:
    live = storage.buckets.get(request.params.get("bucket_name"), {})
    _check(request, "ifMetagenerationMatch", live.get("metageneration", "0"), wanted=True)
    _check(request, "ifMetagenerationNotMatch", live.get("metageneration", "0"), wanted=False)


def _check(request: Any, condition: str, present: str, *, wanted: bool) -> None:
    given = _first(request, condition)
    if given is not None and (given == present) is not wanted:
        what = "generation" if "Meta" not in condition else "metageneration"
        unmet = f"{condition}={given}, but the {what} is {present}"
        raise Refused(412, f"At least one of the pre-conditions you specified did not hold: {unmet}.")


def _check_generation(request: Any, live: Json) -> None:
    """Gap: the library answers, and deletes, whatever generation was asked for."""
    if _first(request, "softDeleted") or "restore" in request.path.rsplit("/", 1)[-1]:
        return
    given = _first(request, "generation")
    if given is not None and request.params.get("dest_object_id") is None and given != live.get("generation"):
        raise Refused(
            404, f"No such object: {request.params['bucket_name']}/{request.params['object_id']}#{given}"
        )


def _upload_name(request: Any, storage: Store) -> str | None:
    """Return the object an upload is for: in the query, in the metadata, or kept with the session."""
    if not request.path.endswith("/o") or request.method not in ("POST", "PUT"):
        return None
    session = storage.resumable.get(_first(request, "upload_id") or "")
    if session:
        return str(session["name"])
    data = request.data if isinstance(request.data, dict) else {}
    return _first(request, "name") or data.get("meta", data).get("name")


def list_buckets(request: Any, response: Any, storage: Store) -> None:
    """Gap: the library lists all projects' buckets, whatever the prefix, live ones as soft-deleted ones."""
    number = project_number(_project(request))
    prefix = _first(request, "prefix") or ""
    found = [
        bucket
        for name, bucket in sorted(storage.buckets.items())
        if bucket.get("projectNumber") == number and name.startswith(prefix)
    ]
    if _first(request, "softDeleted") == "true":
        found = []
    response.json({"kind": "storage#buckets", "items": found})


def _project(request: Any) -> str:
    project = _first(request, "project")
    if not project:
        raise Refused(400, "Required parameter: project", "required")
    return project


def insert_bucket(request: Any, response: Any, storage: Store) -> None:
    """Gap: the library keeps a bucket's name and nothing else of what it was created with."""
    body = request.data if isinstance(request.data, dict) else {}
    name = str(body.get("name") or "")
    if not buckets.valid_name(name):
        raise Refused(400, f"Invalid bucket name: {name!r}")
    if name in storage.buckets:
        raise Refused(
            409, "Your previous request to create the named bucket succeeded and you already own it."
        )
    response.json(storage.create_bucket(name, buckets.new_bucket(_project(request), body)))


def get_bucket(request: Any, response: Any, storage: Store) -> None:
    """Answer with the bucket, or with an error body."""
    response.json(_bucket(request, storage))


def patch_bucket(request: Any, response: Any, storage: Store) -> None:
    """Gap: the library's PATCH removes nothing."""
    changed = buckets.patched(_bucket(request, storage), request.data or {})
    response.json(storage.create_bucket(changed["name"], changed))


def put_bucket(request: Any, response: Any, storage: Store) -> None:
    """Gap: the library has no PUT, which the Python client's `bucket.update()` sends."""
    changed = buckets.replaced(_bucket(request, storage), request.data or {})
    response.json(storage.create_bucket(changed["name"], changed))


def delete_bucket(request: Any, response: Any, storage: Store) -> None:
    """Gap: the library refuses a bucket with objects without saying why."""
    name = _bucket(request, storage)["name"]
    if storage.objects.get(name):
        raise Refused(409, f"The bucket you tried to delete is not empty: {name!r}.")
    storage.delete_bucket(name)
    response.write_file("", content_type=None)


def get_policy(request: Any, response: Any, storage: Store) -> None:
    """Answer with the bucket's access policy."""
    response.json(_policy(request, storage))


def _policy(request: Any, storage: Store) -> Json:
    name = _bucket(request, storage)["name"]
    return storage.get_bucket_iam_policy(name) or buckets.policy(name, {}, {"etag": buckets.etag(0)})


def set_policy(request: Any, response: Any, storage: Store) -> None:
    """Gap: the library never changes the entity tag, so that of two writers at once one is lost."""
    present, body = _policy(request, storage), request.data or {}
    if body.get("etag") not in (None, "", present["etag"]):
        raise Refused(412, "The access policy changed since it was read; read it again.")
    name = request.params["bucket_name"]
    storage.set_bucket_iam_policy(name, buckets.policy(name, body, present))
    response.json(storage.get_bucket_iam_policy(name))


def list_caches(request: Any, response: Any, storage: Store) -> None:
    """Gap: the library has no Anywhere Cache, and the provider asks for it before it deletes a bucket."""
    _bucket(request, storage)
    response.json({"kind": "storage#anywhereCaches", "items": []})


def forbid_wipe(request: Any, response: Any, storage: Store) -> None:  # noqa: ARG001
    """Gap: the library deletes everything when anybody GETs /wipe."""
    raise Refused(404, "Not Found")


def health(request: Any, response: Any, storage: Store) -> None:  # noqa: ARG001
    """Answer that the service is ready."""
    response.json({"status": "ok", "service": "gcs"})


def download(request: Any, response: Any, storage: Store) -> None:
    """Gap: the library reads a whole object for each range of it, and answers past the end with 206."""
    file, resource = storage.open_file(request.params["bucket_name"], request.params["object_id"])
    start, end, partial = _range(request.get_header("range") or "", int(resource["size"]))
    response.status_code = 206 if partial else 200
    if partial:
        response["Content-Range"] = f"bytes {start}-{end - 1}/{resource['size']}"
    else:
        response["X-Goog-Hash"] = f"crc32c={resource['crc32c']},md5={resource['md5Hash']}"
    for name, value in _object_headers(resource).items():
        response[name] = value
    response.stream(file, start, end)


def _range(header: str, size: int) -> tuple[int, int, bool]:
    """Return start, end (exclusive) and whether a part was asked for. Refuses one past the end with 416."""
    match = re.fullmatch(r"\s*bytes=([0-9]*)-([0-9]*)\s*", header)
    if not match or match.groups() == ("", ""):
        return 0, size, False
    first, last = match.groups()
    start = int(first) if first else max(0, size - int(last))
    end = min(size, int(last) + 1) if first and last else size
    if start >= size:
        raise Refused(416, f"The requested range cannot be satisfied: {header} of {size} bytes.")
    return start, end, True


def _object_headers(resource: Json) -> dict[str, str]:
    custom = {f"x-goog-meta-{key}": str(value) for key, value in (resource.get("metadata") or {}).items()}
    return custom | {
        "Content-Type": resource.get("contentType") or "application/octet-stream",
        "ETag": str(resource.get("etag")),
        "X-Goog-Generation": str(resource["generation"]),
        "X-Goog-Metageneration": str(resource["metageneration"]),
        "Accept-Ranges": "bytes",
    }


def get_object(request: Any, response: Any, storage: Store) -> None:
    """Answer with an object's metadata or, with alt=media, its content."""
    if _first(request, "alt") == "media":
        return download(request, response, storage)
    bucket, name = request.params["bucket_name"], request.params["object_id"]
    try:
        if _first(request, "softDeleted") == "true":
            response.json(storage.get_soft_deleted_file_obj(bucket, name, _first(request, "generation")))
        else:
            response.json(storage.get_file_obj(bucket, name))
    except NotFound:
        raise Refused(404, f"No such object: {bucket}/{name}") from None
    return None


_B = r"(?:/storage/v1)?/b/(?P<bucket_name>[-.\w]+)"
_O = r"/o/(?P<object_id>.*[^/]+)"
_TABLE: tuple[tuple[str, dict[str, Handler]], ...] = (
    (r"/healthz", {"GET": health}),
    (r"/wipe", {"GET": forbid_wipe}),
    (r"(?:/storage/v1)?/b", {"GET": list_buckets, "POST": insert_bucket}),
    (_B, {"GET": get_bucket, "PATCH": patch_bucket, "PUT": put_bucket, "DELETE": delete_bucket}),
    (_B + r"/iam", {"GET": get_policy, "PUT": set_policy}),
    (_B + r"/anywhereCaches/?", {"GET": list_caches}),
    (_B + _O, {"GET": get_object}),
    (r"/download/storage/v1/b/(?P<bucket_name>[-.\w]+)" + _O, {"GET": download}),
)
ROUTES: tuple[tuple[re.Pattern[str], dict[str, Handler]], ...] = tuple(
    (re.compile(pattern), handlers) for pattern, handlers in _TABLE
)
LIBRARY_FIRST = re.compile(r".*/(?:acl|copyTo/.*|rewriteTo/.*|compose|restore)")
