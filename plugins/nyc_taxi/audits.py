"""Audits of taxi trips, besides those that every dataset by periods has (`elt.catalogue.STANDARD_AUDITS`).

Each is a file in `sql/audits/` and says here which columns stand for its template variables. All of them
warn: TLC publishes what the vendors send, and a month with odd trips is still the month as it was published.
"""

from elt.catalogue import Audit


def total_of(*columns: str) -> str:
    """SQL for the sum of columns that may be null: BigQuery's and Postgres'."""
    return "(" + " + ".join(f"COALESCE({column}, 0)" for column in columns) + ")"


def amounts_add_up(total: str, *parts: str, surcharge: str = "congestion_surcharge") -> Audit:
    """That `total` is the sum of `parts` and the surcharge, which some vendors count twice or not at all."""
    variables = {"total": total, "parts": total_of(*parts, surcharge), "surcharge": surcharge}
    return Audit("amounts_add_up", "warn", variables)


def amounts_plausible(total: str) -> Audit:
    """That few trips cost less than nothing, or a fortune."""
    return Audit("amounts_plausible", "warn", {"total": total})


def durations(pickup: str, dropoff: str) -> Audit:
    """That trips end after they began, within a day."""
    return Audit("durations", "warn", {"pickup": pickup, "dropoff": dropoff})
