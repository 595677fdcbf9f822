"""Dataset attributes that the library drops, kept beside it. Gap: after `up`, a refresh would show drift."""

import json
from pathlib import Path
from typing import Any

from taxiway.emulators.serving import write_atomically

Json = dict[str, Any]
DROPPED = (
    "defaultCollation", "defaultEncryptionConfiguration", "defaultRoundingMode", "isCaseInsensitive",
    "maxTimeTravelHours", "resourceTags", "storageBillingModel",
)  # fmt: skip
REPLACED_BY_PUT = (
    "friendlyName", "description", "defaultTableExpirationMs", "defaultPartitionExpirationMs",
)  # fmt: skip
# Whoever has the project has its datasets.
DEFAULT_ACCESS = (
    {"role": "WRITER", "specialGroup": "projectWriters"},
    {"role": "OWNER", "specialGroup": "projectOwners"},
    {"role": "READER", "specialGroup": "projectReaders"},
)


class Attributes:
    """What datasets were given beyond what the library keeps, by `project:dataset`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._kept: dict[str, Json] = json.loads(path.read_text()) if path.exists() else {}

    def remember(self, method: str, key: str, body: Json) -> None:
        """Take in a POST, PUT (replaces) or PATCH (merges, null removes) that succeeded."""
        given = {name: body[name] for name in DROPPED if name in body}
        kept = given if method != "PATCH" else self._kept.get(key, {}) | given
        self._store(key, {name: value for name, value in kept.items() if value is not None})

    def forget(self, key: str) -> None:
        """Take in a DELETE that succeeded."""
        self._store(key, {})

    def completed(self, answer: Json) -> Json:
        """Return a dataset, or a list of them, as the library answers it with what it dropped."""
        if "datasets" in answer:
            return answer | {"datasets": [self.completed(dataset) for dataset in answer["datasets"]]}
        return answer | self._kept.get(str(answer.get("id")), {})

    def _store(self, key: str, kept: Json) -> None:
        if kept == self._kept.get(key, {}):
            return
        self._kept = {name: value for name, value in (self._kept | {key: kept}).items() if value}
        write_atomically(self._path, json.dumps(self._kept).encode())


def created(body: Json) -> Json:
    """Return the body of a creation with BigQuery's default access list.

    Gap: the library leaves it empty and then out, and the provider's IAM member dereferences nothing.
    """
    return {"access": list(DEFAULT_ACCESS)} | body


def whole(method: str, body: Json, present: Any) -> Json:
    """Return the body that makes the library do what BigQuery does with `body`.

    Gap: PUT keeps what it does not mention; PATCH replaces all labels, where null removes one.
    """
    if method == "PUT":
        return dict.fromkeys(REPLACED_BY_PUT) | {"labels": {}} | body
    if "labels" in body and present is not None:
        labels = dict(present.labels or {}) | (body["labels"] or {})
        return body | {"labels": {name: value for name, value in labels.items() if value is not None}}
    return body
