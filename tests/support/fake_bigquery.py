"""BigQuery in memory: its REST API over a DuckDB of this process, with failures to order.

The SQL is really run (translated by sqlglot), so that a changed statement changes what a test finds.
"""

import datetime as dt
import io
import itertools
import json
import re
from contextlib import suppress
from decimal import Decimal
from functools import cache
from typing import Any

import duckdb
import pyarrow.parquet as pq
import sqlglot
from fake_http import Answer, GoogleError, Request, Service
from fake_storage import FakeStorage
from google.auth.credentials import AnonymousCredentials
from google.cloud.bigquery import Client
from sqlglot import exp

PATH = re.compile(r"/bigquery/v2/projects/p/(?P<what>.+)")
TYPES = {
    "INTEGER": "BIGINT", "FLOAT": "DOUBLE", "NUMERIC": "DECIMAL(38, 9)", "STRING": "VARCHAR", "DATE": "DATE",
    "BOOLEAN": "BOOLEAN", "DATETIME": "TIMESTAMP", "TIMESTAMP": "TIMESTAMPTZ", "INT64": "BIGINT",
    "BOOL": "BOOLEAN", "FLOAT64": "DOUBLE",
}  # fmt: skip
EXTERNAL = re.compile(
    r"CREATE OR REPLACE EXTERNAL TABLE `p\.d\.(?P<name>\w+)` \((?P<columns>.*)\n\)"
    r"(?: WITH PARTITION COLUMNS \((?P<folders>.*)\))?\nOPTIONS \((?P<options>.*)\)$",
    re.DOTALL,
)
ANSWERED = {
    "TIMESTAMP": "DATETIME", "TIMESTAMP WITH TIME ZONE": "TIMESTAMP", "VARCHAR": "STRING", "DATE": "DATE",
    "BOOLEAN": "BOOLEAN", "DOUBLE": "FLOAT", "BIGINT": "INTEGER", "INTEGER": "INTEGER", "HUGEINT": "INTEGER",
}  # fmt: skip
Json = dict[str, Any]


class FakeBigQuery(Service):
    """The project `p` with the dataset `d`.

    `outcomes` are what the next jobs end with (None is success; otherwise an `errorResult`, and the job has
    no effect). A job is found running for so many `polls`; its first `hidden` requests find no job at all.
    """

    host = "http://bigquery.test"

    def __init__(self, storage: FakeStorage | None = None) -> None:
        super().__init__()
        self.storage = storage or FakeStorage()
        self.outcomes: list[Json | None] = []
        self.polls = self.hidden = 0
        self.jobs: dict[str, Json] = {}
        self.queries: list[Json] = []
        self.results: dict[str, Json] = {}
        self.page = 10_000
        self.tables: dict[str, Json] = {}
        self.answers: dict[str, Answer] = {}
        self._times = itertools.count(1_700_000_000_000)
        self._db = duckdb.connect()
        self._db.execute("SET TimeZone = 'UTC'; CREATE SCHEMA d")

    def client(self, project: str = "p") -> Client:
        options = {"api_endpoint": self.host}
        return Client(project, AnonymousCredentials(), _http=self.session(), client_options=options)

    def sql(self, query: str, **values: Any) -> list[tuple[Any, ...]]:
        """Look into the tables behind the API's back, in DuckDB's SQL."""
        found = self._db.execute(query, values or None)
        return found.fetchall()

    def answer(self, request: Request) -> Answer:
        what = PATH.fullmatch(request.path)["what"]
        if request.path in self.answers:
            return self.answers[request.path]
        if what.startswith("jobs"):
            return Answer(body=self._jobs(request, what.partition("/")[2]))
        if what.startswith("queries"):
            return Answer(body=self._query(request, what.partition("/")[2]))
        if what == "datasets/d/tables":
            return Answer(body=self._create(request.json) if request.method == "POST" else self._listed())
        if not what.startswith("datasets/d/tables/"):
            raise GoogleError(404, "Not found: Dataset")
        return self._table(request, what.rpartition("/")[2])

    # Tables

    def _listed(self) -> Json:
        references = [{"tableReference": table["tableReference"]} for table in self.tables.values()]
        return {"tables": references, "totalItems": len(references)}

    def _create(self, table: Json) -> Json:
        name = table["tableReference"]["tableId"]
        if name in self.tables:
            raise GoogleError(409, f"Already Exists: Table p:d.{name}")
        if "view" in table:
            self._db.execute(f"CREATE VIEW d.{name} AS {_statements(table['view']['query'], ())[0]}")
        elif "externalDataConfiguration" not in table:
            fields = [f'"{field["name"]}" {TYPES[field["type"]]}' for field in table["schema"]["fields"]]
            self._db.execute(f"CREATE TABLE d.{name} ({', '.join(fields)})")
        return self._keep(name, table)

    def _keep(self, name: str, table: Json) -> Json:
        kinds = {"view": "VIEW", "externalDataConfiguration": "EXTERNAL"}
        kind = next((kinds[part] for part in kinds if part in table), "TABLE")
        self.tables[name] = {**table, "creationTime": str(next(self._times)), "type": kind}
        return self.tables[name]

    def _create_external(self, ddl: re.Match[str]) -> None:
        """Keep what DDL says of a table over objects, in the API's words; it has no rows."""
        columns = re.findall(r"^ *`?(\w+)`? (\w+)", ddl["columns"] + "\n", re.MULTILINE)
        folders = re.findall(r"(\w+) (\w+)", ddl["folders"] or "")
        words = {"INT64": "INTEGER", "FLOAT64": "FLOAT", "BOOL": "BOOLEAN"}
        fields = [{"name": name, "type": words.get(kind, kind)} for name, kind in [*columns, *folders]]
        uris = json.loads(re.search(r"uris = (\[.*?\])", ddl["options"])[1])
        reading = {"sourceUris": uris, "hivePartitioningOptions": {"fields": [name for name, _ in folders]}}
        reference = {"projectId": "p", "datasetId": "d", "tableId": ddl["name"]}
        described = {"schema": {"fields": fields}, "externalDataConfiguration": reading}
        self._keep(ddl["name"], {"tableReference": reference, **described})

    def _table(self, request: Request, name: str) -> Answer:
        if name not in self.tables:
            raise GoogleError(404, f"Not found: Table p:d.{name}")
        if request.method == "DELETE":
            del self.tables[name]
            self._db.execute(f"DROP TABLE IF EXISTS d.{name}")
            return Answer(204)
        if request.method == "PATCH":
            self.tables[name] |= request.json
        return Answer(body=self.tables[name])

    # Jobs

    def _jobs(self, request: Request, job_id: str) -> Json:
        if request.method == "POST" and not job_id:
            return self._insert(request.json)
        job = self.jobs.get(job_id)
        if job is None or job["hidden"] > 0:
            if job:
                job["hidden"] -= 1
            raise GoogleError(404, f"Not found: Job p:{job_id}")
        return self._state(job)

    def _insert(self, job: Json) -> Json:
        job_id = job["jobReference"]["jobId"]
        if job["configuration"].get("dryRun"):
            described = _results(self._execute(job["configuration"]["query"]["query"], []))["schema"]
            return {**job, "status": {"state": "DONE"}, "statistics": {"query": {"schema": described}}}
        if job_id in self.jobs:
            raise GoogleError(409, f"Already Exists: Job p:{job_id}")
        error = self.outcomes.pop(0) if self.outcomes else None
        if error is None:
            try:
                self._run(job["configuration"])
            except GoogleError as failure:
                error = {"reason": failure.reason, "message": failure.message}
        job = {**job, "error": error, "polls": self.polls, "hidden": self.hidden}
        self.jobs[job_id] = job
        return self._state(job)

    def _state(self, job: Json) -> Json:
        job["polls"] -= 1
        status: Json = {"state": "RUNNING" if job["polls"] >= 0 else "DONE"}
        if status["state"] == "DONE" and job["error"]:
            status |= {"errorResult": job["error"], "errors": [job["error"]]}
        return {key: job[key] for key in ("jobReference", "configuration")} | {"status": status}

    def _run(self, configuration: Json) -> None:
        if "query" in configuration:
            query = configuration["query"]
            self._execute(query["query"], query.get("queryParameters", []))
            return
        load = configuration["load"]
        bucket, _, name = load["sourceUris"][0].removeprefix("gs://").partition("/")
        stored, table = self.storage.objects[bucket].get(name), load["destinationTable"]["tableId"]
        if stored is None or table not in self.tables:
            raise GoogleError(404, f"Not found: {name if stored is None else table}")
        rows = pq.read_table(io.BytesIO(stored.content))  # noqa: F841 - DuckDB finds it by its name
        self._db.execute(f"INSERT INTO d.{table} BY NAME SELECT * FROM rows")

    # Queries

    def _query(self, request: Request, job_id: str) -> Json:
        """Run a query at once; its results are read on in pages of `page` rows."""
        if request.method == "POST":
            self.queries.append(request.json)
            if self.outcomes and (error := self.outcomes.pop(0)):
                raise GoogleError(400, error["message"], error["reason"])
            job_id = f"q{len(self.queries)}"
            cursor = self._execute(request.json["query"], request.json.get("queryParameters", []))
            self.results[job_id] = _results(cursor)
            configuration = {"query": {"query": request.json["query"]}}
            reference = {"projectId": "p", "jobId": job_id, "location": "EU"}
            job = {"jobReference": reference, "configuration": configuration}
            self.jobs[job_id] = {**job, "error": None, "polls": 0, "hidden": 0}
        results = self.results[job_id]
        first = int(request.query.get("pageToken", 0))
        token = {"pageToken": str(first + self.page)} if first + self.page < len(results["rows"]) else {}
        return {
            **results, **token, "rows": results["rows"][first : first + self.page], "jobComplete": True,
            "jobReference": self.jobs[job_id]["jobReference"],
        }  # fmt: skip

    def _execute(self, script: str, parameters: list[Json]) -> duckdb.DuckDBPyConnection:
        values = {p["name"]: p["parameterValue"].get("value") for p in parameters}
        types = {p["name"]: TYPES[p["parameterType"]["type"]] for p in parameters}
        if ddl := EXTERNAL.search(script):
            self._create_external(ddl)
            return self._db.execute("SELECT 1 LIMIT 0")
        try:
            for statement in _statements(script, tuple(sorted(types.items()))):
                used = {name: values[name] for name in re.findall(r"\$(\w+)", statement)}
                cursor = self._db.execute(statement, used or None)
        except duckdb.CatalogException as error:
            self._roll_back()
            raise GoogleError(404, f"Not found: {error}") from None
        except duckdb.Error as error:
            self._roll_back()
            raise GoogleError(400, f"{error}\nat [1:1]", "invalidQuery") from None
        return cursor

    def _roll_back(self) -> None:
        # It fails where no transaction is open.
        with suppress(duckdb.Error):
            self._db.execute("ROLLBACK")


@cache
def _statements(script: str, types: tuple[tuple[str, str], ...]) -> tuple[str, ...]:
    """A script in DuckDB's SQL; translating takes longer than running it, so each text is read once."""
    # sqlglot has no OPTIONS of a column that is added.
    script = re.sub(r"OPTIONS \(.*?\)", "", script)
    trees = sqlglot.parse(script, read="bigquery")
    return tuple(_in_duckdb(tree, dict(types)) for tree in trees if tree is not None)


def _in_duckdb(tree: exp.Expression, types: dict[str, str]) -> str:
    for table in list(tree.find_all(exp.Table)):
        if table.catalog:
            table.set("catalog", None)
    for found in list(tree.find_all(exp.Parameter)):
        name = found.name
        # A value arrives as text; its type is what the query says that it is.
        found.replace(exp.cast(exp.Var(this=f"${name}"), types.get(name, "VARCHAR"), dialect="duckdb"))
    for found in list(tree.find_all(exp.DataType)):
        if found.this is exp.DataType.Type.DECIMAL and not found.expressions:
            # DuckDB's own has 3 decimals, BigQuery's 9.
            found.replace(exp.DataType.build("DECIMAL(38, 9)", dialect="duckdb"))
    for found in list(tree.find_all(exp.CountIf)):
        # DuckDB's own count_if of no rows is null.
        counted = exp.Filter(this=exp.Count(this=exp.Star()), expression=exp.Where(this=found.this))
        found.replace(counted)
    text = tree.sql("duckdb")
    return re.sub(r"\bFORMAT\(", "PRINTF(", text)


def _results(cursor: duckdb.DuckDBPyConnection) -> Json:
    columns = [
        (name, "NUMERIC" if str(kind).startswith("DECIMAL") else ANSWERED[str(kind)])
        for name, kind, *_ in cursor.description or ()
    ]
    rows = [{"f": [{"v": _written(value)} for value in row]} for row in cursor.fetchall()]
    return {
        "schema": {"fields": [{"name": name, "type": kind} for name, kind in columns]},
        "rows": rows,
        "totalRows": str(len(rows)),
    }


def _written(value: Any) -> str | None:
    if isinstance(value, dt.datetime) and value.tzinfo:
        return str((value - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)) // dt.timedelta(microseconds=1))
    if isinstance(value, dt.date):
        return value.isoformat()
    if isinstance(value, bool):
        return str(value).lower()
    return None if value is None else str(Decimal(value) if isinstance(value, int) else value)
