"""What the last service of `docker compose up` says at its end."""

from __future__ import annotations

from dataclasses import replace

from elt.catalogue.registry import DATASETS
from taxiway.compose.loader import more


def test_the_next_step_is_of_a_dataset_that_is_there() -> None:
    assert "trigger yellow_to_lake with a partition key such as 2024-03" in more()
    rides = replace(DATASETS["yellow"], name="rides")
    assert "trigger rides_to_lake" in more({"rides": rides})


def test_without_a_dataset_by_periods_it_is_to_add_one() -> None:
    assert "There is no dataset yet" in more({})
    assert "scripts/new" in more({"zones": DATASETS["zones"]})
