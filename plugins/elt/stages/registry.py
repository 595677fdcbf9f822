"""The verbs. Each takes a dataset, a month (None where it has none), a run id and settings.

Each is idempotent and safe to be killed at any moment: done again, it ends in the same state.
Each returns a small dict fit for JSON, in which `reused` says that there was nothing to do. `force`
does it all the same. A verb imports what it needs when it is called.
"""

from typing import Any

from elt.settings import Settings
from elt.stage_request import Request

Result = dict[str, Any]


def download(ds: str, month: str | None, run_id: str, settings: Settings, *, force: bool = False) -> Result:
    """Source → raw/: bytes as published, with checksum and source in the object's metadata."""
    from elt.stages.download import download as verb

    return verb(Request.of(ds, month, run_id, settings, force=force))


def conform(ds: str, month: str | None, run_id: str, settings: Settings, *, force: bool = False) -> Result:
    """raw/ → typed/ (and quarantine/)."""
    from elt.stages.conform import refine as verb

    return verb(Request.of(ds, month, run_id, settings, force=force))


def stage(ds: str, month: str | None, run_id: str, settings: Settings, *, force: bool = False) -> Result:
    """typed/ → a staging table of this run."""
    from elt.stages.warehouse import stage as verb

    return verb(Request.of(ds, month, run_id, settings, force=force))


def audit(ds: str, month: str | None, run_id: str, settings: Settings, *, force: bool = False) -> Result:
    """Judge what this run staged; AuditError says which rule it broke."""
    from elt.stages.warehouse import audit as verb

    return verb(Request.of(ds, month, run_id, settings, force=force))


def publish(ds: str, month: str | None, run_id: str, settings: Settings, *, force: bool = False) -> Result:
    """Staging → the dataset's table, in one transaction."""
    from elt.stages.warehouse import publish as verb

    return verb(Request.of(ds, month, run_id, settings, force=force))


def mart(ds: str, month: str | None, run_id: str, settings: Settings, *, force: bool = False) -> Result:
    """The dataset's table → the marts, this month of them."""
    from elt.stages.marts import mart as verb

    return verb(Request.of(ds, month, run_id, settings, force=force))


def ingest(ds: str, month: str | None, run_id: str, settings: Settings, *, force: bool = False) -> Result:
    """raw/ → Postgres, as a partition swapped in."""
    from elt.stages.postgres import ingest as verb

    return verb(Request.of(ds, month, run_id, settings, force=force))
