"""raw/ → typed/ and quarantine/, in memory."""

import io

import pyarrow.parquet as pq
import pytest
import taxi
from fake_http import Killed

from elt.catalogue import model
from elt.errors import PermanentError, TransientError

RAW = "raw/yellow/yellow_tripdata_2024-01.parquet"
TYPED = "typed/yellow/year=2024/month=01/yellow_tripdata_2024-01.parquet"
QUARANTINE = TYPED.replace("typed/", "quarantine/")


@pytest.fixture
def raw(stack):
    """A function that puts a file into the lake's raw/."""

    def put(table=None, **how):
        table = taxi.trips(rows=20, **how) if table is None else table
        stack.publisher.publish("yellow", "2024-01", taxi.parquet(table))
        stack.run("download", "yellow", "2024-01")

    return put


def conform(stack, run_id="run", **how):
    return stack.run("conform", "yellow", "2024-01", run_id, **how)


def rows(stack, name):
    return pq.read_table(io.BytesIO(stack.objects()[name].content))


def logged(stack):
    query = """SELECT row_count, quarantined_count, byte_count, checksum, source, run_id
        FROM d.load_log WHERE stage = 'typed' ORDER BY finished_at"""
    return stack.bigquery.sql(query)


def test_typed_and_quarantine_lie_beside_each_other_and_add_up(stack, raw):
    raw(strays=3)
    done = conform(stack)
    assert (done["rows"], done["quarantined"], done["drift"], done["reused"]) == (17, 3, [], False)
    assert rows(stack, TYPED)["vendor_id"].to_pylist() == taxi.trips(rows=20)["VendorID"].to_pylist()[3:]
    assert rows(stack, QUARANTINE)["VendorID"].to_pylist() == ["1", "2", "1"]
    size, checksum = len(stack.objects()[TYPED].content), stack.objects()[RAW].metadata["checksum"]
    assert logged(stack) == [(17, 3, size, checksum, "https://publisher.test", "run")]


def test_a_typed_object_says_what_it_is_of(stack, raw):
    raw(strays=3)
    done = conform(stack)
    facts = stack.objects()[TYPED].metadata
    assert facts == {
        "dataset": "yellow", "month": "2024-01", "checksum": done["checksum"], "source": "https://publisher.test",
        "schema_version": done["schema_version"], "source_etag": stack.objects()[RAW].metadata["source_etag"],
        "rows": "17", "quarantined": "3", "drift": "",
    }  # fmt: skip
    assert stack.objects()[QUARANTINE].metadata == facts


def test_conforming_again_changes_nothing(stack, raw):
    raw(strays=3)
    conform(stack)
    before, log = dict(stack.objects()), logged(stack)
    assert conform(stack, "another")["reused"]
    assert (stack.objects(), logged(stack)) == (before, log)


def test_force_conforms_again(stack, raw):
    raw()
    conform(stack)
    generation = stack.objects()[TYPED].generation
    assert not conform(stack, "another", force=True)["reused"]
    assert stack.objects()[TYPED].generation > generation
    assert len(logged(stack)) == 2


def test_a_clean_successor_takes_the_old_quarantine_away(stack, raw):
    raw(strays=3)
    conform(stack)
    raw()
    assert conform(stack)["quarantined"] == 0
    assert sorted(stack.objects()) == [RAW, TYPED]


def test_rules_that_changed_conform_again(stack, raw, monkeypatch):
    raw()
    first = conform(stack)
    monkeypatch.setattr(model, "CONFORM_RULES", -1)
    second = conform(stack, "another")
    assert not second["reused"]
    assert second["schema_version"] != first["schema_version"]


def test_the_quarantine_is_there_before_the_rows_it_belongs_to(stack, raw):
    raw(strays=3)

    def die(_):
        if QUARANTINE in stack.objects():
            raise Killed

    stack.storage.after = die
    with pytest.raises(Killed):
        conform(stack)
    assert sorted(stack.objects()) == [QUARANTINE, RAW]
    stack.storage.after = lambda _: None
    assert conform(stack)["rows"] == 17


def test_a_run_does_not_write_over_the_work_of_another(stack, raw):
    raw(seed=1)

    def overtake(request):
        if request.path.startswith("/download/"):
            stack.storage.after = lambda _: None
            raw(seed=2)
            conform(stack, "another")

    stack.storage.after = overtake
    with pytest.raises(TransientError, match="replaced by someone else meanwhile"):
        conform(stack)
    assert stack.objects()[TYPED].metadata["checksum"] == stack.objects()[RAW].metadata["checksum"]


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        (lambda: taxi.trips(rows=9).drop_columns(["total_amount"]), "column total_amount is lost"),
        (lambda: taxi.trips("2023-05", 9), r"no row fits \(9 rows, all for quarantine\)"),
    ],
)
def test_an_unfit_file_stays_in_raw_and_goes_no_further(stack, raw, table, reason):
    raw(table())
    with pytest.raises(PermanentError, match=rf"^yellow_tripdata_2024-01.parquet: {reason}"):
        conform(stack)
    kept = [name for name in stack.objects() if name != RAW]
    assert kept == ([QUARANTINE] if "no row fits" in reason else [])
    assert logged(stack) == []


def test_conforming_what_is_not_there_says_what_to_do_first(stack):
    with pytest.raises(PermanentError, match=r"parquet: not in the lake\. Download it first"):
        conform(stack)


def test_a_download_that_is_not_finished_is_not_read(stack, raw):
    raw()
    del stack.objects()[RAW].metadata["checksum"]
    with pytest.raises(TransientError, match="its download has not finished"):
        conform(stack)


def test_drift_is_reported_each_time_and_kept(stack, raw, caplog):
    raw(taxi.trips(rows=9).append_column("new_fee", [[0.0] * 9]))
    assert [conform(stack)["drift"], conform(stack)["drift"]] == [["new_fee"], ["new_fee"]]
    text = "yellow_tripdata_2024-01.parquet has columns that the catalogue does not know: new_fee."
    assert caplog.text.count(text) == 2


def test_many_names_nobody_knows_fit_into_an_objects_metadata(stack, raw):
    table = taxi.trips(rows=9)
    for number in range(60):
        table = table.append_column(f"{number}  {'x' * 300}", [[0.0] * 9])
    raw(table)
    drift = conform(stack)["drift"]
    assert (len(drift), drift[0], drift[-1]) == (21, f"0 {'x' * 58}", "… and 40 more")
    assert sum(len(k) + len(v) for k, v in stack.objects()[TYPED].metadata.items()) < 8192


def test_rows_of_the_same_bytes_from_another_source_are_kept_and_logged_as_its(stack, raw):
    raw()
    conform(stack)
    stack.publisher.base_url = "https://other.test"
    stack.run("download", "yellow", "2024-01")
    assert conform(stack, "another")["reused"]
    assert [row[4] for row in logged(stack)] == ["https://publisher.test", "https://other.test"]
