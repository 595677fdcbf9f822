import pytest

from elt.provenance import Loaded, Origin, read_drift, read_source
from elt.sources.changes import is_unchanged
from elt.sources.client import Published
from elt.stores.gcs import Stored

SOURCE, URL, DATE = "https://a.test", "https://a.test/file", "Wed, 20 Mar 2024 06:00:00 GMT"
FACTS = {
    "checksum": "c",
    "source": SOURCE,
    "source_url": URL,
    "source_last_modified": DATE,
    "source_etag": "",
}


def stored(size=7, **facts):
    return Stored("raw/file", size, 1, {**FACTS, **facts})


def published(etag=None, last_modified=DATE, size=7, url=URL):
    return Published(url, etag, last_modified, size)


def test_the_same_etag_is_the_same_file_whatever_its_date():
    assert is_unchanged(stored(source_etag='"1"'), published('"1"', last_modified="later", size=9), SOURCE)
    assert not is_unchanged(stored(source_etag='"1"'), published('"2"'), SOURCE)


def test_without_an_etag_address_date_and_size_have_to_be_the_same():
    assert is_unchanged(stored(), published(), SOURCE)
    assert not is_unchanged(stored(), published(last_modified="later"), SOURCE)
    assert not is_unchanged(stored(), published(size=8), SOURCE)
    assert not is_unchanged(stored(), published(url=f"{URL}2"), SOURCE)
    assert not is_unchanged(stored(source_last_modified=""), published(last_modified=None), SOURCE)


def test_an_upload_that_was_not_finished_is_no_file():
    assert not is_unchanged(stored(source_etag='"1"', checksum=""), published('"1"'), SOURCE)


def test_a_file_of_another_source_is_another_file_even_under_the_same_etag():
    assert not is_unchanged(stored(source_etag='"1"'), published('"1"'), "https://b.test")


def test_an_older_versions_object_says_its_source_by_its_address():
    old = {name: value for name, value in FACTS.items() if name != "source"}
    assert read_source(old) == SOURCE
    assert read_source({"source": "https://b.test/below", **old}) == "https://b.test/below"
    assert read_source({}) is None


def test_equal_bytes_and_rules_make_equal_rows_whoever_published_them():
    origin = Origin("c", "v", '"1"', SOURCE)
    assert origin.same(Origin("c", "v"))
    assert not origin.same(Origin("d", "v", '"1"', SOURCE))
    assert not origin.same(Origin("c", "w", '"1"', SOURCE))
    assert not origin.same(None)


@pytest.mark.parametrize("origin", [Origin("c", "v"), Origin("c", "v", "e", SOURCE)])
def test_facts_are_read_back_as_they_were_written(origin):
    loaded = Loaded(origin, 7, 2, 99)
    assert Loaded.read(loaded.facts()) == loaded
    texts = {name: "" if value is None else str(value) for name, value in loaded.facts().items()}
    assert Loaded.read(texts) == loaded
    assert Origin.read(texts) == origin


def test_facts_of_somebody_else_are_none():
    assert Origin.read({"comment": "mine"}) is None


def test_drift_is_a_name_a_line():
    assert read_drift({"drift": "a\nb c\n"}) == ["a", "b c"]
    assert read_drift({}) == []
