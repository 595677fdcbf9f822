import datetime

import pytest

from taxiway.infrastructure.cost import estimate, prices, total
from taxiway.infrastructure.plan import plan

GCP = {"taxiway:project": "acme-data", "taxiway:owner": "alice@example.com"}
ROUND = {
    "storage": {
        "gb_month_region": 1,
        "gb_month_multi_region": 2,
        "thousand_writes_region": 3,
        "thousand_writes_multi_region": 4,
    },
    "bigquery": {"gib_month": 5, "tib_scanned": 6},
    "composer": {"dcu_hour": 0.5, "database_gib_hour": 0.1},
    "runner": {
        "core_hour": 1,
        "memory_gb_hour": 0.5,
        "disk_gb_month": 2,
        "snapshot_gb_month": 3,
        "nat_hour": 0.25,
        "address_hour": 0.75,
        "nat_gb": 0.1,
        "image_gb_month": 4,
        "secret_month": 5,
    },
    "assumed": {
        "runner_nat_gb": 10,
        "runner_snapshot_gb": 20,
        "runner_image_gb": 2,
        "lake_gb": 10,
        "lake_thousand_writes": 100,
        "warehouse_gib": 1000,
        "tib_scanned": 2,
        "composer_dcu": 4,
        "composer_database_gib": 10,
        "hours": 100,
    },
}


def lines(**changes):
    config = {**GCP, **{f"taxiway:{key}": value for key, value in changes.items()}}
    return {line.title.split()[0]: line for line in estimate(plan("alice", config).resources, ROUND)}


def test_a_price_is_amount_times_list_price():
    found = lines()
    assert found["bucket"].dollars == 10 * 2 + 100 * 4
    assert found["dataset"].dollars == 1000 * 5 + 2 * 6


def test_a_region_has_its_own_prices():
    assert lines(location="europe-west4")["bucket"].dollars == 10 * 1 + 100 * 3


def test_composer_is_added_where_it_is_on_and_its_small_bucket_is_not():
    found = lines(composer="true")
    assert found["Composer"].dollars == 100 * (4 * 0.5 + 10 * 0.1)
    assert set(found) == {"bucket", "dataset", "Composer"}
    assert total(found.values()) == found["bucket"].dollars + found["dataset"].dollars + 300


def test_the_runner_costs_what_its_parts_do():
    found = lines(runner="true", runnerMachine="e2-standard-4", ephemeral="false")
    assert found["machine"].dollars == 100 * (4 * 1 + 16 * 0.5) + 10 * 2
    assert found["disk"].dollars == 50 * 2
    assert found["NAT"].dollars == 100 * (0.25 + 0.75) + 10 * 0.1
    assert found["snapshot"].dollars == 20 * 3
    assert found["image"].dollars == 2 * 4
    assert found["version"].dollars == 5
    assert set(found) == {"bucket", "dataset", "machine", "disk", "NAT", "snapshot", "image", "version"}


def test_every_line_says_what_it_assumes():
    for found in (lines(composer="true"), lines(runner="true", ephemeral="false")):
        assert all(any(char.isdigit() for char in line.assumption) for line in found.values())


def test_the_price_list_is_dated_and_complete():
    listed = prices()
    assert isinstance(listed["as_of"], datetime.date)
    assert {name: set(table) for name, table in listed.items() if name != "as_of"} == {
        name: set(table) for name, table in ROUND.items()
    }


@pytest.mark.parametrize(
    ("component", "low", "high"), [("ephemeral", 0.5, 20), ("runner", 50, 100), ("composer", 200, 600)]
)
def test_a_developers_month_is_in_the_order_of_what_it_really_costs(component, low, high):
    config = {**GCP, f"taxiway:{component}": "true"}
    assert low < total(estimate(plan("alice", config).resources, prices())) < high
