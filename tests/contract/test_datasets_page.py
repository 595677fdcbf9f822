from dataclasses import replace

import pytest

from elt.catalogue.registry import DATASETS, MARTS
from taxiway.docgen import datasets as dataset_page
from taxiway.environment.home import REPOSITORY

TEXT = (REPOSITORY / "docs" / "datasets.md").read_text()


@pytest.mark.parametrize("entry", [*DATASETS.values(), *MARTS.values()], ids=lambda entry: entry.name)
def test_every_column_is_on_the_page_with_its_description_and_unit(entry):
    for column in entry.columns:
        lines = [line for line in TEXT.splitlines() if line.startswith(f"| `{column.name}` |")]
        assert any(column.description in line and f"| {column.unit} |" in line for line in lines)


def test_a_page_that_is_behind_the_catalogue_is_noticed():
    ds = DATASETS["zones"]
    column = replace(ds.columns[0], description="Another number.")
    changed = replace(ds, columns=(column, *ds.columns[1:]))
    assert "Another number." in dataset_page.page({**DATASETS, "zones": changed}) != TEXT
