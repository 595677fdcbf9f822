"""Source → raw/, in memory."""

import hashlib

import pytest
from fake_http import Killed

from elt.errors import PermanentError, SourceNotPublishedError, TransientError
from elt.periods import Month, Partition

JANUARY = Partition("yellow", Month(2024, 1))
RAW = "raw/yellow/yellow_tripdata_2024-01.parquet"
FILE = b"PAR1" + bytes(100) + b"PAR1"
OTHER = b"PAR1" + bytes(200) + b"PAR1"


def download(stack, run_id="run", dataset="yellow", month="2024-01", **how):
    return stack.run("download", dataset, month, run_id, **how)


def logged(stack):
    return stack.bigquery.sql(
        "SELECT checksum, schema_version, source, byte_count, row_count, quarantined_count, run_id "
        "FROM d.load_log WHERE stage = 'raw' ORDER BY finished_at"
    )


def test_raw_holds_the_published_bytes_with_checksum_and_source(stack):
    stack.publisher.publish("yellow", "2024-01", FILE)
    done = download(stack)
    checksum = hashlib.sha256(FILE).hexdigest()
    stored = stack.objects()[RAW]
    assert stored.content == FILE
    assert stored.metadata == {
        "dataset": "yellow",
        "month": "2024-01",
        "source": "https://publisher.test",
        "source_url": "https://publisher.test/yellow_tripdata_2024-01.parquet",
        "source_etag": stack.publisher.files[JANUARY].etag,
        "source_last_modified": "Wed, 20 Mar 2024 06:00:00 GMT",
        "checksum": checksum,
    }
    assert done == {
        "dataset": "yellow",
        "period": "2024-01",
        "object": RAW,
        "bytes": len(FILE),
        "reused": False,
        "checksum": checksum,
        "source_etag": stored.metadata["source_etag"],
        "source_url": stored.metadata["source_url"],
    }
    assert logged(stack) == [(checksum, "", "https://publisher.test", len(FILE), None, None, "run")]


def test_a_dataset_without_months_has_no_month_anywhere(stack):
    stack.publisher.publish("zones", None, b"LocationID\n1\n")
    assert download(stack, dataset="zones", month=None)["period"] is None
    assert "month" not in stack.objects()["raw/zones/taxi_zone_lookup.csv"].metadata
    assert stack.bigquery.sql("SELECT month FROM d.load_log") == [(None,)]


def test_a_new_file_costs_one_request_to_its_publisher(stack):
    stack.publisher.publish("yellow", "2024-01", FILE)
    download(stack)
    assert stack.publisher.requests == [("GET", JANUARY)]


def test_an_unchanged_file_costs_one_head_request(stack):
    stack.publisher.publish("yellow", "2024-01", FILE)
    download(stack)
    before, log = stack.objects()[RAW], logged(stack)
    stack.publisher.requests.clear()
    assert download(stack, "another")["reused"]
    assert stack.publisher.requests == [("HEAD", JANUARY)]
    assert (stack.objects()[RAW], logged(stack)) == (before, log)


def test_force_fetches_an_unchanged_file_again_without_asking_first(stack):
    stack.publisher.publish("yellow", "2024-01", FILE)
    download(stack)
    stack.publisher.requests.clear()
    assert not download(stack, "another", force=True)["reused"]
    assert stack.publisher.requests == [("GET", JANUARY)]
    assert [row[-1] for row in logged(stack)] == ["run", "another"]


def test_a_republished_file_replaces_the_old_one(stack):
    stack.publisher.publish("yellow", "2024-01", FILE)
    first = download(stack)
    stack.publisher.publish("yellow", "2024-01", OTHER)
    second = download(stack)
    assert (second["reused"], second["checksum"] != first["checksum"]) == (False, True)
    assert stack.objects()[RAW].content == OTHER
    assert len(logged(stack)) == 2


def test_a_file_without_etag_is_known_by_its_date_and_size(stack):
    stack.publisher.publish("yellow", "2024-01", FILE, etag=None)
    assert not download(stack)["reused"]
    assert download(stack)["reused"]
    stack.publisher.publish("yellow", "2024-01", OTHER, etag=None)
    assert not download(stack)["reused"]


def test_the_same_bytes_of_another_source_are_fetched_and_noted_as_its(stack):
    """Rows of a sample must not pass for those of the real publisher."""
    stack.publisher.publish("yellow", "2024-01", FILE)
    download(stack)
    stack.publisher.base_url = "https://other.test"
    assert not download(stack)["reused"]
    assert [row[2] for row in logged(stack)] == ["https://publisher.test", "https://other.test"]
    assert stack.objects()[RAW].metadata["source"] == "https://other.test"


def test_an_object_of_an_older_version_is_reused_and_its_source_noted(stack):
    stack.publisher.publish("yellow", "2024-01", FILE)
    download(stack)
    del stack.objects()[RAW].metadata["source"]
    stack.bigquery.sql("UPDATE d.load_log SET source = NULL")
    assert download(stack, "another")["reused"]
    assert [row[2] for row in logged(stack)] == [None, "https://publisher.test"]


def test_a_log_row_that_a_killed_task_did_not_write_is_written_by_the_next(stack):
    stack.publisher.publish("yellow", "2024-01", FILE)

    def die(request):
        if request.method == "PATCH":
            raise Killed

    stack.storage.after = die
    with pytest.raises(Killed):
        download(stack)
    stack.storage.after = lambda _: None
    assert download(stack, "second")["reused"]
    assert [row[-1] for row in logged(stack)] == ["second"]


def test_an_upload_without_its_checksum_counts_as_unfinished(stack):
    stack.publisher.publish("yellow", "2024-01", FILE)
    download(stack)
    del stack.objects()[RAW].metadata["checksum"]
    assert not download(stack)["reused"]
    assert stack.objects()[RAW].metadata["checksum"]


@pytest.mark.parametrize("there", [True, False])
@pytest.mark.parametrize("force", [True, False])
def test_a_month_that_is_not_published_is_said_so(stack, there, force):
    if there:
        stack.publisher.publish("yellow", "2024-01", FILE)
        download(stack)
        stack.publisher.files.clear()
    with pytest.raises(SourceNotPublishedError, match=r"yellow_tripdata_2024-01.parquet: not published"):
        download(stack, force=force)


@pytest.mark.parametrize("bad", [b"<!DOCTYPE html><html>" + bytes(100), FILE[:-2], b"a,b\n1,2\n" * 99, b""])
def test_a_bad_file_never_becomes_visible_and_leaves_the_good_one_in_place(stack, bad):
    for before in ({}, {RAW: FILE}):
        stack.publisher.publish("yellow", "2024-01", bad)
        with pytest.raises(PermanentError, match=r"^yellow_tripdata_2024-01.parquet: "):
            download(stack)
        assert {name: stored.content for name, stored in stack.objects().items()} == before
        stack.publisher.publish("yellow", "2024-01", FILE)
        download(stack)


def test_a_connection_that_breaks_leaves_nothing(stack):
    stack.publisher.publish("yellow", "2024-01", FILE)
    stack.publisher.fault = TransientError("truncated")
    with pytest.raises(TransientError, match="truncated"):
        download(stack)
    assert stack.objects() == {}
