"""Corrections inside the library's object handlers, applied once at start."""

import functools
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from gcp_storage_emulator.handlers import objects as library

Json = dict[str, Any]
_make = library._make_object_resource
WRITABLE = tuple(library._WRITABLE_FIELDS)


def correct_library() -> None:
    """Put the corrections below into the library's module."""
    library._make_object_resource = functools.partial(_new_object, _make)
    library._patch_object = _patched
    library._resumable_incomplete = _incomplete


def _new_object(
    make: Any,
    base: str,
    bucket: str,
    name: str,
    content_type: str | None,
    size: Any,
    metadata: Json | None = None,
) -> Json:
    """Gap: the library starts at metageneration 2 wherever metadata was given, and copies acl of a source."""
    given = {key: value for key, value in (metadata or {}).items() if key != "acl"}
    resource: Json = make(base, bucket, name, content_type, size, given)
    resource["metageneration"] = "1"
    return resource


def _patched(resource: Json, metadata: Json | None) -> Json:
    """Gap: the library replaces custom metadata as a whole, ignores null, and leaves `updated` alone."""
    changes = {key: value for key, value in (metadata or {}).items() if key in WRITABLE}
    for key, value in changes.items():
        if key == "metadata" and isinstance(value, dict):
            kept = (resource.get("metadata") or {}) | value
            resource["metadata"] = {name: text for name, text in kept.items() if text is not None}
        elif value is None:
            resource.pop(key, None)
        else:
            resource[key] = value
    if changes:
        resource["metageneration"] = str(int(resource["metageneration"]) + 1)
        resource["updated"] = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return resource


def _incomplete(response: Any, storage: Any, upload_id: str, fallback_end: int = 0) -> None:  # noqa: ARG001
    """Gap: with nothing received the library reports one byte, and a resumed upload loses its first."""
    response.status = library.GoogleHTTPStatus.RESUME_INCOMPLETE
    received = storage.get_resumable_byte_count(upload_id)
    if received:
        response["Range"] = f"bytes=0-{received - 1}"


def linked(resource: Any, base: str) -> Any:
    """Return a JSON answer whose objects link to `base`, under which this client knows us.

    Gap: the library keeps the address of whoever uploaded, with the object's name unescaped.
    """
    if not isinstance(resource, dict):
        return resource
    if "items" in resource:
        return resource | {"items": [linked(item, base) for item in resource["items"]]}
    if resource.get("kind") == "storage#rewriteResponse":
        return resource | {"resource": linked(resource["resource"], base)}
    if resource.get("kind") != "storage#object":
        return resource
    path = f"/b/{resource['bucket']}/o/{quote(resource['name'], safe='')}"
    return resource | {
        "selfLink": f"{base}/storage/v1{path}",
        "mediaLink": f"{base}/download/storage/v1{path}?generation={resource['generation']}&alt=media",
    }
