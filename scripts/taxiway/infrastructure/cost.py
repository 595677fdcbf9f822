"""What a stack would cost in a month, as far as list prices and stated assumptions can tell."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from taxiway.infrastructure.plan import Declared

Prices = Mapping[str, Any]


@dataclass(frozen=True)
class CostLine:
    """One resource's part: US dollars a month, and what was assumed."""

    title: str
    dollars: float
    assumption: str


def prices() -> Prices:
    """Return the price list, whose `as_of` is its date."""
    return tomllib.loads(Path(__file__).with_name("prices.toml").read_text())


def estimate(resources: Iterable[Declared], prices: Prices) -> list[CostLine]:
    """Return the lines of all resources that cost something."""
    found = (_priced(one, prices, prices["assumed"]) for one in resources)
    return [CostLine(title, round(dollars, 2), assumed) for line in found for title, dollars, assumed in line]


def total(lines: Iterable[CostLine]) -> float:
    """Return US dollars a month."""
    return round(sum(line.dollars for line in lines), 2)


def _priced(
    resource: Declared, prices: Prices, assumed: Mapping[str, Any]
) -> Iterator[tuple[str, float, str]]:
    storage, bigquery, composer = prices["storage"], prices["bigquery"], prices["composer"]
    runner, hours, inputs = prices["runner"], assumed["hours"], resource.inputs
    # The second bucket, with Composer's DAGs, holds kilobytes.
    if resource.type.endswith(":Bucket") and resource.name != "composer":
        place = "multi_region" if resource.inputs["location"] in ("US", "EU") else "region"
        gigabytes, writes = assumed["lake_gb"], assumed["lake_thousand_writes"]
        dollars = gigabytes * storage[f"gb_month_{place}"] + writes * storage[f"thousand_writes_{place}"]
        yield resource.title, dollars, f"{gigabytes} GB, {writes},000 writes"
    if resource.type.endswith(":Dataset"):
        gibibytes, scanned = assumed["warehouse_gib"], assumed["tib_scanned"]
        dollars = gibibytes * bigquery["gib_month"] + scanned * bigquery["tib_scanned"]
        yield resource.title, dollars, f"{gibibytes} GiB, queries read {scanned} TiB"
    if resource.type.endswith(":Environment"):
        units, gibibytes = assumed["composer_dcu"], assumed["composer_database_gib"]
        hourly = units * composer["dcu_hour"] + gibibytes * composer["database_gib_hour"]
        text = f"small, {units} compute units day and night, {gibibytes} GiB database"
        yield resource.title, hourly * hours, text
    if resource.type.endswith(":Instance"):
        cores = int(inputs["machineType"].rsplit("-", 1)[1])
        gigabytes = inputs["bootDisk"]["initializeParams"]["size"]
        hourly = cores * runner["core_hour"] + 4 * cores * runner["memory_gb_hour"]
        text = f"{inputs['machineType']} day and night, {gigabytes} GB of disk"
        yield resource.title, hourly * hours + gigabytes * runner["disk_gb_month"], text
    if resource.type.endswith("disk:Disk"):
        yield resource.title, inputs["size"] * runner["disk_gb_month"], f"{inputs['size']} GB"
    if resource.type.endswith(":RouterNat"):
        hourly, gigabytes = runner["nat_hour"] + runner["address_hour"], assumed["runner_nat_gb"]
        text = f"a machine, an address, {gigabytes} GB from sources outside Google"
        yield resource.title, hourly * hours + gigabytes * runner["nat_gb"], text
    if resource.type.endswith(":ResourcePolicy"):
        gigabytes = assumed["runner_snapshot_gb"]
        yield resource.title, gigabytes * runner["snapshot_gb_month"], f"{gigabytes} GB"
    if resource.type.endswith(":Repository"):
        gigabytes = assumed["runner_image_gb"]
        yield resource.title, gigabytes * runner["image_gb_month"], f"{gigabytes} GB"
    if resource.type.endswith(":SecretVersion"):
        yield resource.title, runner["secret_month"], "1 version"
