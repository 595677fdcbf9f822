"""What the in-process engine remembers of a stack: a private JSON file, whole after every step."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from taxiway.environment.home import read_json, write_json
from taxiway.infrastructure.evaluate import Declared
from taxiway.infrastructure.passphrase import decrypt, encrypt
from taxiway.infrastructure.resources import kind

# Outputs that are encrypted, wherever they appear.
SECRET = frozenset({"privateKey", "google_credentials"})


@dataclass(frozen=True)
class Record:
    """One resource that exists; `known` are the outputs that only the API could give."""

    type: str
    name: str
    inputs: dict[str, Any]
    known: dict[str, Any] = field(default_factory=dict, repr=False)
    protect: bool = False
    retain_on_delete: bool = False

    @classmethod
    def of(cls, resource: Declared, known: dict[str, Any]) -> Self:
        """Return the record of a resource that was just made."""
        options = {"protect": resource.protect, "retain_on_delete": resource.retain_on_delete}
        return cls(resource.type, resource.name, dict(resource.inputs), known, **options)

    @property
    def key(self) -> str:
        """What identifies it within the stack, as `Declared.key`."""
        return f"{self.type}::{self.name}"

    @property
    def title(self) -> str:
        """What people call it."""
        return kind(self.type).title(self.inputs)


class State:
    """The records of one stack in order of creation, its outputs and times. Safe for several threads."""

    def __init__(self, folder: Path, stack: str) -> None:
        self.path = folder / f"{stack}.json"
        self._folder = folder
        self._lock = threading.Lock()
        content = read_json(self.path)
        self.records = {record.key: record for record in map(self._open, content.get("resources", []))}
        self.outputs: dict[str, Any] = self._reveal(content.get("outputs", {}))
        self.config: dict[str, str] = content.get("config", {})
        self.created: str = content.get("created", "")
        self.updated: str = content.get("updated", "")

    def put(self, record: Record) -> None:
        """Remember a resource, at the end where it is new."""
        with self._lock:
            self.records[record.key] = record
            self._save()

    def drop(self, record: Record) -> None:
        """Forget a resource."""
        with self._lock:
            del self.records[record.key]
            self._save()

    def finish(self, outputs: Mapping[str, Any], config: Mapping[str, str]) -> None:
        """Remember the end of an `up`."""
        with self._lock:
            self.outputs, self.config = dict(outputs), dict(config)
            self.updated = datetime.now(UTC).isoformat(timespec="seconds")
            self._save()

    def remove(self) -> None:
        """Forget the stack."""
        self.path.unlink(missing_ok=True)

    def _save(self) -> None:
        self.created = self.created or datetime.now(UTC).isoformat(timespec="seconds")
        records = [asdict(record) for record in self.records.values()]
        content = {
            "created": self.created,
            "updated": self.updated,
            "config": {key: value for key, value in self.config.items() if key != "gcp:accessToken"},
            "resources": [{**record, "known": self._hide(record["known"])} for record in records],
            "outputs": self._hide(self.outputs),
        }
        write_json(self.path, content)

    def _open(self, record: dict[str, Any]) -> Record:
        return Record(**{**record, "known": self._reveal(record["known"])})

    def _hide(self, values: dict[str, Any]) -> dict[str, Any]:
        return {k: encrypt(self._folder, v) if k in SECRET else v for k, v in values.items()}

    def _reveal(self, values: dict[str, Any]) -> dict[str, Any]:
        return {k: decrypt(self._folder, v) if k in SECRET else v for k, v in values.items()}
