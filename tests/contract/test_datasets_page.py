from dataclasses import replace

import pytest
from product import DATASETS, MARTS

from taxiway.docgen import datasets as dataset_page
from taxiway.environment.home import REPOSITORY

TEXT = (REPOSITORY / "docs" / "datasets.md").read_text()


def test_the_page_is_current():
    assert dataset_page.current(TEXT) == TEXT, "docs/datasets.md is behind the catalogue: scripts/docs"


@pytest.mark.parametrize("entry", [*DATASETS.values(), *MARTS.values()], ids=lambda entry: entry.name)
def test_every_column_is_on_the_page_with_its_description_and_unit(entry):
    for column in entry.columns:
        lines = [line for line in TEXT.splitlines() if line.startswith(f"| `{column.name}` |")]
        assert any(column.description in line and f"| {column.unit} |" in line for line in lines)


def test_a_page_that_is_behind_the_catalogue_is_noticed():
    ds = DATASETS["zones"]
    column = replace(ds.columns[0], description="Another number.")
    changed = replace(ds, columns=(column, *ds.columns[1:]))
    assert "Another number." in dataset_page.page({**DATASETS, "zones": changed}, MARTS) != TEXT
    behind = TEXT.replace("Name of the zone.", "Something else.")
    assert dataset_page.current(behind) == TEXT != behind


def test_an_entry_that_is_not_on_the_page_yet_does_not_make_it_wrong():
    ds = DATASETS["zones"]
    own = replace(ds, name="own", table="own", title="Own", package="own")
    with_it = dataset_page.page({**DATASETS, "own": own}, MARTS)
    assert "## own" in with_it
    assert dataset_page.current(dataset_page.page(DATASETS, MARTS)) == dataset_page.page(DATASETS, MARTS)
