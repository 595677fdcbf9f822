"""What a table's description says of where its rows are from."""

from dataclasses import replace

import pytest

from elt.catalogue.registry import DATASETS
from elt.stores.describing import SAMPLE, is_sample, with_source

YELLOW = DATASETS["yellow"]


@pytest.mark.parametrize(
    ("source", "sample"),
    [
        ("http://127.0.0.1:9080", True),
        ("http://sample-source:9080", True),
        ("https://a.test", False),
        (None, False),
    ],
)
def test_generated_rows_are_called_sample(source: str | None, sample: bool) -> None:
    assert is_sample(YELLOW, source) is sample


def test_files_that_an_entry_has_on_this_machine_are_no_sample() -> None:
    own = replace(YELLOW, source=None, path="http://127.0.0.1:8765/bikes_{year}-{month}.csv")
    assert not is_sample(own, "http://127.0.0.1:8765")


def test_a_description_names_each_source_once_and_keeps_what_somebody_wrote() -> None:
    text = with_source(None, YELLOW, "http://127.0.0.1:9080")
    assert text == f"Yellow taxi trips\nLoaded from: {SAMPLE}"
    assert with_source(text, YELLOW, "http://127.0.0.1:9081") == text
    both = f"{text}, https://publisher.test"
    assert with_source(text, YELLOW, "https://publisher.test") == both
    assert with_source(both, YELLOW, "http://127.0.0.1:9080") == both
    assert with_source("Of our own", YELLOW, "https://a.test") == "Of our own\nLoaded from: https://a.test"
    # As an older version's rows, of which nobody noted it.
    assert with_source(text, YELLOW, None) == text
