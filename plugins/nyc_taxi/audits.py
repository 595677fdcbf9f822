"""The audits that datasets have in common."""

from elt.catalogue.model import Audit

MONTHLY = (
    Audit("row_count"),
    Audit("key_present"),
    Audit("inside_month"),
    Audit("quarantine_share", "warn"),
    Audit("null_share", "warn"),
)


def total_of(*columns: str) -> str:
    """SQL for the sum of columns that may be null."""
    return "(" + " + ".join(f"COALESCE({column}, 0)" for column in columns) + ")"


def amounts_add_up(total: str, *parts: str, surcharge: str = "congestion_surcharge") -> Audit:
    """That `total` is what its parts, among them the surcharge, come to."""
    words = {"total": total, "parts": total_of(*parts, surcharge), "surcharge": surcharge}
    return Audit("amounts_add_up", "warn", words)


def amounts_plausible(total: str) -> Audit:
    """That few trips cost less than nothing or a fortune."""
    return Audit("amounts_plausible", "warn", {"total": total})


def durations(pickup: str, dropoff: str) -> Audit:
    """That trips end after they began, and soon."""
    return Audit("durations", "warn", {"pickup": pickup, "dropoff": dropoff})
