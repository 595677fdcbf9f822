"""The dbt project of this repository, by dbt itself, on the emulated BigQuery and on Postgres."""

from __future__ import annotations

import json
import subprocess

import faulty_source as faulty
import pytest
import taxi

import stacks
from stacks import Stack
from taxiway.compose.on_demand import surroundings
from taxiway.transforming.dbt import program, project, variables

pytestmark = [pytest.mark.emulators, pytest.mark.long]
MONTHS = ("2024-01", "2024-02")
STAGES = ("download", "conform", "stage", "audit", "publish", "postgres")


@pytest.fixture(scope="module")
def source():
    with faulty.running() as running:
        running.serve(taxi.ZONES, taxi.ZONES_CSV)
        for rows, month in zip((40, 30), MONTHS, strict=True):
            running.serve(taxi.YELLOW.format(month), taxi.parquet(taxi.trips(month, rows)))
        yield running


@pytest.fixture(scope="module")
def stack(emulators, postgres_server, source) -> Stack:
    """The zones and January of yellow in the warehouse and in Postgres."""
    made = stacks.new_stack(emulators, source.url).with_postgres(stacks.new_database(postgres_server))
    for stage in STAGES:
        made.run(stage, "zones", None)
        made.run(stage)
    return made


@pytest.fixture(scope="module")
def dbt(stack, tmp_path_factory):
    """Run dbt, installed where scripts/dbt installs it; returns the states of what ran, by name."""
    folder = tmp_path_factory.mktemp("dbt")
    found = surroundings(variables(stack.connections, "", folder, project()))
    # An emulator that wants no token takes any.
    found["DBT_ENV_SECRET_TOKEN"] = "any"
    called = program()

    def run(*arguments: str) -> dict[str, str]:
        command = [called, "--no-use-colors", *arguments]
        done = subprocess.run(command, env=found, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stdout
        results = json.loads((folder / "dbt" / "target" / "run_results.json").read_text())["results"]
        return {result["unique_id"].split(".")[2]: result["status"] for result in results}

    return run


def revenue(stack: Stack) -> list[tuple[str, int]]:
    with stack.connections.warehouse() as warehouse:
        counted = "SELECT source_month, SUM(trips) AS trips FROM {}.{} GROUP BY 1 ORDER BY 1"
        found = warehouse.ask(
            counted.format(warehouse.name("monthly_zone_revenue").split(".")[-2], "monthly_zone_revenue")
        )
        return [(f"{row.source_month:%Y-%m}", row.trips) for row in found]


def test_models_follow_what_is_published(dbt, stack, source):
    first = dbt("build")
    assert set(first.values()) == {"success", "pass"}
    assert revenue(stack) == [("2024-01", 40)]
    for stage in STAGES:
        stack.run(stage, month="2024-02")
    # January is published anew, with other rows.
    source.serve(taxi.YELLOW.format("2024-01"), taxi.parquet(taxi.trips("2024-01", 25, seed=1)))
    for stage in STAGES:
        stack.run(stage)
    assert dbt("build") == first
    assert revenue(stack) == [("2024-01", 25), ("2024-02", 30)]
    assert dbt("build") == first
    assert revenue(stack) == [("2024-01", 25), ("2024-02", 30)]


def test_the_same_models_are_built_in_postgres(dbt):
    assert set(dbt("build", "--target", "postgres").values()) == {"success", "pass"}


def test_the_catalogue_is_read_and_the_source_is_fresh(dbt):
    dbt("docs", "generate", "--no-compile")
    dbt("source", "freshness")
