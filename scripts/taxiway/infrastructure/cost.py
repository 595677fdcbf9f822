"""What a stack would cost in a month, as far as list prices and stated assumptions can tell."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from taxiway.infrastructure.plan import Declared

Prices = Mapping[str, Any]
_FILE = Path(__file__).with_name("prices.toml")


@dataclass(frozen=True)
class CostLine:
    """One resource's part: US dollars a month, and what was assumed."""

    title: str
    dollars: float
    assumption: str


def prices() -> Prices:
    """Return the price list, whose `as_of` is its date."""
    return tomllib.loads(_FILE.read_text())


def estimate(resources: Iterable[Declared], prices: Prices) -> list[CostLine]:
    """Return the lines of all resources that cost something."""
    return [_PRICED[resource.type](resource, prices) for resource in resources if _is_priced(resource)]


def total(lines: Iterable[CostLine]) -> float:
    """Return US dollars a month."""
    return round(sum(line.dollars for line in lines), 2)


def _is_priced(resource: Declared) -> bool:
    # The second bucket, with Composer's DAGs, holds kilobytes.
    return resource.type in _PRICED and not (
        resource.type.endswith(":Bucket") and resource.name == "composer"
    )


def _bucket(resource: Declared, prices: Prices) -> CostLine:
    place = "multi_region" if resource.inputs["location"] in ("US", "EU") else "region"
    gigabytes, writes = prices["assumed"]["lake_gb"], prices["assumed"]["lake_thousand_writes"]
    dollars = gigabytes * prices["storage"][f"gb_month_{place}"]
    dollars += writes * prices["storage"][f"thousand_writes_{place}"]
    return _line(f"bucket {resource.inputs['name']}", dollars, f"{gigabytes} GB, {writes},000 writes")


def _dataset(resource: Declared, prices: Prices) -> CostLine:
    gibibytes, scanned = prices["assumed"]["warehouse_gib"], prices["assumed"]["tib_scanned"]
    dollars = gibibytes * prices["bigquery"]["gib_month"] + scanned * prices["bigquery"]["tib_scanned"]
    return _line(
        f"dataset {resource.inputs['datasetId']}", dollars, f"{gibibytes} GiB, queries read {scanned} TiB"
    )


def _composer(resource: Declared, prices: Prices) -> CostLine:
    units, gibibytes = prices["assumed"]["composer_dcu"], prices["assumed"]["composer_database_gib"]
    hourly = units * prices["composer"]["dcu_hour"] + gibibytes * prices["composer"]["database_gib_hour"]
    assumption = f"small, {units} compute units day and night, {gibibytes} GiB database"
    return _line(f"Composer {resource.inputs['name']}", hourly * prices["assumed"]["hours"], assumption)


def _line(title: str, dollars: float, assumption: str) -> CostLine:
    return CostLine(title, round(dollars, 2), assumption)


_PRICED: Final[Mapping[str, Callable[[Declared, Prices], CostLine]]] = {
    "gcp:bigquery/dataset:Dataset": _dataset,
    "gcp:composer/environment:Environment": _composer,
    "gcp:storage/bucket:Bucket": _bucket,
}
