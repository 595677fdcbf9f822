"""Where rows come from: the same few facts as object metadata, table comment and load-log entry."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self


@dataclass(frozen=True)
class Origin:
    """A published file and the rules it was conformed by.

    `checksum` is the SHA-256 of the published bytes: equal checksum and version mean equal rows.
    """

    checksum: str
    schema_version: str
    source_etag: str | None = None

    @classmethod
    def read(cls, facts: Mapping[str, Any]) -> Self | None:
        """Find the facts among others; None if they are not there."""
        if not facts.get("checksum"):
            return None
        return cls(
            str(facts["checksum"]), str(facts.get("schema_version", "")), facts.get("source_etag") or None
        )

    def same(self, other: "Origin | None") -> bool:
        """Whether rows from both are the same (a source may give the same bytes another ETag)."""
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
        """Find the facts among others (texts or numbers)."""
        origin = Origin(facts["checksum"], facts["schema_version"], facts["source_etag"] or None)
        return cls(origin, int(facts["rows"]), int(facts["quarantined"]), int(facts["bytes"]))

    def facts(self) -> dict[str, Any]:
        """Flat, for whatever keeps them."""
        facts = asdict(self)
        return {**facts.pop("origin"), **facts}


def drift_in(facts: Mapping[str, Any]) -> list[str]:
    """Columns of the published file that the catalogue does not know, as its typed object tells them."""
    return [name for name in facts.get("drift", "").split("\n") if name]
