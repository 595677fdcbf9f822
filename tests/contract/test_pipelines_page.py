import re

import pytest
from product import DATASETS, MARTS

from elt.layout import AUDIT_RESULTS, LOAD_LOG
from taxiway.docgen.markdown import named
from taxiway.docgen.pipelines import current, parts
from taxiway.environment.home import REPOSITORY

TEXT = (REPOSITORY / "docs" / "pipelines.md").read_text()
NAMED = set(re.findall(r"`((?:infra|scripts|tests|docs|dags|plugins)/[\w./-]*)[`\s]", TEXT))


def test_every_part_is_on_the_page_once():
    assert sorted(named(TEXT)) == sorted(parts())


@pytest.mark.parametrize("was", ["yellow_typed -- publish --> yellow_table", "| stop |", "No row lacks"])
def test_a_part_that_is_behind_the_code_is_noticed(was):
    behind = TEXT.replace(was, "something else", 1)
    assert current(behind) == TEXT != behind


def test_every_dataset_is_in_the_graph_from_its_source_to_where_it_ends():
    graph = parts(DATASETS)["assets"]()
    for ds in DATASETS.values():
        ends = [f"{ds.name}_table", *(feed.mart for feed in ds.feeds)]
        ends += [f"{ds.name}_postgres"] if ds.postgres else []
        for end in (f"{ds.name}_raw", f"{ds.name}_typed", *ends):
            assert f"--> {end}\n" in graph
    assert graph.count("-- mart -->") == sum(len(ds.feeds) for ds in DATASETS.values())


def test_every_table_is_on_the_page():
    tables = {LOAD_LOG, AUDIT_RESULTS, *MARTS, *(ds.table for ds in DATASETS.values())}
    assert {name for name in tables if f"`{name}`" not in TEXT} == set()


@pytest.mark.parametrize("path", sorted(NAMED))
def test_what_the_page_names_exists(path):
    assert (REPOSITORY / path).exists()
