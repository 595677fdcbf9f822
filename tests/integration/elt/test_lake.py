"""Source → raw/ → typed/ and quarantine/, on the storage emulator."""

import gzip
import hashlib
import io
from dataclasses import replace

import pyarrow.parquet as pq
import pytest
import taxi
from google.auth.credentials import AnonymousCredentials
from google.cloud.storage import Client
from google.cloud.storage.retry import DEFAULT_RETRY

from elt.catalogue import Column, Dataset, model
from elt.errors import PermanentError, SourceNotPublishedError, TransientError
from elt.periods import Month
from elt.stores.gcs import Content, Lake
from stacks import source_connection

pytestmark = pytest.mark.emulators
PATH = taxi.YELLOW.format("2024-01")
RAW = "raw/yellow/yellow_tripdata_2024-01.parquet"
TYPED = "typed/yellow/year=2024/month=01/yellow_tripdata_2024-01.parquet"
QUARANTINE = TYPED.replace("typed/", "quarantine/")


def download(stack, run="run", **how):
    return stack.run("download", run_id=run, **how)


def conform(stack, run="run", **how):
    return stack.run("conform", run_id=run, **how)


def find(stack, name):
    with stack.lake() as lake:
        return lake.find(name)


def names(stack):
    with stack.lake() as lake:
        return [stored.name for stored in lake.list("")]


def content(stack, name):
    with stack.lake() as lake, lake.fetch(lake.find(name)) as file:
        return file.read()


def rows(stack, name):
    return pq.read_table(io.BytesIO(content(stack, name)))


def test_raw_holds_the_published_bytes_with_checksum_and_source(stack, faulty_source):
    published = taxi.parquet(taxi.trips())
    faulty_source.serve(PATH, published)
    done = download(stack)
    checksum = hashlib.sha256(published).hexdigest()
    assert content(stack, RAW) == published
    facts = find(stack, RAW).metadata
    assert (facts["checksum"], facts["source_url"]) == (checksum, faulty_source.url + PATH)
    assert facts["source_etag"]
    assert facts["source_last_modified"]
    expected = {"bytes": len(published), "checksum": checksum, "reused": False, "object": RAW}
    assert done == done | expected
    row = stack.log("raw")
    assert (row.origin.checksum, row.bytes, row.run_id) == (checksum, len(published), "run")


def test_an_unchanged_file_costs_one_head_request(stack, faulty_source):
    faulty_source.serve(PATH, taxi.parquet(taxi.trips()))
    download(stack)
    faulty_source.requests.clear()
    before, log = find(stack, RAW), stack.logs()
    assert download(stack, "another")["reused"]
    assert faulty_source.requests == [("HEAD", PATH)]
    assert (find(stack, RAW), stack.logs()) == (before, log)


def test_force_fetches_an_unchanged_file_again(stack, faulty_source):
    faulty_source.serve(PATH, taxi.parquet(taxi.trips()))
    download(stack)
    assert not download(stack, "another", force=True)["reused"]
    assert stack.log("raw").run_id == "another"


def test_a_republished_file_replaces_the_old_one(stack, faulty_source):
    faulty_source.serve(PATH, taxi.parquet(taxi.trips(seed=1)))
    first = download(stack)
    faulty_source.serve(PATH, taxi.parquet(taxi.trips(seed=2)))
    second = download(stack)
    assert second["checksum"] != first["checksum"]
    assert stack.log("raw").origin.checksum == second["checksum"]


def test_a_raw_object_without_checksum_counts_as_unfinished(stack, faulty_source):
    published = taxi.parquet(taxi.trips())
    faulty_source.serve(PATH, published)
    download(stack)
    facts = {name: value for name, value in find(stack, RAW).metadata.items() if name != "checksum"}
    with stack.lake() as lake:
        lake.write(RAW, Content(io.BytesIO(published), len(published), "x/y", facts))
    with pytest.raises(TransientError, match="its download has not finished"):
        conform(stack)
    assert not download(stack)["reused"]
    assert conform(stack)["rows"] == 100


def test_a_log_row_that_a_killed_task_did_not_write_is_written_by_the_next(stack, faulty_source):
    faulty_source.serve(PATH, taxi.parquet(taxi.trips()))
    download(stack)
    stack.sql("DELETE FROM {} WHERE TRUE", "load_log")
    assert stack.logs() == {}
    assert download(stack, "second")["reused"]
    assert stack.log("raw").run_id == "second"


def test_metadata_are_added_to_the_object_they_are_of_only(stack):
    with stack.lake() as lake:
        first = lake.write("raw/x", Content(io.BytesIO(b"one"), 3, "x/y", {}))
        lake.write("raw/x", Content(io.BytesIO(b"two"), 3, "x/y", {}))
        with pytest.raises(TransientError, match="replaced by someone else"):
            lake.describe(first, {"checksum": "of one"})
        with pytest.raises(TransientError, match="not found"):
            lake.fetch(first)


def test_a_large_file_goes_through_in_chunks_and_over_a_dropped_connection(stack, faulty_source):
    published = b"PAR1" + bytes(range(256)) * 80_000 + b"PAR1"
    faulty_source.serve_truncated_once(PATH, published)
    assert download(stack)["checksum"] == hashlib.sha256(published).hexdigest()
    assert content(stack, RAW) == published


def test_a_file_of_exactly_whole_chunks_is_complete(stack, faulty_source):
    published = b"PAR1" + bytes(2 * 8 * 2**20 - 8) + b"PAR1"
    faulty_source.serve(PATH, published)
    assert download(stack)["bytes"] == 2 * 8 * 2**20
    assert find(stack, RAW).size == 2 * 8 * 2**20


BIG = b"PAR1" + bytes(9 * 2**20)  # an upload in several requests
REFUSED = {
    "html": lambda s: s.serve_html(PATH),
    "html inside": lambda s: s.serve(PATH, b"<!DOCTYPE html><html>" + bytes(100)),
    "not Parquet": lambda s: s.serve(PATH, b"VendorID,tpep_pickup_datetime\n" * 9),
    "empty": lambda s: s.serve(PATH, b""),
    "truncated": lambda s: s.serve(PATH, taxi.parquet(taxi.trips())[:-100]),
    "truncated and large": lambda s: s.serve(PATH, BIG),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_bad_file_is_refused_by_name_and_never_becomes_visible(stack, faulty_source, case):
    REFUSED[case](faulty_source)
    with pytest.raises(PermanentError, match=r"^yellow_tripdata_2024-01.parquet: ") as refusal:
        download(stack)
    assert case.split(" inside")[0].split(" and")[0].lower() in str(refusal.value).lower()
    assert "\n" not in str(refusal.value)
    assert names(stack) == []
    assert stack.logs() == {}


def test_a_connection_that_keeps_breaking_leaves_nothing(stack, faulty_source):
    faulty_source.serve_truncated(PATH, BIG + b"PAR1")
    with pytest.raises(
        TransientError, match=r"yellow_tripdata_2024-01.parquet: truncated \(got 4,718,596 of 9,437,192"
    ):
        download(stack)
    assert names(stack) == []


def test_a_bad_successor_leaves_the_good_file_in_place(stack, faulty_source):
    published = taxi.parquet(taxi.trips())
    faulty_source.serve(PATH, published)
    download(stack)
    faulty_source.serve(PATH, published[:-50])
    with pytest.raises(PermanentError, match="truncated"):
        download(stack)
    assert content(stack, RAW) == published


@pytest.mark.parametrize("status", [403, 404])
def test_a_month_that_is_not_published_is_said_so(stack, faulty_source, status):
    faulty_source.serve_status(PATH, status)
    with pytest.raises(SourceNotPublishedError, match=r"yellow_tripdata_2024-01.parquet: not published"):
        download(stack)


def test_a_lake_that_does_not_answer_is_transient(stack):
    client = Client("p", AnonymousCredentials(), client_options={"api_endpoint": "http://127.0.0.1:9"})
    with (
        pytest.raises(TransientError, match=r"gs://b/raw/x: the lake does not answer"),
        Lake(client, "b", retry=DEFAULT_RETRY.with_timeout(0.1)) as lake,
    ):
        lake.find("raw/x")


def test_a_bucket_that_is_gone_is_named(stack, faulty_source):
    faulty_source.serve(PATH, taxi.parquet(taxi.trips()))
    with pytest.raises(TransientError, match=r"gs://nobodys/raw/.*not found"):
        download(stack.changed(GCP_GCS_BUCKET="nobodys"))


def test_typed_and_quarantine_lie_beside_each_other_and_add_up(stack, faulty_source):
    faulty_source.serve(PATH, taxi.parquet(taxi.trips(strays=3)))
    download(stack)
    done = conform(stack)
    assert (done["rows"], done["quarantined"], done["drift"]) == (97, 3, [])
    assert rows(stack, TYPED)["vendor_id"].to_pylist() == taxi.trips()["VendorID"].to_pylist()[3:]
    assert rows(stack, QUARANTINE)["VendorID"].to_pylist() == ["1", "2", "1"]
    row = stack.log("typed")
    assert (row.rows, row.quarantined, row.origin.checksum) == (97, 3, done["checksum"])


def test_drift_is_reported_now_and_when_nothing_is_to_do(stack, faulty_source):
    table = taxi.trips().append_column("new_fee", [[0.0] * 100])
    faulty_source.serve(PATH, taxi.parquet(table))
    download(stack)
    assert [conform(stack)["drift"], conform(stack)["drift"]] == [["new_fee"], ["new_fee"]]


def test_conforming_again_changes_nothing(stack, faulty_source):
    faulty_source.serve(PATH, taxi.parquet(taxi.trips(strays=3)))
    download(stack)
    conform(stack)
    before, log = [find(stack, name) for name in names(stack)], stack.logs()
    assert conform(stack, "another")["reused"]
    assert ([find(stack, name) for name in names(stack)], stack.logs()) == (before, log)


def test_a_clean_successor_takes_the_old_quarantine_away(stack, faulty_source):
    faulty_source.serve(PATH, taxi.parquet(taxi.trips(strays=3)))
    download(stack)
    conform(stack)
    assert QUARANTINE in names(stack)
    faulty_source.serve(PATH, taxi.parquet(taxi.trips()))
    download(stack)
    assert conform(stack)["quarantined"] == 0
    assert names(stack) == [RAW, TYPED]


def test_rules_that_changed_conform_again(stack, faulty_source, monkeypatch):
    faulty_source.serve(PATH, taxi.parquet(taxi.trips()))
    download(stack)
    conform(stack)
    monkeypatch.setattr(model, "CONFORM_RULES", -1)
    assert not conform(stack, "another")["reused"]
    assert stack.log("typed").run_id == "another"


UNFIT = {
    "corrupt Parquet": lambda s: s.serve_corrupt(PATH, taxi.parquet(taxi.trips(rows=5000))),
    "corrupt Parquet ": lambda s: s.serve(PATH, b"PAR1" + bytes(100) + b"PAR1"),
    "column total_amount is lost": lambda s: s.serve(
        PATH, taxi.parquet(taxi.trips().drop_columns(["total_amount"]))
    ),
    "no row fits (100 rows, all for quarantine)": lambda s: s.serve(
        PATH, taxi.parquet(taxi.trips("2023-05"))
    ),
    "no row fits (0 rows": lambda s: s.serve(PATH, taxi.parquet(taxi.trips(rows=0))),
}


@pytest.mark.parametrize("reason", UNFIT)
def test_an_unfit_file_stays_in_raw_and_goes_no_further(stack, faulty_source, reason):
    UNFIT[reason](faulty_source)
    download(stack)
    with pytest.raises(PermanentError) as refusal:
        conform(stack)
    assert str(refusal.value).startswith(f"yellow_tripdata_2024-01.parquet: {reason.strip()}")
    assert "\n" not in str(refusal.value)
    # The rows are still to be seen; the typed ones of before, if there were any, stay.
    assert names(stack) == ([QUARANTINE, RAW] if "100 rows" in reason else [RAW])


def test_conforming_what_is_not_there_says_what_to_do_first(stack):
    with pytest.raises(
        PermanentError, match=r"yellow_tripdata_2024-01.parquet: not in the lake. Download it first"
    ):
        conform(stack)


def test_a_run_does_not_write_over_the_work_of_another(stack):
    with stack.lake() as lake:
        first = lake.write(TYPED, Content(io.BytesIO(b"one"), 3, "x/y", {}), over=None)
        lake.write(TYPED, Content(io.BytesIO(b"two"), 3, "x/y", {}), over=first)
        for over in (None, first):
            with pytest.raises(TransientError, match="replaced by someone else meanwhile"):
                lake.write(TYPED, Content(io.BytesIO(b"three"), 5, "x/y", {}), over=over)
    assert content(stack, TYPED) == b"two"


def test_zones_are_conformed_from_csv(stack):
    stack.run("download", "zones", None)
    done = stack.run("conform", "zones", None)
    assert (done["rows"], done["period"]) == (3, None)
    assert rows(stack, "typed/zones/taxi_zone_lookup.parquet")["zone"].to_pylist()[:2] == [
        "Newark Airport",
        "Jamaica Bay",
    ]


def test_a_broken_line_of_csv_is_kept_whole_and_counted(stack, faulty_source):
    faulty_source.serve(taxi.ZONES, taxi.ZONES_CSV + b"1,2\n")
    stack.run("download", "zones", None)
    done = stack.run("conform", "zones", None)
    assert (done["rows"], done["quarantined"]) == (3, 1)
    [row] = rows(stack, "quarantine/zones/taxi_zone_lookup.parquet").to_pylist()
    assert (row["source_line"], row["reason"]) == ("1,2", "the line has 2 values for 4 columns")


CSV = b"trip,at,note\n1,2024-01-05 10:00:00,a\n2,2024-01-06,\nbroken\n3,2024-02-01 00:00:00,late\n"
JSON = (
    b'{"trip": 1, "at": "2024-01-05 10:00:00", "note": "a"}\n{"trip": 2, "at": "2024-01-06"}\n'
    b'{broken\n{"trip": 3, "at": "2024-02-01 00:00:00", "note": "late"}\n'
)
FILES = {
    "csv": CSV,
    "csv.gz": gzip.compress(CSV),
    "jsonl": JSON,
    "jsonl.gz": gzip.compress(JSON),
}


def own(ending):
    """A dataset of one's own, at an address of its own."""
    return Dataset(
        name="own",
        title="Own",
        path="{source}/own_{year}-{month}." + ending,
        table="own",
        key="at",
        first=Month(2024, 1),
        columns=(
            Column("trip", "int64", "Number."),
            Column("at", "datetime", "When."),
            Column("note", "string", "Text.", required=False),
        ),
    )


@pytest.mark.parametrize("ending", FILES)
def test_every_format_of_lines_goes_its_way_from_any_host(stack, faulty_source, ending):
    ds = own(ending)
    ds = replace(ds, path=ds.path.replace("{source}", faulty_source.url))
    faulty_source.serve(f"/own_2024-01.{ending}", FILES[ending])
    elsewhere = stack.changed(AIRFLOW_CONN_TAXI_SOURCE=source_connection("http://127.0.0.1:9"))
    elsewhere.run("download", ds)
    assert content(stack, f"raw/own/own_2024-01.{ending}") == FILES[ending]
    done = elsewhere.run("conform", ds)
    assert (done["rows"], done["quarantined"]) == (2, 2)
    typed_rows = rows(stack, "typed/own/year=2024/month=01/own_2024-01.parquet")
    assert typed_rows.column_names == ["trip", "at", "note"]
    assert typed_rows["trip"].to_pylist() == [1, 2]
    told = rows(stack, "quarantine/own/year=2024/month=01/own_2024-01.parquet")["reason"].to_pylist()
    assert min(told) == "at 2024-02-01 00:00:00 is outside 2024-01"


def test_a_page_in_the_place_of_a_gzipped_file_is_refused(stack, faulty_source):
    ds = own("csv.gz")
    ds = replace(ds, path=ds.path.replace("{source}", faulty_source.url))
    faulty_source.serve("/own_2024-01.csv.gz", CSV)
    with pytest.raises(PermanentError, match="not gzip"):
        stack.run("download", ds)
    assert names(stack) == []


def test_drift_is_said_in_the_log_of_the_task(stack, faulty_source, caplog):
    faulty_source.serve(PATH, taxi.parquet(taxi.trips().append_column("new_fee", [[0.0] * 100])))
    download(stack)
    conform(stack)
    assert (
        "yellow_tripdata_2024-01.parquet has columns that the catalogue does not know: new_fee."
        in caplog.text
    )


def test_many_names_nobody_knows_fit_into_an_objects_metadata(stack, faulty_source):
    table = taxi.trips()
    for number in range(60):
        table = table.append_column(f"{number} {'x' * 300}", [[0.0] * 100])
    faulty_source.serve(PATH, taxi.parquet(table))
    download(stack)
    drift = conform(stack)["drift"]
    assert (len(drift), drift[-1]) == (21, "… and 40 more")
    assert sum(len(k) + len(v) for k, v in find(stack, TYPED).metadata.items()) < 8192
