"""What we rely on from BigQuery, on the emulated one and on Google's own."""

import io
import secrets
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from product import DATASETS

from elt.warehouse.tables import columns_in, fields, lake_statement

pytestmark = pytest.mark.emulators
SCHEMA = [
    {"name": "source_month", "type": "DATE", "mode": "NULLABLE"},
    {"name": "zone", "type": "INTEGER", "mode": "NULLABLE", "description": "Taxi zone"},
    {"name": "fare", "type": "FLOAT", "mode": "NULLABLE"},
]
ABORTED = "aborted due to concurrent update"


@pytest.fixture
def datasets(cloud: Any) -> str:
    """The URL of the project's datasets."""
    return f"{cloud.bigquery}/projects/{cloud.project}/datasets"


@pytest.fixture
def new_dataset(cloud: Any, datasets: str) -> Any:
    """Create datasets that are deleted afterwards: takes the body without a name, returns the URL."""
    created = []

    def create(**attributes: Any) -> str:
        name = f"{cloud.run}_{secrets.token_hex(3)}".replace("-", "_")
        cloud.ok("POST", datasets, {"datasetReference": {"datasetId": name}, **attributes})
        created.append(f"{datasets}/{name}")
        return created[-1]

    yield create
    for url in created:
        cloud.call("DELETE", url, deleteContents="true")


@pytest.fixture
def new_table(cloud: Any, datasets: str, dataset: str) -> Callable[..., str]:
    """Create tables: takes the body without a name, returns the table's name for SQL."""

    def create(**attributes: Any) -> str:
        name = f"t{secrets.token_hex(4)}"
        reference = {"projectId": cloud.project, "datasetId": dataset, "tableId": name}
        body = {"tableReference": reference, "schema": {"fields": SCHEMA}, **attributes}
        cloud.ok("POST", f"{datasets}/{dataset}/tables", body)
        return f"{cloud.project}.{dataset}.{name}"

    return create


@pytest.fixture
def sql(bigquery_client: Any) -> Callable[..., list[tuple[Any, ...]]]:
    """Run a statement or script with named parameters; return its rows."""
    from google.cloud import bigquery

    def run(statement: str, **parameters: tuple[str, Any]) -> list[tuple[Any, ...]]:
        given = [bigquery.ScalarQueryParameter(name, *value) for name, value in parameters.items()]
        job = bigquery_client.query(statement, bigquery.QueryJobConfig(query_parameters=given))
        return [tuple(row.values()) for row in job.result()]

    return run


@pytest.fixture
def parquet(bucket: str, storage_client: Any) -> Callable[..., str]:
    """Put a table into the lake as Parquet, under a name with Hive partitions; return its URI."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    def store(**columns: list[Any]) -> str:
        buffer = io.BytesIO()
        pq.write_table(pa.table(columns), buffer)
        name = f"typed/yellow/year=2024/month=01/{secrets.token_hex(4)}.parquet"
        storage_client.bucket(bucket).blob(name).upload_from_string(buffer.getvalue())
        return f"gs://{bucket}/{name}"

    return store


def load(client: Any, uri: str, table: str, **options: Any) -> Any:
    """Load Parquet into an existing table; return the finished job."""
    from google.cloud import bigquery

    job_id = options.pop("job_id", None)
    config = bigquery.LoadJobConfig(source_format="PARQUET", **options)
    job = client.load_table_from_uri(uri, table, job_config=config, job_id=job_id)
    job.result()
    return job


def error_of(answer: Any) -> tuple[int, str]:
    """Return the status, and the reason of Google's error body."""
    error = answer.json()["error"]
    assert error["message"]
    assert error["code"] == answer.status_code
    return answer.status_code, error["errors"][0]["reason"]


def test_a_dataset_keeps_what_it_was_created_with(cloud: Any, new_dataset: Any) -> None:
    wanted = {
        "location": "EU",
        "description": "Tables of one stack",
        "labels": {"taxiway-stack": "try", "managed-by": "pulumi"},
        "defaultTableExpirationMs": "604800000",
        "maxTimeTravelHours": "48",
    }
    assert wanted.items() <= cloud.ok("GET", new_dataset(**wanted)).items()


def test_a_dataset_that_names_no_access_belongs_to_its_project(cloud: Any, new_dataset: Any) -> None:
    access = cloud.ok("GET", new_dataset())["access"]
    assert {"role": "OWNER", "specialGroup": "projectOwners"} in access


def test_an_access_entry_added_to_a_dataset_is_read_back(cloud: Any, new_dataset: Any, account: Any) -> None:
    url = new_dataset()
    entry = {"role": "WRITER", "userByEmail": account["email"]}
    access = [*cloud.ok("GET", url)["access"], entry]
    cloud.ok("PATCH", url, {"access": access})
    assert entry in cloud.ok("GET", url)["access"]


def test_a_put_takes_away_what_it_does_not_mention(cloud: Any, new_dataset: Any) -> None:
    url = new_dataset(description="one", labels={"a": "1"})
    cloud.ok("PUT", url, {"datasetReference": {"datasetId": url.rsplit("/", 1)[1]}, "labels": {"b": "2"}})
    got = cloud.ok("GET", url)
    assert (got["labels"], got.get("description")) == ({"b": "2"}, None)


def test_a_put_without_an_access_list_takes_grants_away(cloud: Any, new_dataset: Any, account: Any) -> None:
    """As the Pulumi provider sends it, with each change of a label."""
    url = new_dataset()
    entry = {"role": "WRITER", "userByEmail": account["email"]}
    cloud.ok("PATCH", url, {"access": [*cloud.ok("GET", url)["access"], entry]})
    body = {"datasetReference": {"datasetId": url.rsplit("/", 1)[1]}, "labels": {"a": "1"}}
    cloud.ok("PUT", url, body, updateMode="UPDATE_METADATA")
    assert entry in cloud.ok("GET", url)["access"]
    cloud.ok("PUT", url, body)
    access = cloud.ok("GET", url)["access"]
    assert entry not in access
    assert {"role": "OWNER", "specialGroup": "projectOwners"} in access


def test_a_label_patched_to_null_goes_and_the_others_stay(cloud: Any, new_dataset: Any) -> None:
    url = new_dataset(labels={"a": "1", "b": "2"})
    assert cloud.ok("PATCH", url, {"labels": {"a": None, "c": "3"}})["labels"] == {"b": "2", "c": "3"}


def test_a_second_dataset_of_a_name_is_a_duplicate(cloud: Any, datasets: str, dataset: str) -> None:
    again = cloud.call("POST", datasets, {"datasetReference": {"datasetId": dataset}})
    assert error_of(again) == (409, "duplicate")


def test_a_dataset_that_is_gone_is_not_found(cloud: Any, datasets: str) -> None:
    for method in ("GET", "DELETE"):
        assert error_of(cloud.call(method, f"{datasets}/nowhere")) == (404, "notFound")


def test_a_dataset_with_tables_goes_only_with_its_contents(cloud: Any, new_dataset: Any) -> None:
    url = new_dataset()
    name = url.rsplit("/", 1)[1]
    reference = {"projectId": cloud.project, "datasetId": name, "tableId": "t"}
    cloud.ok("POST", f"{url}/tables", {"tableReference": reference, "schema": {"fields": SCHEMA}})
    assert error_of(cloud.call("DELETE", url)) == (400, "resourceInUse")
    assert cloud.call("DELETE", url, deleteContents="true").status_code == 204
    assert cloud.call("GET", url).status_code == 404


def test_a_table_keeps_partitioning_clustering_and_descriptions(
    cloud: Any, datasets: str, dataset: str, new_table: Any
) -> None:
    partitioning = {"type": "MONTH", "field": "source_month"}
    table = new_table(timePartitioning=partitioning, clustering={"fields": ["zone"]}, labels={"a": "1"})
    got = cloud.ok("GET", f"{datasets}/{dataset}/tables/{table.rsplit('.', 1)[1]}")
    assert partitioning.items() <= got["timePartitioning"].items()
    assert got["clustering"] == {"fields": ["zone"]}
    assert got["labels"] == {"a": "1"}
    assert got["schema"]["fields"][1]["description"] == "Taxi zone"


def test_a_second_table_of_a_name_is_a_duplicate(
    cloud: Any, datasets: str, dataset: str, new_table: Any
) -> None:
    name = new_table().rsplit(".", 1)[1]
    reference = {"projectId": cloud.project, "datasetId": dataset, "tableId": name}
    again = cloud.call("POST", f"{datasets}/{dataset}/tables", {"tableReference": reference})
    assert error_of(again) == (409, "duplicate")


def test_a_table_that_is_gone_is_not_found(cloud: Any, datasets: str, dataset: str) -> None:
    for method in ("GET", "DELETE"):
        answer = cloud.call(method, f"{datasets}/{dataset}/tables/nowhere")
        assert error_of(answer) == (404, "notFound")


def test_parquet_is_loaded_by_name_whatever_the_path(
    bigquery_client: Any, new_table: Any, parquet: Any, sql: Any
) -> None:
    table = new_table()
    job = load(bigquery_client, parquet(fare=[1.5, 2.5], zone=[7, None]), table)
    assert job.output_rows == 2
    assert sql(f"SELECT zone, fare, source_month FROM `{table}` ORDER BY fare") == [
        (7, 1.5, None),
        (None, 2.5, None),
    ]


@pytest.mark.parametrize(
    "name", ["a b%+ü.parquet", "'quoted'.parquet", "n" * 1_000 + ".parquet", "no-ending", "x/", "x/y"]
)
def test_an_object_of_any_name_is_loaded(
    bigquery_client: Any, storage_client: Any, bucket: str, new_table: Any, parquet: Any, name: str
) -> None:
    table, made = new_table(), parquet(zone=[1])
    source = storage_client.bucket(bucket).blob(made.removeprefix(f"gs://{bucket}/"))
    storage_client.bucket(bucket).copy_blob(source, storage_client.bucket(bucket), name)
    assert load(bigquery_client, f"gs://{bucket}/{name}", table).output_rows == 1


def test_a_star_stands_for_many_objects(
    bigquery_client: Any, storage_client: Any, bucket: str, new_table: Any, parquet: Any
) -> None:
    table, folder = new_table(), f"star-{secrets.token_hex(4)}"
    for number, part in enumerate([parquet(zone=[1]), parquet(zone=[2, 3])]):
        source = storage_client.bucket(bucket).blob(part.removeprefix(f"gs://{bucket}/"))
        storage_client.bucket(bucket).copy_blob(
            source, storage_client.bucket(bucket), f"{folder}/{number}/part.parquet"
        )
    job = load(bigquery_client, f"gs://{bucket}/{folder}/*.parquet", table)
    assert (job.output_rows, job.input_files) == (3, 2)


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("CSV", b"zone,fare\n1,2.5\n"),
        ("NEWLINE_DELIMITED_JSON", b'{"zone": 1, "fare": 2.5}\n'),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_text_is_loaded_packed_or_not(
    bigquery_client: Any, storage_client: Any, bucket: str, dataset: str, sql: Any,
    kind: str, content: bytes, packed: bool,
) -> None:  # fmt: skip
    import gzip

    from google.cloud import bigquery

    name = f"{secrets.token_hex(4)}.txt{'.gz' if packed else ''}"
    blob = storage_client.bucket(bucket).blob(name)
    blob.upload_from_string(gzip.compress(content) if packed else content)
    schema = [bigquery.SchemaField("zone", "INT64"), bigquery.SchemaField("fare", "FLOAT64")]
    options = {"skip_leading_rows": 1} if kind == "CSV" else {}
    config = bigquery.LoadJobConfig(source_format=kind, schema=schema, **options)
    table = f"{bigquery_client.project}.{dataset}.t{secrets.token_hex(4)}"
    bigquery_client.load_table_from_uri(f"gs://{bucket}/{name}", table, job_config=config).result()
    assert sql(f"SELECT zone, fare FROM `{table}`") == [(1, 2.5)]


def test_a_file_can_be_uploaded_into_a_table(bigquery_client: Any, new_table: Any, sql: Any) -> None:
    from google.cloud import bigquery

    table = new_table()
    config = bigquery.LoadJobConfig(source_format="NEWLINE_DELIMITED_JSON")
    for resumable in (False, True):
        content = io.BytesIO(b'{"zone": 7}\n')
        size = None if resumable else len(content.getvalue())
        bigquery_client.load_table_from_file(content, table, size=size, job_config=config).result()
    assert sql(f"SELECT zone FROM `{table}`") == [(7,), (7,)]


@pytest.mark.parametrize(
    "uri", ["gs://{bucket}/nowhere.parquet", "gs://{bucket}-nowhere/x", "gs://{bucket}/n*x"]
)
def test_a_load_of_what_is_not_there_says_so(
    bigquery_client: Any, bucket: str, new_table: Any, uri: str
) -> None:
    with pytest.raises(Exception, match="Not found") as caught:
        load(bigquery_client, uri.format(bucket=bucket), new_table())
    assert caught.value.code == 404


@pytest.mark.parametrize("uri", ["file:///etc/passwd", "/etc/passwd", "gs://", "gs://x", "gs://b/a*b*c", ""])
def test_a_load_of_what_is_no_object_is_refused(bigquery_client: Any, new_table: Any, uri: str) -> None:
    with pytest.raises(Exception, match=r"Cloud Storage|URI") as caught:
        load(bigquery_client, uri, new_table())
    assert caught.value.code == 400


def test_a_load_that_truncates_replaces_the_rows(
    bigquery_client: Any, new_table: Any, parquet: Any, sql: Any
) -> None:
    table = new_table()
    for zones in ([1, 2, 3], [4]):
        job = load(bigquery_client, parquet(zone=zones), table, write_disposition="WRITE_TRUNCATE")
        assert job.output_rows == len(zones)
    assert sql(f"SELECT zone FROM `{table}`") == [(4,)]


def test_a_load_that_appends_counts_only_its_own_rows(
    bigquery_client: Any, new_table: Any, parquet: Any
) -> None:
    table, uri = new_table(), parquet(zone=[1, 2])
    assert [load(bigquery_client, uri, table).output_rows for _ in range(2)] == [2, 2]
    assert bigquery_client.get_table(table).num_rows == 4


def test_a_load_that_fails_leaves_the_old_rows(
    bigquery_client: Any, storage_client: Any, bucket: str, new_table: Any, parquet: Any, sql: Any
) -> None:
    table = new_table()
    load(bigquery_client, parquet(zone=[1]), table)
    storage_client.bucket(bucket).blob("broken.parquet").upload_from_string(b"PAR1 no such thing PAR1")
    with pytest.raises(Exception, match="Error while reading data") as caught:
        load(bigquery_client, f"gs://{bucket}/broken.parquet", table, write_disposition="WRITE_TRUNCATE")
    assert caught.value.code == 400
    assert sql(f"SELECT zone FROM `{table}`") == [(1,)]


def test_a_load_that_fails_leaves_no_table(
    bigquery_client: Any, storage_client: Any, bucket: str, dataset: str, cloud: Any
) -> None:
    from google.api_core.exceptions import NotFound
    from google.cloud.bigquery import SchemaField

    storage_client.bucket(bucket).blob("broken.parquet").upload_from_string(b"PAR1 no such thing PAR1")
    table = f"{cloud.project}.{dataset}.never"
    with pytest.raises(Exception, match="Error while reading data"):
        load(bigquery_client, f"gs://{bucket}/broken.parquet", table, schema=[SchemaField("a", "INT64")])
    with pytest.raises(NotFound):
        bigquery_client.get_table(table)


def test_a_job_id_runs_once(bigquery_client: Any, new_table: Any, parquet: Any, cloud: Any) -> None:
    table, uri, job_id = new_table(), parquet(zone=[1]), f"once-{secrets.token_hex(6)}"
    load(bigquery_client, uri, table, job_id=job_id)
    body = {
        "jobReference": {"projectId": cloud.project, "jobId": job_id, "location": cloud.location},
        "configuration": {"query": {"query": f"DELETE FROM `{table}` WHERE TRUE", "useLegacySql": False}},
    }
    again = cloud.call("POST", f"{cloud.bigquery}/projects/{cloud.project}/jobs", body)
    assert error_of(again) == (409, "duplicate")
    assert bigquery_client.get_table(table).num_rows == 1


def test_a_query_is_found_and_read_by_its_id(bigquery_client: Any) -> None:
    """As a task does that was killed while it waited."""
    from google.cloud import bigquery

    job_id = f"found-{secrets.token_hex(6)}"
    statement = "SELECT x FROM UNNEST([1, 2, 3]) AS x ORDER BY x"
    bigquery_client.query(statement, job_id=job_id, job_retry=None).result()
    found = bigquery_client.get_job(job_id)
    assert isinstance(found, bigquery.QueryJob)
    assert (found.state, found.statement_type, found.error_result) == ("DONE", "SELECT", None)
    assert [row.x for row in found.result()] == [1, 2, 3]
    assert [row.x for row in found.result(page_size=2)] == [1, 2, 3]


def test_a_parameter_without_a_value_has_none_in_the_job(cloud: Any, bigquery_client: Any) -> None:
    from google.cloud import bigquery

    given = [bigquery.ScalarQueryParameter("x", "INT64", None)]
    job = bigquery_client.query("SELECT @x AS x", bigquery.QueryJobConfig(query_parameters=given))
    assert [row.x for row in job.result()] == [None]
    url = f"{cloud.bigquery}/projects/{cloud.project}/jobs/{job.job_id}"
    found = cloud.ok("GET", url, location=str(job.location))
    (parameter,) = found["configuration"]["query"]["queryParameters"]
    assert "value" not in parameter.get("parameterValue", {})


def test_a_job_that_has_ended_can_be_cancelled_without_harm(bigquery_client: Any) -> None:
    job = bigquery_client.query("SELECT 1 AS x")
    job.result()
    cancelled = bigquery_client.cancel_job(job.job_id, location=job.location)
    assert (cancelled.job_id, cancelled.state) == (job.job_id, "DONE")
    assert [row.x for row in bigquery_client.get_job(job.job_id).result()] == [1]


def test_a_job_that_is_gone_is_not_found(cloud: Any) -> None:
    for path in ("jobs/nowhere", "queries/nowhere"):
        url = f"{cloud.bigquery}/projects/{cloud.project}/{path}"
        assert error_of(cloud.call("GET", url, location=cloud.location)) == (404, "notFound")
    url = f"{cloud.bigquery}/projects/{cloud.project}/jobs/nowhere/cancel"
    assert error_of(cloud.call("POST", url, location=cloud.location)) == (404, "notFound")


@pytest.mark.parametrize("job_id", [None, "with-dashes_and-more-{}"])
def test_a_result_lies_in_a_table_of_its_own(bigquery_client: Any, job_id: str | None) -> None:
    named = job_id.format(secrets.token_hex(4)) if job_id else None
    statement = "SELECT x, 'a' AS y FROM UNNEST([1, 2, 3]) AS x ORDER BY x"
    job = bigquery_client.query(statement, job_id=named, job_retry=None)
    job.result()
    table = bigquery_client.get_table(job.destination)
    assert (table.num_rows, [field.name for field in table.schema]) == (3, ["x", "y"])
    listed = bigquery_client.list_rows(table, page_size=2)
    assert [tuple(row.values()) for row in listed] == [(1, "a"), (2, "a"), (3, "a")]


def test_a_query_that_fails_is_found_with_its_reason(bigquery_client: Any) -> None:
    job_id = f"failed-{secrets.token_hex(6)}"
    with pytest.raises(Exception, match="nothing of the kind"):
        statement = "SELECT ERROR('nothing of the kind')"
        bigquery_client.query(statement, job_id=job_id, job_retry=None).result()
    found = bigquery_client.get_job(job_id)
    assert (found.state, found.error_result["reason"]) == ("DONE", "invalidQuery")


def test_jobs_are_listed_in_pages(bigquery_client: Any) -> None:
    ids = {bigquery_client.query(f"SELECT {number}").job_id for number in range(3)}
    listed = {job.job_id for job in bigquery_client.list_jobs(page_size=2, max_results=1000)}
    assert ids <= listed


def test_datasets_and_tables_are_listed_in_pages(bigquery_client: Any, new_dataset: Any, cloud: Any) -> None:
    url = new_dataset(labels={"a": "1"})
    name = url.rsplit("/", 1)[1]
    for number in range(3):
        reference = {"projectId": cloud.project, "datasetId": name, "tableId": f"t{number}"}
        cloud.ok("POST", f"{url}/tables", {"tableReference": reference, "schema": {"fields": SCHEMA}})
    first = cloud.ok("GET", f"{url}/tables", maxResults="2")
    assert (len(first["tables"]), "nextPageToken" in first) == (2, True)
    listed = bigquery_client.list_tables(name, page_size=2)
    assert [table.table_id for table in listed] == ["t0", "t1", "t2"]
    for _ in range(2):
        new_dataset()
    found = {dataset.dataset_id: dataset.labels for dataset in bigquery_client.list_datasets(page_size=1)}
    assert found[name] == {"a": "1"}


def test_a_job_keeps_its_labels(bigquery_client: Any, new_table: Any, parquet: Any) -> None:
    from google.cloud import bigquery

    job = load(bigquery_client, parquet(zone=[1]), new_table(), labels={"dataset": "yellow"})
    assert bigquery_client.get_job(job.job_id).labels == {"dataset": "yellow"}
    query = bigquery_client.query("SELECT 1", bigquery.QueryJobConfig(labels={"dataset": "green"}))
    query.result()
    assert bigquery_client.get_job(query.job_id).labels == {"dataset": "green"}


@pytest.mark.parametrize(
    ("statement", "kind"),
    [
        ("SELECT 1", "SELECT"),
        ("SELECT 1 UNION ALL SELECT 2", "SELECT"),
        ("(SELECT 1)", "SELECT"),
        ("DROP TABLE `{table}`", "DROP_TABLE"),
        ("DELETE FROM `{table}` WHERE TRUE", "DELETE"),
        ("SELECT 1; DROP TABLE `{table}`;", "SCRIPT"),
    ],
)
def test_a_dry_run_names_what_a_statement_does_and_does_nothing(
    bigquery_client: Any, new_table: Any, statement: str, kind: str
) -> None:
    """By that `scripts/sql` knows what it may run."""
    from google.cloud import bigquery

    table = new_table()
    bigquery_client.query(f"INSERT INTO `{table}` (zone) VALUES (1)").result()
    config = bigquery.QueryJobConfig(dry_run=True)
    planned = bigquery_client.query(statement.format(table=table), config, job_retry=None)
    assert (planned.statement_type, planned.state) == (kind, "DONE")
    assert [row.n for row in bigquery_client.query(f"SELECT COUNT(*) AS n FROM `{table}`").result()] == [1]


def test_a_dry_run_of_what_is_no_statement_is_an_error(bigquery_client: Any) -> None:
    from google.api_core.exceptions import BadRequest
    from google.cloud import bigquery

    for text in ("SELEC 1", "SELECT FROM WHERE"):
        with pytest.raises(BadRequest, match=r"Syntax error.* at \[1:\d+\]"):
            bigquery_client.query(text, bigquery.QueryJobConfig(dry_run=True), job_retry=None)


def test_a_dry_run_of_a_query_judges_it_and_describes_its_columns(bigquery_client: Any) -> None:
    from google.api_core.exceptions import GoogleAPICallError
    from google.cloud import bigquery

    config = bigquery.QueryJobConfig(dry_run=True)
    planned = bigquery_client.query("SELECT 1 AS a, 'x' AS b", config, job_retry=None)
    assert [field.name for field in planned.schema] == ["a", "b"]
    with pytest.raises(GoogleAPICallError, match="nowhere"):
        bigquery_client.query("SELECT * FROM nowhere.at_all", config, job_retry=None)


def test_a_table_without_its_dataset_is_the_default_datasets(bigquery_client: Any, new_table: Any) -> None:
    from google.cloud import bigquery

    dataset, _, name = new_table().rpartition(".")
    config = bigquery.QueryJobConfig(default_dataset=dataset)
    assert list(bigquery_client.query(f"SELECT * FROM {name}", config).result()) == []


def test_a_statement_tells_how_many_rows_it_changed(bigquery_client: Any, new_table: Any) -> None:
    table = new_table()
    inserted = bigquery_client.query(f"INSERT INTO `{table}` (zone) SELECT x FROM UNNEST([1, 2, 3]) AS x")
    inserted.result()
    assert inserted.num_dml_affected_rows == 3
    assert bigquery_client.get_table(table).num_rows == 3


def test_a_transaction_replaces_a_month_and_logs_it_at_once(new_table: Any, sql: Any) -> None:
    table, log = new_table(), new_table()
    for fare in (1.0, 2.0):
        sql(PUBLISH.format(table=table, log=log), month=("DATE", "2024-01-01"), fare=("FLOAT64", fare))
    sql(PUBLISH.format(table=table, log=log), month=("DATE", "2024-02-01"), fare=("FLOAT64", None))
    assert sql(f"SELECT FORMAT_DATE('%m', source_month), fare FROM `{table}` ORDER BY 1") == [
        ("01", 2.0),
        ("02", None),
    ]
    assert sql(f"SELECT COUNT(*) FROM `{log}`") == [(3,)]


PUBLISH = """-- The month's old rows go, the new ones come, the log says so.
BEGIN TRANSACTION;
DELETE FROM `{table}` WHERE source_month = @month;
INSERT INTO `{table}` (source_month, fare) SELECT @month, @fare;
INSERT INTO `{log}` (source_month) SELECT @month;
COMMIT TRANSACTION;
"""


def test_a_transaction_that_fails_leaves_the_old_rows(new_table: Any, sql: Any) -> None:
    table = new_table()
    sql(f"INSERT INTO `{table}` (zone) SELECT 1")
    with pytest.raises(Exception, match="nothing of the kind") as caught:
        sql(f"""BEGIN TRANSACTION; DELETE FROM `{table}` WHERE TRUE;
            SELECT ERROR('nothing of the kind'); COMMIT TRANSACTION;""")
    assert caught.value.code == 400
    assert sql(f"SELECT zone FROM `{table}`") == [(1,)]


def test_a_transaction_left_open_is_rolled_back(new_table: Any, sql: Any) -> None:
    table = new_table()
    sql(f"INSERT INTO `{table}` (zone) SELECT 1")
    sql(f"BEGIN TRANSACTION; DELETE FROM `{table}` WHERE TRUE; SELECT 1;")
    assert sql(f"SELECT zone FROM `{table}`") == [(1,)]


def test_transactions_at_once_lose_nothing(new_table: Any, sql: Any) -> None:
    """BigQuery aborts the later one, whatever the month; the emulator lets it wait. Both need the retry."""
    table, log = new_table(), new_table()

    def publish(month: int) -> None:
        for attempt in range(60):
            try:
                sql(
                    PUBLISH.format(table=table, log=log),
                    month=("DATE", f"2024-{month:02d}-01"),
                    fare=("FLOAT64", float(month)),
                )
            except Exception as error:
                assert ABORTED in str(error)
                time.sleep(min(attempt, 5))
            else:
                return
        pytest.fail(f"month {month} was never published")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(publish, [1, 2, 3, 4, 1, 2, 3, 4]))
    rows = sql(f"SELECT EXTRACT(MONTH FROM source_month), COUNT(*) FROM `{table}` GROUP BY 1 ORDER BY 1")
    assert rows == [(month, 1) for month in (1, 2, 3, 4)]
    assert sql(f"SELECT COUNT(*) FROM `{log}`") == [(8,)]


def test_a_view_shows_its_tables_rows(
    cloud: Any, datasets: str, dataset: str, new_table: Any, sql: Any
) -> None:
    table, name = new_table(), f"v{secrets.token_hex(4)}"
    reference = {"projectId": cloud.project, "datasetId": dataset, "tableId": name}
    view = {"query": f"SELECT zone + 1 AS next FROM `{table}`", "useLegacySql": False}
    cloud.ok("POST", f"{datasets}/{dataset}/tables", {"tableReference": reference, "view": view})
    sql(f"INSERT INTO `{table}` (zone) SELECT 1")
    assert sql(f"SELECT next FROM `{cloud.project}.{dataset}.{name}`") == [(2,)]


def test_files_of_the_lake_are_a_table_with_their_folders_as_columns(
    cloud: Any, datasets: str, dataset: str, parquet: Callable[..., str], sql: Callable[..., Any]
) -> None:
    if cloud.bigquery.startswith("http:"):
        pytest.skip("the emulated warehouse reads external tables as empty, so the library makes none there")
    bucket = parquet(vendor_id=[1], total_amount=[1.25]).split("/")[2]
    yellow, table = DATASETS["yellow"], f"`{cloud.project}.{dataset}.yellow_trips_lake`"
    sql(lake_statement(yellow, table, bucket))
    query = f"SELECT year, month, vendor_id FROM {table} WHERE year = 2024 AND total_amount = 1.25"
    assert sql(query) == [(2024, 1, 1)]
    described = cloud.ok("GET", f"{datasets}/{dataset}/tables/yellow_trips_lake")
    folders = {("year", "INTEGER"), ("month", "INTEGER")}
    assert described["type"] == "EXTERNAL"
    assert columns_in(described["schema"]["fields"]) == columns_in(fields(yellow.columns)) | folders


# What dbt sends (docs/dbt.md)

INSERT_OVERWRITE = """
DECLARE replaced ARRAY<DATE>;
DECLARE latest DATE DEFAULT (SELECT MAX(source_month) FROM `{table}` WHERE source_month IS NOT NULL);
CREATE OR REPLACE TABLE `{table}__tmp` PARTITION BY DATE_TRUNC(source_month, MONTH)
OPTIONS (expiration_timestamp = TIMESTAMP_ADD(CURRENT_TIMESTAMP(), INTERVAL 12 HOUR))
AS (SELECT source_month, zone, fare FROM `{table}__new` WHERE source_month >= latest);
-- Months without a value are not replaced.
SET (replaced) = (
  SELECT AS STRUCT ARRAY_AGG(DISTINCT DATE_TRUNC(source_month, MONTH) IGNORE NULLS) FROM `{table}__tmp`
);
MERGE INTO `{table}` AS kept
USING (SELECT * FROM `{table}__tmp`) AS made
ON FALSE
WHEN NOT MATCHED BY SOURCE AND DATE_TRUNC(kept.source_month, MONTH) IN UNNEST(replaced) THEN DELETE
WHEN NOT MATCHED THEN INSERT (`source_month`, `zone`, `fare`) VALUES (`source_month`, `zone`, `fare`);
DROP TABLE IF EXISTS `{table}__tmp`
"""


@pytest.mark.parametrize("times", [1, 2])
def test_a_script_replaces_the_months_that_it_brings(
    bigquery_client: Any, new_table: Any, times: int
) -> None:
    table = new_table()
    for name, rows in (
        (table, [("2024-01-01", 1), ("2024-02-01", 1), ("2024-02-01", 2)]),
        (f"{table}__new", [("2024-01-01", 7), ("2024-02-01", 3), ("2024-03-01", 4), (None, 5)]),
    ):
        values = ", ".join(
            f"({f'DATE {month!r}' if month else 'CAST(NULL AS DATE)'}, {zone}, 0.5)" for month, zone in rows
        )
        if name != table:
            bigquery_client.query_and_wait(
                f"CREATE TABLE `{name}` (source_month DATE, zone INT64, fare FLOAT64)"
            )
        bigquery_client.query_and_wait(f"INSERT INTO `{name}` (source_month, zone, fare) VALUES {values}")
    for _ in range(times):
        bigquery_client.query_and_wait(INSERT_OVERWRITE.format(table=table))
    found = bigquery_client.query_and_wait(f"SELECT source_month, zone FROM `{table}` ORDER BY 1, 2")
    # The latest month moves on: what is older than it stays.
    assert [(str(month), zone) for month, zone in found] == [
        ("2024-01-01", 1), ("2024-02-01", 3), ("2024-03-01", 4),
    ]  # fmt: skip


def test_a_dataset_is_described_by_its_views(bigquery_client: Any, new_table: Any) -> None:
    project, dataset, name = new_table().split(".")
    place = f"`{project}`.`{dataset}`"
    tables = bigquery_client.query_and_wait(
        f"SELECT t.dataset_id, t.type, m.table_name, ARRAY_AGG(t.type IGNORE NULLS) AS kinds "
        f"FROM {place}.__TABLES__ t "
        f"LEFT JOIN {place}.INFORMATION_SCHEMA.MATERIALIZED_VIEWS m ON m.table_name = t.table_id "
        f"WHERE t.table_id = '{name}' GROUP BY 1, 2, 3"
    )
    assert [tuple(row) for row in tables] == [(dataset, 1, None, [1])]
    fields = bigquery_client.query_and_wait(
        f"SELECT c.ordinal_position, p.field_path, p.data_type, p.description "
        f"FROM {place}.INFORMATION_SCHEMA.COLUMNS c JOIN {place}.INFORMATION_SCHEMA.COLUMN_FIELD_PATHS p "
        f"USING (table_name, column_name) WHERE table_name = '{name}' ORDER BY 1"
    )
    assert [tuple(row) for row in fields] == [
        (1, "source_month", "DATE", None), (2, "zone", "INT64", "Taxi zone"), (3, "fare", "FLOAT64", None),
    ]  # fmt: skip


def test_a_number_keeps_its_decimals(sql: Any) -> None:
    cast = (
        "CAST('1.2345' AS NUMERIC) = NUMERIC '1.2345', CAST('1.2345678' AS BIGNUMERIC) > NUMERIC '1.234567'"
    )
    assert sql(f"SELECT {cast}") == [(True, True)]


def test_a_contract_makes_a_table_that_keeps_to_it(
    bigquery_client: Any, cloud: Any, dataset: str, sql: Any
) -> None:
    name = f"{cloud.project}.{dataset}.t{secrets.token_hex(4)}"
    columns = "(id INT64 NOT NULL PRIMARY KEY NOT ENFORCED, at TIMESTAMP)"
    made = f"CREATE OR REPLACE TABLE {name} {columns} OPTIONS () AS (SELECT id, at FROM (SELECT {{}} AS id, "
    made += "CAST('2024-01-01 10:00:00-0' AS TIMESTAMP) AS at))"
    sql(made.format("1"))
    for statement in (made.format("CAST(NULL AS INT64)"), f"INSERT INTO {name} (at) VALUES (NULL)"):
        with pytest.raises(Exception, match="Required field id cannot be null"):
            bigquery_client.query(statement, job_retry=None).result()
    assert sql(f"SELECT id, EXTRACT(HOUR FROM at) FROM `{name}`") == [(1, 10)]
    assert [field.mode for field in bigquery_client.get_table(name).schema] == ["REQUIRED", "NULLABLE"]


@pytest.mark.parametrize("call", ["TO_CHAR(DATE '2024-01-31', 'YYYY')", "year(DATE '2024-01-31')"])
def test_a_function_of_another_language_is_refused(bigquery_client: Any, call: str) -> None:
    """Whatever else the engine below has: what runs here runs on BigQuery."""
    name = call.partition("(")[0]
    with pytest.raises(Exception, match=rf"Function not found: {name} at \[1:8\]"):
        bigquery_client.query(f"SELECT {call}", job_retry=None).result()


def test_what_stands_before_a_parenthesis_is_not_always_a_function(bigquery_client: Any) -> None:
    query = "SELECT 2 * (3) AS n FROM UNNEST([1]) AS x WHERE x IN (1) AND (x + 1) BETWEEN (1) AND (2)"
    assert [row["n"] for row in bigquery_client.query(query).result()] == [6]


def test_a_function_of_ones_own_may_have_any_name(bigquery_client: Any) -> None:
    script = "CREATE TEMP FUNCTION add(x INT64) AS (x + 1); SELECT add(1) AS n"
    assert [row["n"] for row in bigquery_client.query(script).result()] == [2]
