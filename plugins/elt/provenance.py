"""Where rows come from: the same few facts as object metadata, table description and load-log row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from elt.stores.gcs import Stored


@dataclass(frozen=True)
class Origin:
    """A published file and the rules it was conformed by.

    `checksum` is the SHA-256 of the published bytes, `source` the base URL they came from (None: not noted,
    as by older versions).
    """

    checksum: str
    schema_version: str
    source_etag: str | None = None
    source: str | None = None

    @classmethod
    def read(cls, facts: Mapping[str, Any]) -> Self | None:
        """Find the facts among others; None if they are not there."""
        if not facts.get("checksum"):
            return None
        return cls(
            str(facts["checksum"]),
            str(facts.get("schema_version", "")),
            facts.get("source_etag") or None,
            facts.get("source") or None,
        )

    def same(self, other: Origin | None) -> bool:
        """Whether rows from both are the same, which equal bytes and rules make them.

        Neither ETag nor source are asked: the same bytes may be published twice, under other names.
        """
        return other is not None and (self.checksum, self.schema_version) == (
            other.checksum,
            other.schema_version,
        )


@dataclass(frozen=True)
class Loaded:
    """Rows somewhere, counted, with their origin. `bytes` is the size of the object they were read from."""

    origin: Origin
    rows: int
    quarantined: int
    bytes: int

    @classmethod
    def read(cls, facts: Mapping[str, Any]) -> Self:
        """Find the facts among others (texts or numbers); KeyError where one is missing."""
        origin = Origin(
            facts["checksum"],
            facts["schema_version"],
            facts["source_etag"] or None,
            facts.get("source") or None,
        )
        return cls(origin, int(facts["rows"]), int(facts["quarantined"]), int(facts["bytes"]))

    def facts(self) -> dict[str, Any]:
        """Flat, for whatever keeps them."""
        facts = asdict(self)
        return {**facts.pop("origin"), **facts}


def read_drift(metadata: Mapping[str, str]) -> list[str]:
    """Columns of the published file that the catalogue does not know, as its typed object lists them."""
    return [name for name in metadata.get("drift", "").split("\n") if name]


def read_size(stored: Stored) -> int:
    """The bytes of a raw object; of a manifest those of the files it lists."""
    return int(stored.metadata.get("bytes") or stored.size)


def read_source(metadata: Mapping[str, str]) -> str | None:
    """The base URL that a raw object came from; of an older version's object the host it came from."""
    if metadata.get("source"):
        return metadata["source"]
    url = urlsplit(metadata.get("source_url", ""))
    return f"{url.scheme}://{url.netloc.rpartition('@')[2]}" if url.netloc else None
