"""The library without the corrections: each test fails where one of them is no longer needed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlglot
from bqemulator.api.app import create_app
from bqemulator.api.dependencies import AppContext
from bqemulator.config import PersistenceMode, Settings
from bqemulator.jobs import executor
from bqemulator.storage.engine import DuckDBEngine
from bqemulator.versioning.snapshots import SnapshotManager
from sqlglot import exp
from sqlglot.dialects.dialect import Dialect
from starlette.testclient import TestClient

from taxiway.emulators.bigquery import corrections
from taxiway.emulators.bigquery.server import Engine, Snapshots, context_of

V2 = "/bigquery/v2/projects/p"


class Uncorrected(DuckDBEngine):
    """The library's engine, but for the extension that it downloads."""

    spatial_wanted = False

    def _load_spatial(self) -> None:
        self.spatial_wanted = True


class Library:
    """The library as it comes."""

    def __init__(self, context: AppContext) -> None:
        self.context = context
        self.http = TestClient(create_app(context), raise_server_exceptions=False)
        self.post("datasets", {"datasetReference": {"datasetId": "d"}})

    def post(self, path: str, body: Any) -> Any:
        return self.http.post(f"{V2}/{path}", json=body).json()

    def get(self, path: str) -> Any:
        return self.http.get(f"{V2}/{path}").json()

    def sql(self, statement: str, **more: Any) -> Any:
        return self.post("queries", {"query": statement, **more})

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        return [tuple(cell["v"] for cell in row["f"]) for row in self.sql(statement)["rows"]]

    def load(self, uri: str, table: str = "t", **options: Any) -> Any:
        target = {"projectId": "p", "datasetId": "d", "tableId": table}
        load = {"sourceUris": [uri], "destinationTable": target, "sourceFormat": "PARQUET", **options}
        return self.post("jobs", {"configuration": {"load": load}})


def settings(data: Path) -> Settings:
    return Settings(
        persistence_mode=PersistenceMode.PERSISTENT,
        data_dir=data,
        gcs_local_root=data,
        upload_staging_dir=data / "uploads",
        enable_format_extensions=False,
    )


@pytest.fixture
def library(tmp_path: Path) -> Iterator[Library]:
    engine = Uncorrected(settings(tmp_path))
    asyncio.run(engine.start())
    yield Library(context_of(settings(tmp_path), engine, SnapshotManager))
    asyncio.run(engine.stop())


@pytest.fixture
def parquet(tmp_path: Path) -> str:
    """A file of two columns."""
    pq.write_table(pa.table({"a": [1, 2], "b": ["x", "y"]}), tmp_path / "two.parquet")
    return f"file://{tmp_path}/two.parquet"


def test_every_place_of_a_correction_is_there_and_gets_its_own_back() -> None:
    before = (executor.ScriptInterpreter, executor._resolve_uri, Dialect.parse)
    with corrections.corrected():
        assert executor.ScriptInterpreter is corrections.Script
        assert before != (executor.ScriptInterpreter, executor._resolve_uri, Dialect.parse)
    assert before == (executor.ScriptInterpreter, executor._resolve_uri, Dialect.parse)


def test_the_engine_wants_an_extension_and_reads_any_file(library: Library, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("hunter2")
    assert library.context.engine.spatial_wanted
    assert library.rows(f"SELECT content FROM read_text('{tmp_path}/secret')") == [("hunter2",)]


def test_the_confined_engine_starts_without_it_and_reads_none(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("hunter2")
    engine = Engine(settings(tmp_path), [tmp_path / "uploads"])
    asyncio.run(engine.start())
    with pytest.raises(Exception, match="disabled by configuration"):
        engine.execute(f"SELECT content FROM read_text('{tmp_path}/secret')")
    with pytest.raises(Exception, match="Unsupported statement: SET"):
        engine.execute("SET enable_external_access = true")
    # Whatever statement gets past that: what the engine may do stays as it is.
    with pytest.raises(Exception, match="configuration has been locked"):
        engine.connection.execute("SET autoload_known_extensions = true")
    with pytest.raises(Exception, match="GEOGRAPHY is not part"):
        engine.execute("SELECT ST_POINT(1, 2)")
    asyncio.run(engine.stop())


def test_what_is_loaded_again_makes_nobody_write_the_whole_table(tmp_path: Path) -> None:
    engine = Engine(settings(tmp_path), [tmp_path / "uploads"])
    asyncio.run(engine.start())
    engine.execute("CREATE TABLE t AS SELECT range AS a FROM range(3000000)")
    engine.execute("BEGIN TRANSACTION")
    engine.execute("DELETE FROM t")
    engine.execute("INSERT INTO t SELECT range FROM range(3000000)")
    engine.execute("COMMIT")
    (log,) = tmp_path.rglob("*.duckdb.wal")
    assert log.stat().st_size > 1 << 20, "a checkpoint has emptied it"
    asyncio.run(engine.stop())


def test_a_reader_sees_rows_that_are_not_committed(library: Library) -> None:
    library.sql("CREATE TABLE d.t (a INT64)")
    engine = library.context.engine
    engine.execute("BEGIN TRANSACTION")
    engine.execute('INSERT INTO "p__d"."t" VALUES (1)')
    assert engine.execute('SELECT count(*) FROM "p__d"."t"').fetchone() == (1,)
    engine.execute("ROLLBACK")


def test_a_table_is_described_as_it_was_before_it_was_altered(library: Library) -> None:
    library.sql("CREATE TABLE d.t (a INT64)")
    library.sql("ALTER TABLE d.t ADD COLUMN b STRING")
    assert [field["name"] for field in library.get("datasets/d/tables/t")["schema"]["fields"]] == ["a"]
    with corrections.corrected():
        library.sql("ALTER TABLE d.t ALTER COLUMN a SET DATA TYPE NUMERIC")
    fields = library.get("datasets/d/tables/t")["schema"]["fields"]
    assert [(field["name"], field["type"]) for field in fields] == [("a", "NUMERIC"), ("b", "STRING")]


@pytest.mark.parametrize(("kind", "copies"), [(SnapshotManager, True), (Snapshots, False)])
def test_each_statement_copies_its_table(tmp_path: Path, kind: type, copies: bool) -> None:
    engine = Uncorrected(settings(tmp_path))
    asyncio.run(engine.start())
    library = Library(context_of(settings(tmp_path), engine, kind))
    library.sql("CREATE TABLE d.t (a INT64)")
    library.sql("INSERT INTO d.t (a) SELECT 1")
    found = engine.execute("SELECT count(*) FROM duckdb_tables() WHERE schema_name LIKE '%snapshots'")
    assert (found.fetchone()[0] > 0) is copies
    asyncio.run(engine.stop())


def test_a_transaction_is_a_copy_of_tables(library: Library) -> None:
    library.sql("CREATE TABLE d.t (a INT64)")
    library.sql("BEGIN TRANSACTION; INSERT INTO d.t (a) SELECT 1; SELECT 1;")
    # BigQuery would have rolled it back.
    assert library.rows("SELECT a FROM d.t") == [("1",)]


def test_a_script_knows_no_parameters(library: Library) -> None:
    parameter = {"name": "x", "parameterType": {"type": "INT64"}, "parameterValue": {"value": "7"}}
    answer = library.sql("DECLARE y INT64; SELECT @x AS z;", queryParameters=[parameter])
    assert answer.get("errors") or answer.get("error"), answer


def test_a_list_without_null_and_repetition_cannot_be_made(library: Library) -> None:
    listed = "SELECT ARRAY_AGG(DISTINCT x IGNORE NULLS) AS found FROM UNNEST([1, NULL, 1]) AS x"
    assert library.sql(listed)["errors"]
    with corrections.corrected():
        assert library.rows(listed) == [([{"v": "1"}],)]


def test_a_variable_is_set_to_the_struct_around_its_value(library: Library) -> None:
    script = "DECLARE x ARRAY<INT64>; SET (x) = (SELECT AS STRUCT [1, 2]); SELECT 2 IN UNNEST(x) AS found;"
    assert library.sql(script)["errors"]
    with corrections.corrected():
        assert library.rows(script) == [("true",)]
        kept = "DECLARE x STRUCT<a INT64>; SET x = (SELECT AS STRUCT 1 AS a); SELECT x.a;"
        assert library.rows(kept) == [("1",)]


def test_a_dataset_has_no_views_that_describe_it(library: Library) -> None:
    library.sql("CREATE TABLE d.t (a STRUCT<b INT64, c STRING>)")
    paths = "SELECT field_path, data_type FROM d.INFORMATION_SCHEMA.COLUMN_FIELD_PATHS"
    tables = "SELECT table_id FROM `p`.`d`.__TABLES__"
    views = "SELECT table_name FROM d.INFORMATION_SCHEMA.MATERIALIZED_VIEWS AS v WHERE v.table_name = 'x'"
    assert all(library.sql(statement)["errors"] for statement in (paths, tables))
    with corrections.corrected():
        assert library.rows(paths) == [
            ("a", "STRUCT<b INT64, c STRING>"), ("a.b", "INT64"), ("a.c", "STRING"),
        ]  # fmt: skip
        assert library.rows(tables) == [("t",)]
        assert library.rows(views) == []


def test_a_description_in_a_view_loses_its_quotes(library: Library) -> None:
    said = 'it\'s "a" \\ b\nc'
    body = {"tableReference": {"projectId": "p", "datasetId": "d", "tableId": "t"}, "description": said}
    library.post(
        "datasets/d/tables",
        body | {"schema": {"fields": [{"name": "a", "type": "STRING", "description": said}]}},
    )
    tables = "SELECT JSON_VALUE(option_value) FROM d.INFORMATION_SCHEMA.TABLE_OPTIONS"
    fields = "SELECT description FROM d.INFORMATION_SCHEMA.COLUMN_FIELD_PATHS"
    assert library.sql(tables).get("rows", []) != [{"f": [{"v": said}]}]
    with corrections.corrected():
        assert library.rows(tables) == library.rows(fields) == [(said,)]


def test_the_library_fails_at_a_view_with_a_quoted_name(library: Library) -> None:
    query = {"query": "SELECT schema_name FROM `d`.`INFORMATION_SCHEMA.SCHEMATA`"}
    # Google's clients ask again for ten minutes.
    assert library.http.post(f"{V2}/queries", json=query).status_code == 500
    library.sql("CREATE TABLE d.t (a INT64)")
    with corrections.corrected():
        assert library.rows("SELECT table_name FROM `d`.`INFORMATION_SCHEMA`.`TABLES`") == [("t",)]


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE p-q.d.made (a INT64)",
        "CREATE TABLE d.made (a INT64, b INT64, PRIMARY KEY (a) NOT ENFORCED, "
        "CONSTRAINT k FOREIGN KEY (b) REFERENCES d.other(b) NOT ENFORCED)",
        "CREATE TABLE d.made (a INT64 PRIMARY KEY NOT ENFORCED)",
        "CREATE TABLE d.made (a STRUCT<b STRING NOT NULL>)",
        "CREATE TABLE d.made (a INT64) AS (SELECT 1)",
        "CREATE TABLE d.made (at INT64)",
        "ALTER TABLE d.there SET OPTIONS (labels = [('a', 'b')])",
        "/* dbt */\n-- says\nCREATE TABLE d.made CLONE d.there",
        "CREATE TABLE d.made AS SELECT TIMESTAMP '2024-01-01 10:00:00+2' AS a",
    ],
)
def test_what_bigquery_spells_otherwise_duckdb_cannot_read(library: Library, statement: str) -> None:
    library.http.post("/bigquery/v2/projects/p-q/datasets", json={"datasetReference": {"datasetId": "d"}})
    library.sql("CREATE TABLE d.there AS SELECT 1 AS a")
    assert library.sql(statement)["errors"]
    with corrections.corrected():
        assert "errors" not in library.sql(statement)


@pytest.mark.parametrize("rows", ["SELECT 1 UNION ALL SELECT NULL", "(SELECT NULL AS a)"])
def test_a_column_that_is_made_with_its_rows_takes_null(library: Library, rows: str) -> None:
    made = "CREATE OR REPLACE TABLE d.made (a INT64 NOT NULL) AS"
    required = "SELECT is_nullable FROM d.INFORMATION_SCHEMA.COLUMNS WHERE table_name = 'made'"
    library.sql(f"{made} SELECT 1")
    assert library.rows(required) == [("YES",)]
    with corrections.corrected():
        library.sql(f"{made} SELECT 7")
        assert library.rows(required) == [("NO",)]
        (error,) = library.sql(f"{made} {rows}")["errors"]
        assert "Required field a cannot be null" in error["message"]
        assert library.rows("SELECT a FROM d.made") == [("7",)]


def test_a_week_begins_on_monday_and_a_difference_counts_borders(library: Library) -> None:
    week = "DATETIME_TRUNC(DATETIME '2020-01-07 10:00:00', WEEK) = DATETIME '2020-01-06 00:00:00'"
    hours = "TIMESTAMP_DIFF(TIMESTAMP '2020-01-05 01:00:00', TIMESTAMP '2020-01-05 00:59:59', HOUR)"
    assert library.rows(f"SELECT {week}, {hours}") == [("true", "1")]


def test_a_statement_is_parsed_many_times(library: Library) -> None:
    seen: list[str] = []
    really = Dialect.parse

    def parse(dialect: Dialect, sql: str, **options: Any) -> Any:
        seen.append(sql)
        return really(dialect, sql, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Dialect, "parse", parse)
        library.sql("SELECT 1 AS counted")
    assert sum("counted" in sql for sql in seen) > 5


def test_a_load_reads_any_file_and_binds_by_position(library: Library, parquet: str) -> None:
    library.sql("CREATE TABLE d.t (b STRING, a STRING)")
    assert library.load(parquet)["status"].get("errorResult") is None
    assert library.rows("SELECT b FROM d.t ORDER BY 1") == [("1",), ("2",)]


def test_an_object_is_the_file_of_its_name(library: Library, parquet: str, tmp_path: Path) -> None:
    library.sql("CREATE TABLE d.t (a INT64, b STRING)")
    (tmp_path / "bucket").mkdir()
    (tmp_path / "two.parquet").rename(tmp_path / "bucket" / "two.parquet")
    library.load("gs://bucket/two.parquet")
    assert len(library.rows("SELECT a FROM d.t")) == 2


def test_a_load_that_fails_leaves_the_table_it_made(library: Library, tmp_path: Path) -> None:
    (tmp_path / "broken").write_bytes(b"PAR1 no such thing PAR1")
    schema = {"fields": [{"name": "a", "type": "INTEGER"}]}
    library.load(f"file://{tmp_path}/broken", "made", schema=schema)
    assert library.get("datasets/d/tables/made").get("error") is None


def test_a_load_counts_the_rows_of_the_whole_table(library: Library, parquet: str) -> None:
    library.sql("CREATE TABLE d.t (a INT64, b STRING)")
    library.load(parquet)
    assert library.load(parquet)["statistics"]["load"] == {"outputRows": "4"}


def test_avro_without_decimals_needs_the_extension(tmp_path: Path) -> None:
    import fastavro

    (tmp_path / "uploads").mkdir()
    schema = {"type": "record", "name": "r", "fields": [{"name": "a", "type": "long"}]}
    with (tmp_path / "uploads" / "one.avro").open("wb") as file:
        fastavro.writer(file, schema, [{"a": 1}])
    engine = Engine(settings(tmp_path), [tmp_path / "uploads"])
    asyncio.run(engine.start())
    library = Library(context_of(settings(tmp_path), engine))
    library.sql("CREATE TABLE d.t (a INT64)")
    answer = library.load(f"file://{tmp_path}/uploads/one.avro", sourceFormat="AVRO")
    assert "avro" in answer["error"]["message"]
    with corrections.corrected():
        executor._load_avro(f"{tmp_path}/uploads/one.avro", '"p__d"."t"', library.context)
    assert library.rows("SELECT a FROM d.t") == [("1",)]
    asyncio.run(engine.stop())


def test_a_job_id_runs_twice_and_a_job_loses_its_labels(library: Library) -> None:
    reference = {"projectId": "p", "jobId": "once"}
    query = {"query": "SELECT 1", "useLegacySql": False}
    body = {"jobReference": reference, "configuration": {"query": query, "labels": {"a": "1"}}}
    assert [library.http.post(f"{V2}/jobs", json=body).status_code for _ in range(2)] == [200, 200]
    assert "labels" not in library.get("jobs/once")["configuration"]


def test_a_job_has_fields_that_no_client_knows(library: Library) -> None:
    value = {"name": "x", "parameterType": {"type": "INT64"}, "parameterValue": {"value": None}}
    query = {"query": "SELECT @x", "queryParameters": [value]}
    job = library.post("jobs", {"configuration": {"query": query}})
    assert "totalRows" in job["statistics"]["query"]
    assert job["configuration"]["query"]["queryParameters"] == [value]
    query["queryParameters"] = [number := value | {"parameterValue": {"value": 1.5}}]
    echoed = library.post("jobs", {"configuration": {"query": query}})
    assert echoed["configuration"]["query"]["queryParameters"] == [number]
    assert "ddlOperationPerformed" in library.sql("CREATE TABLE d.t (a INT64)")
    script = library.post("jobs", {"configuration": {"query": {"query": "SELECT 1; SELECT 2;"}}})
    assert "statementCount" in script["statistics"]["scriptStatistics"]


def test_a_result_of_a_job_of_ones_own_is_described_as_empty(library: Library) -> None:
    body = {"jobReference": {"jobId": "with-dashes"}, "configuration": {"query": {"query": "SELECT 1"}}}
    target = library.post("jobs", body)["configuration"]["query"]["destinationTable"]
    path = f"datasets/{target['datasetId']}/tables/{target['tableId']}"
    assert library.get(path)["numRows"] == "0"
    assert library.get(f"{path}/data")["error"]["code"] == 404


def test_results_stay_in_memory_for_ever(library: Library) -> None:
    before = len(executor.JOB_RESULTS)
    for number in range(3):
        library.sql(f"SELECT {number}")
    assert len(executor.JOB_RESULTS) == before + 3


def test_a_list_is_cut_off_without_a_token(library: Library) -> None:
    for name in ("e", "f"):
        library.post("datasets", {"datasetReference": {"datasetId": name}})
        library.sql(f"CREATE TABLE d.{name} (a INT64)")
    for path, kind in (("datasets", "datasets"), ("datasets/d/tables", "tables")):
        found = library.get(f"{path}?maxResults=1")
        assert (len(found[kind]), "nextPageToken" in found) == (1, False)
    assert {"etag", "creationTime"} <= library.get("datasets")["datasets"][0].keys()


def test_a_dataset_loses_attributes_and_labels_and_keeps_what_a_put_leaves_out(library: Library) -> None:
    url = f"{V2}/datasets/one"
    body = {
        "datasetReference": {"datasetId": "one"}, "maxTimeTravelHours": "48", "description": "x",
        "labels": {"a": "1", "b": "2"},
    }  # fmt: skip
    made = library.post("datasets", body)
    assert (made["maxTimeTravelHours"], "access" in made) == ("168", False)
    assert library.http.patch(url, json={"labels": {"b": "3"}}).json()["labels"] == {"b": "3"}
    assert library.http.put(url, json={}).json()["description"] == "x"


def test_a_list_of_routines_has_fields_that_no_client_knows(library: Library) -> None:
    assert {"kind", "totalItems"} <= library.get("datasets/d/routines").keys()


def test_a_dataset_with_tables_is_not_found(library: Library) -> None:
    library.sql("CREATE TABLE d.t (a INT64)")
    answer = library.http.delete(f"{V2}/datasets/d")
    assert (answer.status_code, "is not empty" in answer.text) == (404, True)


def test_a_schema_that_is_changed_adds_no_column_and_a_view_has_none(library: Library) -> None:
    library.sql("CREATE TABLE d.t (a INT64)")
    fields = [{"name": "a", "type": "INTEGER"}, {"name": "b", "type": "STRING"}]
    library.http.patch(f"{V2}/datasets/d/tables/t", json={"schema": {"fields": fields}})
    assert len(library.get("datasets/d/tables/t")["schema"]["fields"]) == 2
    assert "errors" in library.sql("SELECT b FROM d.t") or "error" in library.sql("SELECT b FROM d.t")
    reference = {"projectId": "p", "datasetId": "d", "tableId": "v"}
    library.post("datasets/d/tables", {"tableReference": reference, "view": {"query": "SELECT a FROM d.t"}})
    assert "schema" not in library.get("datasets/d/tables/v")


def test_a_table_forgets_when_it_expires_and_how_many_rows_it_has(library: Library) -> None:
    reference = {"projectId": "p", "datasetId": "d", "tableId": "t"}
    fields = {"fields": [{"name": "a", "type": "INTEGER"}]}
    when = str(int((time.time() + 600) * 1000))
    body = {"tableReference": reference, "schema": fields, "expirationTime": when}
    library.post("datasets/d/tables", body)
    library.sql("INSERT INTO d.t (a) SELECT 1")
    got = library.get("datasets/d/tables/t")
    assert ("expirationTime" in got, got["numRows"]) == (False, "0")


def test_an_upload_is_refused_for_its_type(library: Library) -> None:
    content = (
        '--x\r\ncontent-type: application/json\r\n\r\n{"configuration": {"load": {}}}\r\n'
        "--x\r\ncontent-type: */*\r\n\r\n1\r\n--x--\r\n"
    )
    answer = library.http.post(
        f"/upload{V2}/jobs?uploadType=multipart",
        content=content,
        headers={"Content-Type": "multipart/related; boundary=x"},
    )
    assert (answer.status_code, "*/*" in answer.text) == (400, True)


# What the corrections themselves promise


def test_what_one_caller_rewrites_the_next_does_not_see() -> None:
    with corrections.corrected():
        first = sqlglot.parse_one("SELECT a FROM t", read="bigquery")
        first.find(exp.Table).replace(exp.to_table("other"))  # type: ignore[union-attr]
        assert sqlglot.parse_one("SELECT a FROM t", read="bigquery").sql() == "SELECT a FROM t"


def test_a_tree_is_copied_whole_and_what_it_says_of_places_is_not_copied_value_by_value() -> None:
    class Place:
        copied = 0

        def __deepcopy__(self, _memo: object) -> Place:
            Place.copied += 1
            return self

    def facts(tree: exp.Expr) -> list[object]:
        return [
            (type(node), node.arg_key, node.index, node.comments, node.meta, type(node.parent), node.type)
            for node in tree.walk()
        ]

    tree = sqlglot.parse_one("SELECT a, CAST(b AS INT64) /* why */ FROM t, UNNEST(t.c)", read="bigquery")
    tree.expressions[0].meta["place"] = Place()
    tree.expressions[0].type = exp.DataType.build("INT64", dialect="bigquery")
    expected = facts(tree.copy())
    assert Place.copied == 1, "no longer needed"
    with corrections.corrected():
        made = tree.copy()
        assert facts(made) == expected == facts(tree)
        assert Place.copied == 1
        assert not {id(node) for node in made.walk()} & {id(node) for node in tree.walk()}
        assert all(child.parent is node for node in made.walk() for child in node.iter_expressions())


def test_no_query_is_copied_to_learn_its_name_unless_arrays_may_be_joined(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    copied = 0
    copy = exp.Expression.copy

    def counted(node: exp.Expression) -> exp.Expression:
        nonlocal copied
        copied += 1
        return copy(node)

    monkeypatch.setattr(exp.Expression, "copy", counted)
    nested = "SELECT * FROM (SELECT * FROM (SELECT 1 AS a)) JOIN (SELECT 1 AS a) USING (a)"
    sqlglot.parse(nested, read="bigquery")
    assert copied, "no longer needed"
    with corrections.corrected():
        copied = 0
        Dialect.get_or_raise("bigquery").parser().parse(
            Dialect.get_or_raise("bigquery").tokenize(nested), nested
        )
        assert copied == 0
        joined = sqlglot.parse_one("SELECT * FROM t, t.items JOIN u ON u.a = t.a", read="bigquery")
        assert joined.find(exp.Unnest)


def test_dialects_are_not_mixed_up() -> None:
    with corrections.corrected():
        assert isinstance(sqlglot.parse_one('SELECT "a"', read="bigquery").expressions[0], exp.Literal)
        assert isinstance(sqlglot.parse_one('SELECT "a"', read="duckdb").expressions[0], exp.Column)


def test_what_cannot_be_parsed_is_refused_each_time() -> None:
    with corrections.corrected():
        for _ in range(2):
            with pytest.raises(sqlglot.ParseError):
                sqlglot.parse_one("SELECT FROM WHERE (", read="bigquery")


def test_numeric_has_nine_decimals_and_not_duckdbs_three(library: Library) -> None:
    cast = (
        "SELECT CAST('1.23456' AS NUMERIC), CAST('1.2345678' AS BIGNUMERIC), CAST('0.126' AS NUMERIC(10, 2))"
    )
    assert library.rows(cast) == [("1.235", "1.23457", "0.13")], "no longer needed"
    with corrections.corrected():
        assert library.rows(cast) == [("1.234560000", "1.2345678000", "0.13")]


def test_a_dry_run_runs_a_script_and_takes_a_union_for_no_query(library: Library) -> None:
    def planned(text: str) -> Any:
        statement = {"query": text, "useLegacySql": False}
        return library.post("jobs", {"configuration": {"dryRun": True, "query": statement}})["statistics"]

    planned("SELECT 1; CREATE TABLE d.t (a INT64);")
    assert "tableReference" in library.get("datasets/d/tables/t")
    assert planned("SELECT 1 UNION ALL SELECT 2")["query"].get("statementType") != "SELECT"
