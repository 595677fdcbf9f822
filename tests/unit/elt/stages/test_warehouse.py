"""typed/ → staging → audit → warehouse, in memory; the SQL is really run."""

import datetime as dt
import json
from dataclasses import replace

import pytest
import taxi
from fake_http import GoogleError, Killed

from elt.catalogue.registry import DATASETS
from elt.errors import AuditError, JobRunningError, PermanentError, TransientError
from elt.layout import staging_table
from elt.periods import Month
from elt.warehouse.tables import columns_in, fields, note_sources

JANUARY = Month(2024, 1)
STAGING = staging_table(DATASETS["yellow"], JANUARY, "run")
TYPED = "typed/yellow/year=2024/month=01/yellow_tripdata_2024-01.parquet"
WAREHOUSE = ("stage", "audit", "publish")
STOPPED = {"reason": "stopped", "message": "Job execution was cancelled"}


@pytest.fixture
def typed(stack):
    """A function that puts a month into the lake."""

    def put(rows=20, month="2024-01", **how):
        stack.publisher.publish("yellow", month, taxi.parquet(taxi.trips(month, rows, **how)))
        for stage in ("download", "conform"):
            stack.run(stage, "yellow", month)

    return put


def run(stack, *stages, run_id="run", month="2024-01", **how):
    return [stack.run(stage, "yellow", month, run_id, **how) for stage in stages]


def published(stack):
    query = "SELECT source_month::text, count(*) FROM d.yellow_trips GROUP BY 1 ORDER BY 1"
    return dict(stack.bigquery.sql(query))


def log(stack):
    query = "SELECT stage, row_count, run_id FROM d.load_log WHERE stage = 'warehouse' ORDER BY finished_at"
    return stack.bigquery.sql(query)


def staging(stack):
    return [name for name in stack.bigquery.tables if name.startswith("staging")]


def jobs(stack, step):
    return [job_id for job_id in stack.bigquery.jobs if job_id.startswith(f"taxiway-{step}-")]


def test_a_month_goes_through_staging_and_audits_into_the_table(stack, typed):
    typed(strays=2)
    staged, audited, done = run(stack, *WAREHOUSE)
    assert (staged["staging"], staged["reused"]) == (STAGING, False)
    assert (audited["audits"], audited["reused"]) == (8, False)
    assert audited["warnings"] == ["quarantine_share: 2 of 20 rows in quarantine"]
    assert (done["table"], done["rows"], done["quarantined"]) == ("yellow_trips", 18, 2)
    assert published(stack) == {"2024-01-01": 18}
    assert staging(stack) == []
    assert json.loads(json.dumps([staged, audited, done])) == [staged, audited, done]


def test_publishing_writes_the_load_log_with_its_origin(stack, typed):
    typed()
    run(stack, *WAREHOUSE)
    query = """SELECT checksum, schema_version, source_etag, source, row_count, quarantined_count, byte_count
        FROM d.load_log WHERE stage = '{}'"""
    assert stack.bigquery.sql(query.format("warehouse")) == stack.bigquery.sql(query.format("typed"))


def test_a_month_published_again_replaces_itself_and_nothing_else(stack, typed):
    for month, rows in (("2024-01", 5), ("2024-02", 6)):
        typed(rows, month)
        run(stack, *WAREHOUSE, month=month)
    typed(7)
    run(stack, *WAREHOUSE, run_id="another")
    assert published(stack) == {"2024-01-01": 7, "2024-02-01": 6}


def test_the_tables_say_where_their_rows_are_from_and_are_told_once(stack, typed):
    sent = []
    stack.bigquery.after = lambda request: sent.append(request.method)
    for number, base_url in enumerate(("http://127.0.0.1:9080", stack.publisher.base_url), 1):
        stack.publisher.base_url = base_url
        stack.publisher.publish("zones", None, taxi.ZONES_CSV.replace(b"264", b"%d" % (265 + number)))
        for stage in ("download", "conform", *WAREHOUSE):
            stack.run(stage, "zones", None, base_url)
        for month in (f"2024-0{number}", f"2024-0{number + 2}"):
            typed(5, month)
            run(stack, *WAREHOUSE, month=month)
    sample = "Yellow taxi trips\nLoaded from: sample (generated rows)"
    described = {name: stack.bigquery.tables[name]["description"] for name in ("yellow_trips", "zones")}
    # All of zones was replaced.
    assert described == {
        "yellow_trips": f"{sample}, https://publisher.test",
        "zones": "Taxi zones\nLoaded from: https://publisher.test",
    }
    assert sent.count("PATCH") == 4


@pytest.mark.parametrize(("status", "said"), [(403, 1), (412, 0)])
def test_a_description_that_cannot_be_changed_stops_no_load(stack, caplog, status, said):
    stack.bigquery.faults = [status]
    with stack.warehouse() as warehouse:
        # 412: another task has changed it since it was read, which is nothing to speak of.
        note_sources(warehouse, DATASETS["yellow"], {"etag": "older"}, ["https://a.test"])
    assert (stack.bigquery.requests[-1][0], len(caplog.messages)) == ("PATCH", said)


def test_a_dataset_without_months_is_replaced_whole(stack):
    for number, content in enumerate((taxi.ZONES_CSV, taxi.ZONES_CSV.replace(b"264", b"265"))):
        stack.publisher.publish("zones", None, content)
        for stage in ("download", "conform", *WAREHOUSE):
            stack.run(stage, "zones", None, f"run {number}")
    assert stack.bigquery.sql("SELECT location_id FROM d.zones ORDER BY 1") == [(1,), (2,), (265,)]


def test_the_same_again_changes_nothing(stack, typed):
    typed()
    run(stack, *WAREHOUSE)
    before = log(stack)
    assert all(done["reused"] for done in run(stack, *WAREHOUSE, run_id="another"))
    assert log(stack) == before


def test_each_stage_may_be_repeated_in_its_run(stack, typed):
    typed()
    run(stack, "stage", "stage", "audit", "audit", "publish", "publish", "audit", "stage")
    assert (published(stack), len(log(stack))) == ({"2024-01-01": 20}, 1)
    for step in ("stage", "audit", "publish"):
        assert len(jobs(stack, step)) == 1


# Staging


def test_a_staging_table_says_what_it_is_of_and_goes_by_itself_after_two_days(stack, typed):
    typed()
    run(stack, "stage")
    table = stack.bigquery.tables[STAGING]
    facts = json.loads(table["description"])
    assert (facts["rows"], facts["source"]) == (20, "https://publisher.test")
    lives = dt.datetime.fromtimestamp(int(table["expirationTime"]) / 1000, dt.UTC) - dt.datetime.now(dt.UTC)
    assert dt.timedelta(days=1, hours=23) < lives < dt.timedelta(days=2)
    assert table["labels"] == {"app": "taxiway", "use": "staging"}


def test_a_staging_table_of_an_older_file_is_replaced(stack, typed):
    typed(5)
    run(stack, "stage")
    typed(6)
    run(stack, "stage")
    assert stack.bigquery.sql(f"SELECT count(*) FROM d.{STAGING}") == [(6,)]


def test_force_stages_anew_in_a_table_of_its_own(stack, typed):
    typed()
    run(stack, *WAREHOUSE)
    run(stack, "stage", force=True)
    first = stack.bigquery.tables[STAGING]["creationTime"]
    run(stack, "stage", force=True)
    assert stack.bigquery.tables[STAGING]["creationTime"] > first
    assert len(jobs(stack, "stage")) == 3
    assert not any(done["reused"] for done in run(stack, "audit", "publish", force=True))
    assert len(log(stack)) == 2


def test_a_forced_stage_that_comes_back_to_its_job_keeps_its_table(stack, typed):
    typed()
    stack.connections.patience = 1
    stack.bigquery.polls = 100
    with pytest.raises(JobRunningError) as running:
        run(stack, "stage", force=True)
    stack.bigquery.jobs[running.value.job_id]["polls"] = 0
    run(stack, "stage", force=True, awaited=running.value.job_id)
    assert len(jobs(stack, "stage")) == 1


def test_a_staging_table_that_somebody_else_keeps_making_is_not_taken(stack, typed):
    typed()
    run(stack, "stage")
    theirs = {**stack.bigquery.tables[STAGING], "description": "theirs"}

    def overtake(request):
        if request.method == "DELETE":
            stack.bigquery.tables[STAGING] = theirs

    stack.bigquery.tables[STAGING], stack.bigquery.after = theirs, overtake
    with pytest.raises(
        TransientError, match=rf"yellow 2024-01: staging table {STAGING} was created by anoth"
    ):
        run(stack, "stage")
    assert len(jobs(stack, "stage")) == 1


def test_a_month_that_is_conformed_again_while_it_is_staged_is_staged_again(stack, typed):
    typed(5)

    def conform_again(request):
        if request.path.endswith("/jobs"):
            stack.bigquery.after = lambda _: None
            typed(6)

    stack.bigquery.after = conform_again
    with pytest.raises(TransientError, match=r"yellow 2024-01: conformed again while it was staged"):
        run(stack, "stage")
    run(stack, *WAREHOUSE)
    assert published(stack) == {"2024-01-01": 6}


def test_a_month_that_vanishes_while_it_is_staged_is_noticed(stack, typed):
    typed(5)
    stack.bigquery.after = lambda request: request.path.endswith("/jobs") and stack.objects().pop(TYPED)
    with pytest.raises(TransientError, match="conformed again while it was staged"):
        run(stack, "stage")


def test_a_month_that_is_not_in_the_lake_is_named(stack):
    with pytest.raises(PermanentError, match=r"yellow_tripdata_2024-01.parquet: not in the lake's typed/"):
        run(stack, "stage")


@pytest.mark.parametrize(
    ("change", "column"),
    [
        (lambda fields: fields.append({"name": "mine", "type": "STRING"}), "mine"),
        (lambda fields: fields.pop(), "dropoff_latitude"),
        (lambda fields: fields[1].update(type="STRING"), "vendor_id"),
    ],
)
def test_a_table_with_another_schema_is_left_alone_and_its_column_named(stack, typed, change, column):
    typed()
    run(stack, *WAREHOUSE)
    change(stack.bigquery.tables["yellow_trips"]["schema"]["fields"])
    with pytest.raises(
        PermanentError, match=rf"yellow_trips is not as the catalogue says \({column}\)\. See"
    ):
        run(stack, "stage", run_id="another", force=True)
    assert staging(stack) == []


def test_other_names_of_the_same_types_are_the_same_schema(stack, typed):
    typed()
    run(stack, *WAREHOUSE)
    for field in stack.bigquery.tables["yellow_trips"]["schema"]["fields"]:
        field["type"] = {"INTEGER": "INT64", "FLOAT": "FLOAT64"}.get(field["type"], field["type"])
    run(stack, "stage", run_id="another", force=True)


def test_bigquery_itself_gets_a_table_over_the_lakes_files_an_emulator_none(stack, typed):
    typed()
    run(stack, "stage")
    assert "yellow_trips_lake" not in stack.bigquery.tables
    stack.connections.emulated = False
    run(stack, "stage", run_id="another")
    made = stack.bigquery.tables["yellow_trips_lake"]
    assert made["externalDataConfiguration"]["sourceUris"] == ["gs://b/typed/yellow/*"]
    assert {("year", "INTEGER"), ("month", "INTEGER")} <= columns_in(made["schema"]["fields"])
    run(stack, "stage", run_id="third")
    assert stack.bigquery.tables["yellow_trips_lake"] == made, "what is there stays"


def put_lake_table(stack, **described):
    reference = {"projectId": "p", "datasetId": "d", "tableId": "yellow_trips_lake"}
    stack.bigquery._create({"tableReference": reference, **described})


def test_a_table_over_the_lakes_files_that_lacks_columns_is_replaced(stack, typed):
    """An older version gave its schema to the API, which then forgot the columns of the folders."""
    typed()
    columns = fields(DATASETS["yellow"].columns)
    put_lake_table(stack, schema={"fields": columns}, externalDataConfiguration={})
    stack.connections.emulated = False
    run(stack, "stage")
    made = stack.bigquery.tables["yellow_trips_lake"]
    assert columns_in(made["schema"]["fields"]) == {
        *columns_in(columns),
        ("year", "INTEGER"),
        ("month", "INTEGER"),
    }


def test_a_users_table_with_the_name_of_that_over_the_lakes_files_stays(stack, typed):
    typed()
    put_lake_table(stack, schema={"fields": [{"name": "own", "type": "STRING"}]})
    stack.connections.emulated = False
    run(stack, "stage")
    assert stack.bigquery.tables["yellow_trips_lake"]["schema"]["fields"] == [
        {"name": "own", "type": "STRING"}
    ]


@pytest.mark.parametrize(
    ("status", "said"), [(403, "access denied (hiccup)"), (400, "hiccup"), (503, "hiccup")]
)
def test_nothing_depends_on_the_table_over_the_lakes_files(stack, typed, caplog, status, said):
    typed()
    stack.connections.emulated = False
    path = "/bigquery/v2/projects/p/datasets/d/tables/yellow_trips_lake"
    stack.bigquery.answers[path] = GoogleError(status, "hiccup").answer
    run(stack, "stage")
    assert f"files of yellow: BigQuery: table yellow_trips_lake: {said}" in caplog.text


def test_of_two_months_that_are_staged_at_once_one_may_be_refused_the_table(stack, typed, caplog):
    typed()
    stack.connections.emulated = False
    refused = {"reason": "quotaExceeded", "message": "Quota exceeded: too many table update operations"}
    stack.bigquery.outcomes = [None, refused]
    assert run(stack, "stage")[0]["staging"] == STAGING
    assert "files of yellow: BigQuery: query lake: Quota exceeded" in caplog.text


# Audits


def spoil(stack, change):
    stack.bigquery.sql(f"UPDATE d.{STAGING} SET {change}")


def test_a_failing_audit_publishes_nothing_says_why_and_is_kept(stack, typed):
    typed(5)
    run(stack, *WAREHOUSE, run_id="before")
    typed(6)
    run(stack, "stage")
    stack.bigquery.sql(f"DELETE FROM d.{STAGING} WHERE vendor_id = 1")
    for _ in range(2):
        reason = (
            r"yellow 2024-01: nothing was published, audit failed: row_count \(3 rows staged, 6 in the lak"
        )
        with pytest.raises(AuditError, match=reason):
            run(stack, "audit")
    assert published(stack) == {"2024-01-01": 5}
    kept = stack.bigquery.sql("SELECT audit FROM d.audit_results WHERE NOT passed AND severity = 'stop'")
    assert kept == [("row_count",)]


def test_all_that_stops_a_month_is_said_at_once(stack, typed):
    typed(5)
    run(stack, "stage")
    spoil(stack, "tpep_pickup_datetime = NULL")
    stack.bigquery.sql(f"DELETE FROM d.{STAGING} WHERE vendor_id = 1")
    with pytest.raises(
        AuditError, match=r"row_count \(.*\); key_present \(2 rows without tpep_pickup_datetime\)"
    ):
        run(stack, "audit")


def test_a_warning_does_not_stop_a_month(stack, typed):
    typed(5)
    run(stack, "stage")
    spoil(stack, "total_amount = -1")
    audited, done = run(stack, "audit", "publish")
    assert any(text.startswith("amounts_plausible: 5 of 5 trips") for text in audited["warnings"])
    assert done["rows"] == 5


def test_whoever_corrects_a_rule_and_asks_again_is_answered_by_the_new_one(stack, typed):
    typed(5)
    run(stack, "stage")
    stack.bigquery.sql(f"DELETE FROM d.{STAGING} WHERE vendor_id = 1")
    with pytest.raises(AuditError):
        run(stack, "audit")
    ds = DATASETS["yellow"]
    relaxed = replace(ds, audits=tuple(audit for audit in ds.audits if audit.name != "row_count"))
    assert stack.run("audit", relaxed, "2024-01")["audits"] == len(relaxed.audits)


# Publishing


def test_a_publication_that_fails_leaves_the_old_month_and_no_log_row(stack, typed):
    typed(5)
    run(stack, *WAREHOUSE)
    typed(6)
    run(stack, "stage", "audit", run_id="bad")
    stack.bigquery.outcomes = [{"reason": "invalidQuery", "message": "broken"}]
    with pytest.raises(PermanentError, match=r"BigQuery: job taxiway-publish-yellow-2024-01-.*broken"):
        run(stack, "publish", run_id="bad")
    assert (published(stack), len(log(stack))) == ({"2024-01-01": 5}, 1)
    run(stack, "publish", run_id="bad")
    assert published(stack) == {"2024-01-01": 6}, "a failed job does not keep its work from being done"


def test_a_publication_that_was_cancelled_while_it_was_awaited_says_so(stack, typed):
    typed()
    run(stack, "stage", "audit")
    stack.connections.patience, stack.bigquery.polls = 1, 100
    with pytest.raises(JobRunningError) as running:
        run(stack, "publish")
    job = stack.bigquery.jobs[running.value.job_id]
    job["polls"], job["error"] = 0, STOPPED
    with pytest.raises(PermanentError, match="Job execution was cancelled"):
        run(stack, "publish", awaited=running.value.job_id)
    assert len(jobs(stack, "publish")) == 1
    stack.bigquery.polls = 0
    run(stack, "publish")
    assert len(jobs(stack, "publish")) == 2, "the next attempt does it again"


def test_a_publisher_killed_before_it_dropped_its_staging_publishes_once(stack, typed):
    typed()
    run(stack, "stage", "audit")

    def die(request):
        if request.path.endswith("/jobs"):
            raise Killed

    stack.bigquery.after = die
    with pytest.raises(Killed):
        run(stack, "publish")
    stack.bigquery.after = lambda _: None
    run(stack, "publish")
    assert (published(stack), len(log(stack)), staging(stack)) == ({"2024-01-01": 20}, 1, [])


@pytest.mark.parametrize("stage", ["audit", "publish"])
def test_what_was_never_staged_is_neither_judged_nor_published(stack, typed, stage):
    typed()
    with pytest.raises(
        PermanentError, match=r"yellow 2024-01: nothing is staged by this run\. Stage it first"
    ):
        run(stack, stage)


@pytest.mark.parametrize("stage", ["audit", "publish"])
def test_an_older_month_in_the_table_does_not_pass_for_the_new_one(stack, typed, stage):
    typed(5)
    run(stack, *WAREHOUSE)
    typed(6)
    with pytest.raises(PermanentError, match="nothing is staged by this run"):
        run(stack, stage, run_id="another")


def test_what_is_done_already_is_reported_with_its_counts(stack, typed):
    typed(strays=2)
    run(stack, *WAREHOUSE)
    for done in run(stack, "stage", "audit", "publish", run_id="another"):
        assert (done["rows"], done["quarantined"], done["reused"]) == (18, 2, True)


def test_a_job_is_named_and_labelled_by_what_it_does(stack, typed):
    typed()
    run(stack, *WAREHOUSE)
    for step in WAREHOUSE:
        (job_id,) = jobs(stack, step)
        assert job_id.startswith(f"taxiway-{step}-yellow-2024-01-")
        labels = stack.bigquery.jobs[job_id]["configuration"]["labels"]
        assert labels == {"app": "taxiway", "step": step, "dataset": "yellow", "period": "2024-01"}


def test_tables_that_somebody_has_dropped_are_made_again(stack, typed):
    typed()
    run(stack, "stage")
    for name in ("audit_results", "load_log"):
        del stack.bigquery.tables[name]
        stack.bigquery.sql(f"DROP TABLE d.{name}")
    run(stack, "audit", "publish")
    assert (published(stack), len(log(stack))) == ({"2024-01-01": 20}, 1)
