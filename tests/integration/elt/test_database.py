"""Tables and queries of a real Postgres and a real MariaDB: every value exactly, or in quarantine."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import replace

import mariadb
import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from psycopg.conninfo import conninfo_to_dict

from elt.catalogue import Audit, Column, Database, Dataset
from elt.connection_fields import ConnectionFields
from elt.errors import PermanentError, SettingError, SourceNotPublishedError, TransientError
from elt.periods import Day, Month, Period
from elt.sources.client import Limits
from elt.sources.database import DatabaseSource
from elt.stage_request import StageRequest
from elt.stages import run
from taxiway.cli.main import main
from taxiway.targets.target import Checkout

JANUARY = Month(2024, 1)


def entry(table: str = "odd", **how) -> Dataset:
    """A dataset without months that is a table of `shop`; no columns: its Parquet is kept as it is."""
    source = Database("shop", **{"table": "" if how.get("query") else table, **how})
    return Dataset("own", "Own", source=source)


def monthly(**how) -> Dataset:
    source = Database("shop", **{"table": "" if how.get("query") else "sales", **how})
    return Dataset("own", "Own", first=Month(2020, 1), source=source)


def read(found: ConnectionFields, ds: Dataset, period: Period | None = None, **how) -> pa.Table:
    return pq.read_table(io.BytesIO(content(found, ds, period, **how)))


def content(found: ConnectionFields, ds: Dataset, period: Period | None = None, **how) -> bytes:
    with DatabaseSource(ds, found, **how) as source, source.open(period) as table:
        return b"".join(table)


@pytest.fixture
def postgres(dsn) -> ConnectionFields:
    found = conninfo_to_dict(dsn)
    # What only Airflow's hook knows is not handed to libpq.
    return ConnectionFields(
        "postgres", found["host"], found["dbname"], found["user"], found["password"], int(found["port"]),
        {"cursor": "dictcursor", "sslmode": "prefer"},
    )  # fmt: skip


@pytest.fixture
def sql(dsn) -> Iterator[psycopg.Connection]:
    with psycopg.connect(dsn, autocommit=True) as connection:
        yield connection


@pytest.fixture(scope="module")
def mysql(tmp_path_factory) -> Iterator[ConnectionFields]:
    with mariadb.running(tmp_path_factory.mktemp("mariadb")) as found:
        yield found


COLUMNS = "(id int, placed timestamp, total numeric(12, 2), zip varchar(9), note text, done date)"
ROWS = [
    "(1, '2024-02-28 10:00:00', 1.10, '00123', '2024-01-01', NULL)",
    "(2, '2024-02-29 10:00:00', 2, 'x', '', NULL)",
]


@pytest.mark.parametrize("server", ["postgres", "mysql"])
def test_an_entry_is_made_of_a_table_and_reads_it(server, request, tmp_path, capsys):
    found = request.getfixturevalue(server)
    statements = [f"CREATE TABLE orders {COLUMNS}", *(f"INSERT INTO orders VALUES {row}" for row in ROWS)]
    if server == "mysql":
        mariadb.execute(found, *statements)
    else:
        for statement in statements:
            request.getfixturevalue("sql").execute(statement)
    (tmp_path / "plugins").mkdir()
    fields = {
        name: getattr(found, name) for name in ("conn_type", "host", "port", "login", "password", "schema")
    }
    request.getfixturevalue("monkeypatch").setenv("AIRFLOW_CONN_SHOP", json.dumps(fields))
    command = ["new", "orders", "--connection", "shop", "--table", "orders", "--force"]
    written = {}
    for more in ([], ["--every", "day", "--key", "placed"]):
        assert main([*command, *more], Checkout(tmp_path)) == 0, capsys.readouterr().err
        exec((tmp_path / "plugins/orders/datasets/orders.py").read_text(), written)
        orders = written["ORDERS"]
        moment = "datetime" if server == "postgres" else "timestamp"
        types = {column.name: column.type for column in orders.columns}
        assert (types["placed"], types["total"], types["zip"], types["note"], types["done"]) == (
            moment, "numeric", "string", "string", "date",
        )  # fmt: skip
        assert read(found, orders, orders.first).num_rows == (1 if more else 2)
    assert main([*command[:-2], "nothing", "--force"], Checkout(tmp_path)) == 2
    assert "there is no table nothing that the login of shop may read" in " ".join(
        capsys.readouterr().err.split()
    )
    assert (orders.first, orders.key, orders.source) == (
        Day(2024, 2, 28), "placed", Database("shop", "orders", cursor="placed"),
    )  # fmt: skip


# Each value as Postgres reads it, and as it has to arrive.
POSTGRES = [
    ("numeric", "0.10", "0.10"),
    ("numeric", "NaN", "NaN"),
    ("numeric", "Infinity", "Infinity"),
    ("numeric", "1" * 60 + "." + "9" * 40, "1" * 60 + "." + "9" * 40),
    ("date", "infinity", "infinity"),
    ("date", "0044-03-15 BC", "0044-03-15 BC"),
    ("date", "10000-01-01", "10000-01-01"),
    ("timestamp", "2024-01-01 00:00:00.123456", "2024-01-01 00:00:00.123456"),
    ("timestamptz", "2024-01-01 02:00+02", "2024-01-01 00:00:00+00"),
    ("timestamptz", "-infinity", "-infinity"),
    ("numeric[]", "{1.10,NULL}", "[1.10,null]"),
    ("json", '{"a": 1.10}', '{"a": 1.10}'),
    ("jsonb", '{"a": 12345678901234567890.10}', '{"a": 12345678901234567890.10}'),
    ("uuid", "f47ac10b-58cc-4372-a567-0e02b2c3d479", "f47ac10b-58cc-4372-a567-0e02b2c3d479"),
    ("time", "24:00", "24:00:00"),
    ("interval", "1 mon 2 days", "1 mon 2 days"),
    ("bytea", r"\x00ff", r"\x00ff"),
    ("char(3)", "a", "a  "),
    ("text", "", ""),
    ("text", 'a\r\n"b",c\\.\t\u00e9', 'a\r\n"b",c\\.\t\u00e9'),
    ("text", "\\.", "\\."),
    ("bool", "t", True),
    ("int8", "-9223372036854775808", -(2**63)),
    ("float8", "0.1", 0.1),
    ("float8", "5e-324", 5e-324),
    ("float8", "-Infinity", float("-inf")),
    ("float4", "16777216", 16777216.0),
    ("int4", None, None),
    ("text", None, None),
]


def test_a_value_of_postgres_arrives_as_it_is(sql, postgres):
    columns = ", ".join(f"c{number} {kind}" for number, (kind, _, _) in enumerate(POSTGRES))
    sql.execute(f"CREATE TABLE odd ({columns})")
    values = ", ".join(["%s"] * len(POSTGRES))
    for given in ([given for _, given, _ in POSTGRES], [None] * len(POSTGRES)) * 2:
        sql.execute(f"INSERT INTO odd VALUES ({values})", given)
    # A role's own settings change nothing.
    sql.execute("ALTER ROLE CURRENT_USER SET TimeZone = 'America/New_York'")
    sql.execute("ALTER ROLE CURRENT_USER SET DateStyle = 'German'")
    try:
        found = read(postgres, entry())
    finally:
        sql.execute("ALTER ROLE CURRENT_USER RESET ALL")
    for (kind, given, expected), column in zip(POSTGRES, found.columns, strict=True):
        assert column.to_pylist() == [expected, None] * 2, f"{kind} {given}"


@pytest.mark.parametrize(("value", "expected"), [("", ""), (None, None), ("\\.", "\\."), ("\n", "\n")])
def test_a_row_of_one_column_is_a_row_whatever_it_has(sql, postgres, value, expected):
    sql.execute("CREATE TABLE odd (v text)")
    for _ in range(2):
        sql.execute("INSERT INTO odd VALUES (%s)", [value])
    assert read(postgres, entry()).column("v").to_pylist() == [expected] * 2


MYSQL = [
    ("decimal(40,10)", "12345678901234567890123456789.1", "12345678901234567890123456789.1000000000"),
    ("float", "16777217", 16777216.0),
    ("float", "0.1", 0.10000000149011612),
    ("double", "0.1", 0.1),
    ("bigint unsigned", "18446744073709551615", "18446744073709551615"),
    ("int unsigned", "4294967295", 4294967295),
    ("bool", "1", 1),
    ("bit(8)", "'A'", "65"),
    ("date", "'0000-00-00'", "0000-00-00"),
    ("datetime(6)", "'9999-12-31 23:59:59.999999'", "9999-12-31 23:59:59.999999"),
    ("timestamp(3) NULL", "'2024-01-01 12:00:00.120'", "2024-01-01 12:00:00.120Z"),
    ("time", "'838:59:59'", "838:59:59"),
    ("blob", "x'00ff'", r"\x00ff"),
    ("json", """'{"a": 1.10}'""", '{"a": 1.10}'),
    ("text", "'\u00e9\U0001f600'", "\u00e9\U0001f600"),
    ("text", "''", ""),
    ("int", "NULL", None),
]


def test_a_value_of_mysql_arrives_as_it_is(mysql):
    columns = ", ".join(f"`c``{number}` {kind}" for number, (kind, _, _) in enumerate(MYSQL))
    mariadb.execute(
        mysql,
        f"CREATE TABLE odd ({columns})",
        "SET time_zone = '+00:00'",
        "SET sql_mode = ''",
        f"INSERT INTO odd VALUES ({', '.join(given for _, given, _ in MYSQL)})",
        f"INSERT INTO odd VALUES ({', '.join(['NULL'] * len(MYSQL))})",
    )
    found = read(mysql, entry())
    for number, (kind, given, expected) in enumerate(MYSQL):
        assert found.column(f"c`{number}").to_pylist() == [expected, None], f"{kind} {given}"


SALES = """CREATE TABLE sales AS
SELECT n AS id, timestamp '2023-12-31 22:00' + n * interval '1 hour' AS "At it"
FROM generate_series(0, 800) n"""


def test_a_partition_has_the_rows_whose_cursor_is_in_it(sql, postgres):
    sql.execute(SALES)
    months = [Month(2023, 12), JANUARY, Month(2024, 2)]
    found = {str(m): read(postgres, monthly(cursor="At it"), m).column("id").to_pylist() for m in months}
    assert [number for ids in found.values() for number in ids] == list(range(801))
    assert (found["2023-12"], found["2024-01"][0], found["2024-01"][-1]) == ([0, 1], 2, 745)


def test_a_query_may_say_itself_what_a_partition_is(sql, postgres):
    sql.execute(SALES)
    query = """SELECT id, '%s {not a template}' AS x FROM sales
      WHERE "At it" >= '{start}' AND "At it" < '{end}' ORDER BY id DESC -- the latest first"""
    found = read(postgres, monthly(query=query), JANUARY)
    assert (found.num_rows, found.column("id")[0].as_py(), found.column("x")[0].as_py()) == (
        744, 745, "%s {not a template}",
    )  # fmt: skip


def test_a_mysql_partition_has_the_rows_whose_cursor_is_in_it(mysql):
    at = "timestamp('2023-12-31 22:00') + interval seq hour"
    rows = f"SELECT seq AS id, {at} AS at FROM seq_0_to_800"
    mariadb.execute(mysql, "DROP TABLE IF EXISTS sales", f"CREATE TABLE sales AS {rows}")
    found = read(mysql, monthly(cursor="at"), JANUARY).column("id").to_pylist()
    assert found == [str(number) for number in range(2, 746)]
    with DatabaseSource(monthly(cursor="at"), mysql) as source:
        assert source.probe(JANUARY) is not None
        assert source.probe(Month(2024, 3)) is None
    with pytest.raises(PermanentError, match=r"own.*two columns|Duplicate column name 'id'"):
        read(mysql, entry(query="SELECT id, id FROM sales"))
    with pytest.raises(PermanentError, match=r"MySQL: .*doesn't exist"):
        read(mysql, entry(table="sails"))


def test_a_partition_without_rows_or_that_is_not_over_is_not_published(sql, postgres):
    sql.execute(SALES)
    with DatabaseSource(monthly(cursor="At it"), postgres) as source:
        assert source.probe(JANUARY).url == f"{source.base_url}/sales"
        for month in (Month(2024, 3), Month(2199, 1)):
            assert source.probe(month) is None
            with pytest.raises(
                SourceNotPublishedError, match=r"own_2024-03.parquet: not|2199-01 is not over"
            ):
                source.open(month).__enter__()


def test_unchanged_rows_make_unchanged_bytes(sql, postgres):
    sql.execute(SALES)
    assert content(postgres, entry("public.sales")) == content(postgres, entry("sales"))


@pytest.mark.parametrize(
    ("ds", "error", "reason"),
    [
        (entry("sails"), PermanentError, 'relation "sails" does not exist'),
        (entry("a\"; DROP TABLE odd; --"), PermanentError, "does not exist"),
        (entry(query="SELECT 1 AS a, 2 AS a"), PermanentError, "two columns are called a"),
        (entry(query="INSERT INTO odd VALUES (1) RETURNING *"), PermanentError, "syntax error"),
        (entry(query="SELECT nextval('counter') AS n"), PermanentError, "read-only transaction"),
        (monthly(table="odd", cursor="nothing"), PermanentError, "nothing does not exist"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_refused_with_the_servers_reason(sql, postgres, ds, error, reason):
    sql.execute("CREATE TABLE odd (v int)")
    sql.execute("CREATE SEQUENCE counter")
    with pytest.raises(error, match=reason):
        read(postgres, ds, JANUARY if ds.every else None)


def test_limits_are_those_of_files(sql, postgres):
    sql.execute("CREATE TABLE odd AS SELECT repeat('x', 100) AS v FROM generate_series(1, 100)")
    with pytest.raises(PermanentError, match="TAXI_MAX_FILE_BYTES"):
        read(postgres, entry(), limits=Limits(1000, 60))
    with pytest.raises(TransientError, match="statement timeout"):
        read(postgres, entry(query="SELECT pg_sleep(9)::text AS v"), limits=Limits(1000, 1))


def test_a_connection_that_is_missing_or_another_is_named():
    with pytest.raises(SettingError, match="AIRFLOW_CONN_SHOP"):
        DatabaseSource(entry(), None).probe(None)
    with pytest.raises(SettingError, match=r"'sqlite'. Use postgres or mysql"):
        DatabaseSource(entry(), ConnectionFields("sqlite")).probe(None)
    # To ask what is loaded needs no connection.
    assert DatabaseSource(entry(), None).base_url == "database://shop"


def test_a_snapshot_is_of_one_moment(sql, postgres, dsn):
    """Rows that are added while it is read are in none of it; they are found the next time."""
    sql.execute("CREATE TABLE odd AS SELECT n AS v, repeat('x', 1000) AS w FROM generate_series(1, 20000) n")
    with DatabaseSource(entry(), postgres)._engine() as engine:
        rows = engine.read('"odd"', "")
        count = next(rows.batches)[0].num_rows
        sql.execute("INSERT INTO odd SELECT 0, '' FROM generate_series(1, 5)")
        count += sum(batch.num_rows for batch, _ in rows.batches)
    assert count == 20_000


@pytest.mark.emulators
def test_rows_go_all_the_way_and_what_no_store_can_hold_is_quarantined(sql, postgres, stack, dsn):
    sql.execute("CREATE TABLE sales (at timestamptz, id int, fare numeric, tags text[])")
    sql.execute(
        """INSERT INTO sales VALUES ('2024-01-05 01:00+00', 1, 0.10, '{a}'),
        ('2024-01-31 23:59:59.999999+00', 2, 12345678901234567890.123456789, NULL),
        ('2024-01-06', 3, 'NaN', NULL), ('2024-02-01+00', 4, 1, NULL)"""
    )
    columns = (
        Column("at", "timestamp", "When."),
        Column("id", "int32", "Number."),
        Column("fare", "numeric", "Money."),
        Column("tags", "string", "Some.", required=False),
    )
    ds = replace(monthly(cursor="at"), table="own", key="at", columns=columns, audits=(Audit("row_count"),))
    stack = stack.with_postgres(dsn).changed(
        AIRFLOW_CONN_SHOP=json.dumps(
            {"conn_type": "postgres", "host": postgres.host, "schema": postgres.schema,
             "login": postgres.login, "password": postgres.password, "port": postgres.port}
        )
    )  # fmt: skip
    request = StageRequest(ds, JANUARY, "run", stack.connections.settings)
    for stage in ("download", "conform", "stage", "audit", "postgres"):
        result = run(stage, request, stack.connections)
        if stage == "conform":
            assert (result["rows"], result["quarantined"]) == (2, 1)
    rows = sql.execute("SELECT id, fare, tags FROM own ORDER BY id").fetchall()
    assert [(number, str(fare), tags) for number, fare, tags in rows] == [
        (1, "0.100000000", '["a"]'), (2, "12345678901234567890.123456789", None),
    ]  # fmt: skip
