"""Bucket resources as Cloud Storage keeps them. Gap: the library drops what a bucket was created with."""

import base64
import re
import time
from datetime import UTC, datetime, timedelta
from typing import Any

from taxiway.emulators.serving import project_number

Json = dict[str, Any]

WRITABLE = (
    "acl", "autoclass", "billing", "cors", "customPlacementConfig", "defaultEventBasedHold",
    "defaultObjectAcl", "encryption", "hierarchicalNamespace", "iamConfiguration", "ipFilter", "labels",
    "lifecycle", "logging", "retentionPolicy", "rpo", "softDeletePolicy", "storageClass", "versioning",
    "website",
)  # fmt: skip
NAME = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")
WEEK = 7 * 24 * 3600
DUAL_REGIONS = {"ASIA1", "EUR4", "EUR5", "EUR7", "EUR8", "NAM4"}


def now() -> str:
    """Return the present as the API writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def valid_name(name: str) -> bool:
    """Tell whether Cloud Storage would take `name` for a bucket."""
    return bool(NAME.fullmatch(name)) and all(len(part) <= 63 for part in name.split("."))


def new_bucket(project: str, body: Json) -> Json:
    """Return the resource of a bucket created with `body`, Cloud Storage's defaults filled in."""
    name, created = body["name"], now()
    location = str(body.get("location") or "US").upper()
    bucket: Json = {
        "kind": "storage#bucket",
        "id": name,
        "selfLink": f"https://www.googleapis.com/storage/v1/b/{name}",
        "name": name,
        "projectNumber": project_number(project),
        "generation": str(time.time_ns() // 1000),
        "metageneration": "1",
        "location": location,
        "locationType": location_type(location, body),
        "timeCreated": created,
        "updated": created,
        "etag": etag(1),
    }
    bucket.update({key: body[key] for key in WRITABLE if body.get(key) is not None})
    return normal(bucket)


def location_type(location: str, body: Json) -> str:
    """Return region, dual-region or multi-region."""
    if location in DUAL_REGIONS or body.get("customPlacementConfig"):
        return "dual-region"
    return "region" if "-" in location else "multi-region"


def patched(bucket: Json, change: Json) -> Json:
    """Return `bucket` after a PATCH: objects are merged, null removes a key.

    Gap: the library replaces labels as a whole and ignores null.
    """
    writable = {key: change[key] for key in WRITABLE if key in change}
    return bumped(merged(bucket, writable))


def replaced(bucket: Json, body: Json) -> Json:
    """Return `bucket` after a PUT: what the body does not give goes back to its default."""
    kept = {key: value for key, value in bucket.items() if key not in WRITABLE}
    return bumped(kept | {key: body[key] for key in WRITABLE if body.get(key) is not None})


def merged(target: Json, change: Json) -> Json:
    """Return `target` with a JSON merge patch (RFC 7396) applied."""
    result = dict(target)
    for key, value in change.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, dict):
            inner = result.get(key)
            result[key] = merged(inner if isinstance(inner, dict) else {}, value)
        else:
            result[key] = value
    return result


def bumped(bucket: Json) -> Json:
    """Return `bucket` with its next metageneration."""
    number = int(bucket["metageneration"]) + 1
    return normal(bucket | {"metageneration": str(number), "updated": now(), "etag": etag(number)})


def normal(bucket: Json) -> Json:
    """Return `bucket` with Cloud Storage's defaults, and without what it leaves out when empty."""
    bucket = bucket | {
        "storageClass": str(bucket.get("storageClass") or "STANDARD"),
        "iamConfiguration": iam_configuration(bucket.get("iamConfiguration") or {}),
        "softDeletePolicy": soft_delete(bucket.get("softDeletePolicy") or {}),
    }
    if "retentionPolicy" in bucket:
        bucket["retentionPolicy"] = retention(bucket["retentionPolicy"])
    if not (bucket.get("lifecycle") or {}).get("rule"):
        bucket.pop("lifecycle", None)
    if bucket["iamConfiguration"]["uniformBucketLevelAccess"]["enabled"]:
        bucket.pop("acl", None)
        bucket.pop("defaultObjectAcl", None)
    return {key: value for key, value in bucket.items() if value not in ({}, [])}


def iam_configuration(given: Json) -> Json:
    """Return access control's configuration with both names of uniform access, and the inherited default."""
    uniform = dict(given.get("uniformBucketLevelAccess") or given.get("bucketPolicyOnly") or {})
    uniform["enabled"] = bool(uniform.get("enabled"))
    if uniform["enabled"]:
        locked = (datetime.now(UTC) + timedelta(days=90)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        uniform.setdefault("lockedTime", locked)
    else:
        uniform.pop("lockedTime", None)
    return {
        "bucketPolicyOnly": uniform,
        "uniformBucketLevelAccess": uniform,
        "publicAccessPrevention": given.get("publicAccessPrevention") or "inherited",
    }


def soft_delete(given: Json) -> Json:
    """Return the soft delete policy; a bucket that says nothing keeps deleted objects for a week."""
    seconds = str(given.get("retentionDurationSeconds", WEEK))
    return {"retentionDurationSeconds": seconds, "effectiveTime": given.get("effectiveTime") or now()}


def retention(given: Json) -> Json:
    """Return the retention policy with the API's text for its 64 bit number."""
    return given | {
        "retentionPeriod": str(given.get("retentionPeriod", 0)),
        "effectiveTime": given.get("effectiveTime") or now(),
    }


def etag(number: int) -> str:
    """Return the API's entity tag of the `number`th state: a protocol buffer's varint in field 1."""
    content = bytearray([8])
    while number > 127:
        content.append(number & 127 | 128)
        number >>= 7
    content.append(number)
    return base64.b64encode(content).decode()


def etag_number(tag: str) -> int:
    """Return the number behind `tag`; 0 where it is none of ours."""
    try:
        content = base64.b64decode(tag)[1:]
    except ValueError:
        return 0
    return sum((byte & 127) << 7 * place for place, byte in enumerate(content))


def policy(name: str, body: Json, previous: Json | None) -> Json:
    """Return the access policy to keep for bucket `name`, one entity tag further than `previous`."""
    number = etag_number((previous or {}).get("etag", etag(1))) + 1
    bindings = [binding for binding in body.get("bindings") or [] if binding.get("members")]
    return {
        "kind": "storage#policy",
        "resourceId": f"projects/_/buckets/{name}",
        "version": body.get("version", 1),
        "etag": etag(number),
        "bindings": bindings,
    }
