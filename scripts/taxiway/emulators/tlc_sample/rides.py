"""What the trips of every dataset have: when and where, and a few of another month."""

from __future__ import annotations

import csv
import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from taxiway.emulators.tlc_sample.datasets import Month

Columns = dict[str, Any]
ZONES = Path(__file__).parent / "taxi_zone_lookup.csv"
EWR, JFK, LGA, UNKNOWN, OUTSIDE = 1, 132, 138, 264, 265
HOURS = np.array(
    [34, 25, 18, 13, 10, 10, 21, 37, 46, 46, 45, 47, 50, 50, 53, 53, 50, 57, 65, 62, 57, 56, 54, 45.0]
)
STRAYS_PER_ROW = 10 / 20_000
BOROUGHS = {"Manhattan": 1.0, "Queens": 0.03, "Brooklyn": 0.025, "Bronx": 0.004, "Staten Island": 0.0003}


def seeded(name: str) -> np.random.Generator:
    """A generator that is the same for the same name, on every machine."""
    return np.random.default_rng(int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big"))


def when_and_where(columns: Columns, random: np.random.Generator, month: Month, rows: int) -> None:
    """Fill in times, places and the distance."""
    weights = np.tile(HOURS, month.days()) * np.repeat(_days(month), 24)
    hour = random.choice(weights.size, size=rows, p=weights / weights.sum())
    second = np.sort(hour * 3600 + random.integers(0, 3600, rows))
    zones, share = _zones()
    start, end = random.choice(zones, rows, p=share), random.choice(zones, rows, p=share)
    airport = np.isin(start, (EWR, JFK, LGA)) | np.isin(end, (EWR, JFK, LGA))
    distance = random.lognormal(0.55, 0.7, rows) + airport * random.normal(9.5, 2.5, rows).clip(4)
    distance[random.random(rows) < 0.008] = 0.0
    columns["trip_distance"] = np.round(distance, 2)
    speed = random.lognormal(2.35, 0.32, rows) * np.where(airport, 1.9, 1.0)  # miles an hour
    seconds = (distance / speed * 3600 + random.integers(20, 240, rows)).astype(np.int64)
    pickup = np.datetime64(month.first_moment().replace(tzinfo=None), "s") + second
    columns["tpep_pickup_datetime"] = pickup.astype("datetime64[us]")
    columns["tpep_dropoff_datetime"] = (pickup + seconds).astype("datetime64[us]")
    columns["PULocationID"], columns["DOLocationID"] = start, end


def _days(month: Month) -> Any:
    """How busy each day of the month is; Thursday to Saturday most."""
    week = np.array([0.92, 0.98, 1.02, 1.06, 1.08, 1.05, 0.89])
    return week[(month.first_moment().weekday() + np.arange(month.days())) % 7]


def _zones() -> tuple[Any, Any]:
    """All zones and each one's share of the trips, the same for every month."""
    random = np.random.default_rng(265)
    with ZONES.open(newline="") as file:
        zones = list(csv.DictReader(file))
    weights = random.lognormal(0, 0.9, len(zones)) * [_weight(zone) for zone in zones]
    numbers = np.array([int(zone["LocationID"]) for zone in zones])
    weights[np.isin(numbers, (JFK, LGA))] = weights.sum() * 0.03
    return numbers, weights / weights.sum()


def _weight(zone: dict[str, str]) -> float:
    if zone["Borough"] == "Manhattan" and zone["service_zone"] == "Boro Zone":
        return 0.1
    return BOROUGHS.get(zone["Borough"], 0.05)


def strays(columns: Columns, random: np.random.Generator, month: Month, rows: int) -> None:
    """Move some rows out of their month, most by a day or two, one of them by years."""
    count = max(2, round(rows * STRAYS_PER_ROW)) if rows >= 100 else 0
    where = random.choice(rows, count, replace=False)
    first = np.datetime64(month.first_moment().replace(tzinfo=None), "us")
    last = np.datetime64(month.plus(1).first_moment().replace(tzinfo=None), "us")
    for place, row in enumerate(where):
        ride = columns["tpep_dropoff_datetime"][row] - columns["tpep_pickup_datetime"][row]
        shift = np.timedelta64(int(random.integers(1, 2 * 86_400)), "s")
        pickup = first - shift if place % 2 else last + shift
        if place == 0:
            pickup = np.datetime64("2008-12-31T23:00:00", "us") + shift
        columns["tpep_pickup_datetime"][row], columns["tpep_dropoff_datetime"][row] = pickup, pickup + ride
