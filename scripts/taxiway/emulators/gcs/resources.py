"""Resources of buckets and objects: defaults, changes, preconditions, valid names."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from taxiway.emulators.answers import HttpError, Json, etag, project_number
from taxiway.emulators.gcs.store import LIVE, Stored, timestamp

BUCKET_WRITABLE = (
    "acl", "autoclass", "billing", "cors", "customPlacementConfig", "defaultEventBasedHold",
    "defaultObjectAcl", "encryption", "hierarchicalNamespace", "iamConfiguration", "ipFilter", "labels",
    "lifecycle", "logging", "retentionPolicy", "rpo", "softDeletePolicy", "storageClass", "versioning",
    "website",
)  # fmt: skip
# Fields that a download repeats as headers.
HEADER_FIELDS = {
    "cacheControl": "Cache-Control",
    "contentDisposition": "Content-Disposition",
    "contentEncoding": "Content-Encoding",
    "contentLanguage": "Content-Language",
    "contentType": "Content-Type",
}
OBJECT_WRITABLE = (
    *HEADER_FIELDS, "contexts", "customTime", "eventBasedHold", "metadata", "retention", "temporaryHold",
)  # fmt: skip
BUCKET_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")
WEEK = 7 * 24 * 3600
DUAL_REGIONS = {"ASIA1", "EUR4", "EUR5", "EUR7", "EUR8", "NAM4"}
NAME_BYTES = 1024
METADATA_BYTES = 8 << 10
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")


# Buckets


def new_bucket(project: str, body: Json) -> Json:
    """The resource of a bucket created with `body`. Raises HttpError 400 for an invalid name."""
    name = body.get("name")
    valid = isinstance(name, str) and BUCKET_NAME.fullmatch(name)
    if not valid or any(len(label) > 63 for label in str(name).split(".")):
        raise HttpError(400, f"Invalid bucket name: {name!r}")
    created, location = timestamp(), str(body.get("location") or "US").upper()
    dual = location in DUAL_REGIONS or body.get("customPlacementConfig")
    bucket: Json = {
        "kind": "storage#bucket",
        "id": name,
        "selfLink": f"https://www.googleapis.com/storage/v1/b/{name}",
        "name": name,
        "projectNumber": project_number(project),
        "generation": str(time.time_ns() // 1000),
        "metageneration": "1",
        "location": location,
        "locationType": "dual-region" if dual else "region" if "-" in location else "multi-region",
        "timeCreated": created,
        "updated": created,
        "etag": etag(1),
    }
    return _normal(bucket | {key: body[key] for key in BUCKET_WRITABLE if body.get(key) is not None})


def changed_bucket(bucket: Json, body: Json, *, merge: bool) -> Json:
    """The bucket after a PATCH (`merge`: null removes a key) or a PUT, which resets what the body lacks."""
    given = {key: body[key] for key in BUCKET_WRITABLE if key in body}
    kept = bucket if merge else {key: bucket[key] for key in bucket if key not in BUCKET_WRITABLE}
    return _normal(_counted(_merged(kept, given)))


def _merged(target: Json, change: Json) -> Json:
    """A JSON merge patch (RFC 7396)."""
    result = dict(target)
    for key, value in change.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, dict):
            inner = result.get(key)
            result[key] = _merged(inner if isinstance(inner, dict) else {}, value)
        else:
            result[key] = value
    return result


def _counted(resource: Json) -> Json:
    """The bucket or object with the traces of one more change."""
    number = int(resource["metageneration"]) + 1
    return resource | {"metageneration": str(number), "updated": timestamp(), "etag": etag(number)}


def _normal(bucket: Json) -> Json:
    """The bucket with Cloud Storage's defaults and without empty fields.

    Any difference from Cloud Storage's answer would show up as drift in Pulumi's provider.
    """
    access = bucket.get("iamConfiguration") or {}
    uniform = dict(access.get("uniformBucketLevelAccess") or access.get("bucketPolicyOnly") or {})
    uniform["enabled"] = bool(uniform.get("enabled"))
    bucket = bucket | {"storageClass": str(bucket.get("storageClass") or "STANDARD")}
    if uniform["enabled"]:
        uniform.setdefault("lockedTime", timestamp(time.time() + 90 * 24 * 3600))
        # With uniform access, policies alone decide.
        bucket = {key: bucket[key] for key in bucket if key not in ("acl", "defaultObjectAcl")}
    else:
        uniform.pop("lockedTime", None)
    bucket["iamConfiguration"] = {
        "bucketPolicyOnly": uniform,
        "uniformBucketLevelAccess": uniform,
        "publicAccessPrevention": access.get("publicAccessPrevention") or "inherited",
    }
    deletion = bucket.get("softDeletePolicy") or {}
    bucket["softDeletePolicy"] = {
        "retentionDurationSeconds": _seconds(deletion, "retentionDurationSeconds", WEEK),
        "effectiveTime": deletion.get("effectiveTime") or timestamp(),
    }
    if retention := bucket.get("retentionPolicy"):
        period = {"retentionPeriod": _seconds(retention, "retentionPeriod", 0)}
        bucket["retentionPolicy"] = {"effectiveTime": timestamp()} | retention | period
    if not (bucket.get("lifecycle") or {}).get("rule"):
        bucket.pop("lifecycle", None)
    return {key: value for key, value in bucket.items() if value not in ({}, [])}


def _seconds(given: Json, name: str, default: int) -> str:
    """A 64-bit number as text, the API's JSON encoding."""
    try:
        return str(max(0, int(given.get(name, default))))
    except (TypeError, ValueError):
        raise HttpError(400, f"Invalid value for {name}: {given.get(name)!r}. Give seconds.") from None


# Objects


def object_name(name: Any) -> str:
    """`name` if it is a valid object name, else raises HttpError 400."""
    if not isinstance(name, str) or not name:
        raise HttpError(400, "Required parameter: name", "required")
    size = _size(name, "object name")
    if size > NAME_BYTES:
        raise HttpError(400, f"Invalid object name: {size} bytes, more than {NAME_BYTES}.")
    if name in (".", "..") or re.search("[\0\r\n]", name) or name.startswith(".well-known/acme-challenge/"):
        raise HttpError(400, f"Invalid object name: {name[:80]!r}")
    return name


def _size(text: str, what: str) -> int:
    try:
        return len(text.encode())
    except UnicodeEncodeError:
        raise HttpError(400, f"Invalid {what}: {text[:80]!r} is not Unicode.") from None


def checked_metadata(given: Json, *, new: bool = False) -> Json:
    """The fields of `given` that clients may set. Raises HttpError 400 for values that headers cannot hold.

    A line break in a content type would otherwise inject a header into every download.
    """
    writable = (*OBJECT_WRITABLE, "storageClass") if new else OBJECT_WRITABLE
    fields = {key: given[key] for key in writable if key in given}
    for key in HEADER_FIELDS:
        value = fields.get(key)
        if value is not None and (not isinstance(value, str) or CONTROL.search(value)):
            raise HttpError(400, f"Invalid value for {key}: {value!r}")
    metadata = fields.get("metadata") or {}
    texts = isinstance(metadata, dict) and all(isinstance(text, str | None) for text in metadata.values())
    if not texts or any(not key or CONTROL.search(key) for key in metadata):
        raise HttpError(400, f"Invalid value for metadata: {metadata!r}. Give an object of strings.")
    size = sum(_size(f"{key}{text or ''}", "value for metadata") for key, text in metadata.items())
    if size > METADATA_BYTES:
        raise HttpError(400, f"Invalid value for metadata: {size} bytes, more than {METADATA_BYTES}.")
    return fields


def new_object(bucket: Json, name: str, generation: int, given: Json) -> Json:
    """The resource of a new generation without size and checksums; `given` comes from `checked_metadata`."""
    created = timestamp()
    resource: Json = {
        "kind": "storage#object",
        "id": f"{bucket['name']}/{name}/{generation}",
        "name": name,
        "bucket": bucket["name"],
        "generation": str(generation),
        "metageneration": "1",
        "contentType": "application/octet-stream",
        "storageClass": bucket["storageClass"],
        "etag": etag(1),
        "timeCreated": created,
        "updated": created,
        "timeStorageClassUpdated": created,
        "timeFinalized": created,
    }
    return _present(resource | {key: value for key, value in given.items() if value is not None})


def changed_object(resource: Json, body: Json, *, merge: bool) -> Json:
    """The object after a PATCH (`merge`: null removes a key) or a PUT, which removes what the body lacks."""
    reset = set() if merge else {*OBJECT_WRITABLE} - {"contentType"}
    kept = {key: value for key, value in resource.items() if key not in reset}
    return _present(_counted(_merged(kept, checked_metadata(body))))


def _present(resource: Json) -> Json:
    metadata = {key: text for key, text in (resource.get("metadata") or {}).items() if text is not None}
    shown = resource | {"metadata": metadata}
    return {key: value for key, value in shown.items() if value not in ({}, [])}


def linked(resource: Json, base: str) -> Json:
    """The object with links for a client that reaches the service at `base`."""
    path = f"/b/{resource['bucket']}/o/{quote(resource['name'], safe='')}"
    media = f"{base}/download/storage/v1{path}?generation={resource['generation']}&alt=media"
    return resource | {"selfLink": f"{base}/storage/v1{path}", "mediaLink": media}


def download_headers(resource: Json) -> dict[str, str]:
    """The headers of a download."""
    sums = {"crc32c": resource.get("crc32c"), "md5": resource.get("md5Hash")}
    return {
        "X-Goog-Stored-Content-Encoding": resource.get("contentEncoding", "identity"),
        **{header: resource[key] for key, header in HEADER_FIELDS.items() if key in resource},
        "ETag": resource["etag"],
        "X-Goog-Hash": ",".join(f"{name}={checksum}" for name, checksum in sums.items() if checksum),
        "X-Goog-Generation": resource["generation"],
        "X-Goog-Metageneration": resource["metageneration"],
        "X-Goog-Storage-Class": resource["storageClass"],
        "X-Goog-Stored-Content-Length": resource["size"],
    }


# Preconditions


def check(
    query: Mapping[str, str], found: Json | Stored | None, *, prefix: str = "if", reading: bool = False
) -> None:
    """Raise HttpError 412 (304 while `reading`) unless the query's preconditions hold.

    `found` is the requested object or bucket, None if it does not exist. An object that does not exist, or of
    which a generation other than the live one is requested, has generation zero.
    """
    live = not isinstance(found, Stored) or found.state == LIVE
    resource = (found.resource if isinstance(found, Stored) else found) or {}
    present = {
        "Generation": resource.get("generation", "0") if live else "0",
        "Metageneration": resource.get("metageneration", "0"),
    }
    for what, number in present.items():
        for suffix, wanted in (("Match", True), ("NotMatch", False)):
            name = f"{prefix}{what}{suffix}"
            given = query.get(name)
            if given is None:
                continue
            if not re.fullmatch(r"\d{1,20}", given, re.ASCII):
                raise HttpError(400, f"Invalid value for {name}: {given!r}. Give a number.")
            if (int(given) == int(number)) is not wanted:
                unmet = f"{name}={given}, but the {what.lower()} is {number}"
                message = f"At least one of the pre-conditions you specified did not hold: {unmet}."
                raise HttpError(304 if reading and not wanted else 412, message)
