"""Questions to the three stores: what is answered, what is refused, and what other programs can paste."""

from __future__ import annotations

import gzip
import io
import json
import subprocess
import sys
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from elt.catalogue import Column
from elt.catalogue.registry import DATASETS
from elt.errors import PipelineError
from elt.stores.gcs import Content
from stacks import Stack
from taxiway.asking.answers import write
from taxiway.asking.connecting import snippets
from taxiway.asking.lake import Files
from taxiway.asking.stores import STORES, open_store
from taxiway.cli.commands.data import counts, lake, quarantine, sql
from taxiway.cli.commands.debugging import try_
from taxiway.embedded.postgres import binaries
from taxiway.environment.home import Home, State, write_json
from taxiway.errors import TaxiwayError, UsageError
from taxiway.targets.target import Checkout

pytestmark = pytest.mark.emulators
YELLOW = DATASETS["yellow"]
ROWS = 40  # as tests/integration/elt/conftest.py loads them


@pytest.fixture
def loaded(asked) -> Stack:
    """The stack that these modules share; what a test makes in it has a name that no other uses."""
    return asked


def rows(stack: Stack, name: str, statement: str, **how):
    with open_store(name, stack.connections).ask(statement, **how) as answer:
        return list(answer.names), [tuple(row) for row in answer.rows]


TABLES = {"warehouse": "yellow_trips", "postgres": "yellow_trips", "lake": "yellow"}


def test_each_store_has_the_same_rows_and_says_how_many(loaded):
    first = []
    for name, table in TABLES.items():
        assert rows(loaded, name, f"SELECT COUNT(*) AS n FROM {table}") == (["n"], [(ROWS - 2,)])
        key = "tpep_pickup_datetime, fare_amount, vendor_id"
        first.append(rows(loaded, name, f"SELECT {key} FROM {table} ORDER BY 1, 2, 3")[1])
        with open_store(name, loaded.connections).ask(f"SELECT * FROM {table}", few=3) as answer:
            assert len([next(answer.rows) for _ in range(3)]) == 3
            assert answer.total(3) == ROWS - 2
    assert first[0] == first[1] == first[2]


def test_each_store_lists_what_can_be_asked_for(loaded):
    for name, table in TABLES.items():
        assert "fare_amount" in open_store(name, loaded.connections).tables()[table]
    assert "quarantine.yellow" in open_store("lake", loaded.connections).tables()


@pytest.mark.parametrize("name", STORES)
@pytest.mark.parametrize(
    "statement", ["DROP TABLE {}", "SELECT 1; DROP TABLE {}", "DELETE FROM {} WHERE TRUE"]
)
def test_nothing_is_changed_unless_it_is_meant(loaded, name, statement):
    table = TABLES[name]
    with pytest.raises((TaxiwayError, PipelineError)):
        rows(loaded, name, statement.format(table))
    assert rows(loaded, name, f"SELECT COUNT(*) FROM {table}")[1] == [(ROWS - 2,)]


@pytest.mark.parametrize("secret", ["read_text('{}')", "'{}'", "read_csv('file://{}')", "glob('{}*')"])
def test_a_question_to_the_lake_reads_no_file_of_this_machine(loaded, tmp_path: Path, secret):
    file = tmp_path / "secret.csv"
    file.write_text("very secret\n")
    with pytest.raises(TaxiwayError, match=r"only the lake|does not exist"):
        rows(loaded, "lake", f"SELECT * FROM {secret.format(file)}")


def test_what_is_meant_to_change_something_does(loaded):
    for name in ("warehouse", "postgres"):
        with pytest.raises(UsageError, match="not run"):
            rows(loaded, name, "CREATE TABLE mine AS SELECT 1 AS n")
        rows(loaded, name, "CREATE TABLE mine AS SELECT 1 AS n", write=True)
        assert rows(loaded, name, "SELECT n FROM mine") == (["n"], [(1,)])
    with pytest.raises(UsageError, match="only read"):
        rows(loaded, "lake", "SELECT 1", write=True)


@pytest.mark.parametrize(
    "trick",
    ["COMMIT", "SET TRANSACTION READ WRITE", "SELECT set_config('transaction_read_only', 'off', false)"],
)
def test_no_statement_makes_the_next_one_write_to_postgres(loaded, trick):
    store = open_store("postgres", loaded.connections)
    for statement in (trick, "DROP TABLE yellow_trips"):
        try:
            with store.ask(statement) as answer:
                list(answer.rows)
        except TaxiwayError:
            continue
    assert rows(loaded, "postgres", "SELECT COUNT(*) FROM yellow_trips")[1] == [(ROWS - 2,)]


@pytest.mark.parametrize("name", ["postgres", "lake"])
def test_an_error_is_a_sentence_with_its_place(loaded, name):
    with pytest.raises(TaxiwayError, match="nope") as caught:
        rows(loaded, name, f"SELECT 1,\n  nope\nFROM {TABLES[name]}")
    shown, caret = caught.value.remedy.splitlines()
    assert shown[caret.index("^") - 9 :] == "nope"


def test_a_table_that_is_not_there_and_a_wrong_word_are_sentences(loaded):
    for name in STORES:
        with pytest.raises((TaxiwayError, PipelineError), match="nowhere"):
            rows(loaded, name, "SELECT * FROM nowhere")
        with pytest.raises((TaxiwayError, PipelineError), match=r"(?i)syntax"):
            rows(loaded, name, "SELEC 1")


def test_values_are_exact_whatever_store_they_come_from(loaded):
    # More than the emulator's NUMERIC holds.
    digits = "12345678901234567890123456789.123456789"
    asked = {
        "postgres": f"SELECT {digits}::numeric AS d, NULL AS n, '' AS e",
        "lake": f"SELECT {digits}::DECIMAL(38, 9) AS d, NULL AS n, '' AS e",
    }
    for name, statement in asked.items():
        assert rows(loaded, name, statement)[1] == [(Decimal(digits), None, "")]
    short = "SELECT NUMERIC '12345678901234.125' AS d, NULL AS n, '' AS e, 9007199254740993 AS i"
    assert rows(loaded, "warehouse", short)[1] == [(Decimal("12345678901234.125"), None, "", 2**53 + 1)]
    odd = (
        "SELECT interval '1 mon', '4713-01-01 BC'::date, 'infinity'::timestamp, '{\"a\": 1.50}'::jsonb, "
        "ARRAY[1, NULL]"
    )
    assert rows(loaded, "postgres", odd)[1] == [
        ("1 mon", "4713-01-01 BC", "infinity", '{"a": 1.50}', [1, None])
    ]


@pytest.mark.parametrize("name", STORES)
def test_all_rows_go_into_a_parquet_file_with_the_columns_types(loaded, name, tmp_path: Path):
    file = tmp_path / "rows.parquet"
    with open_store(name, loaded.connections).ask(f"SELECT * FROM {TABLES[name]}") as answer:
        assert write(answer, "parquet", str(file)) == ROWS - 2
    found = pq.read_table(file).schema
    assert str(found.field("tpep_pickup_datetime").type) == "timestamp[us]"
    assert str(found.field("fare_amount").type) == "double"


def test_the_months_folders_are_columns_of_the_lakes_table(loaded):
    asked = "SELECT DISTINCT year, month FROM yellow"
    assert rows(loaded, "lake", asked) == (["year", "month"], [(2024, 1)])


def test_quarantined_rows_are_counted_by_their_reason_without_the_value(loaded):
    with loaded.lake() as lake:
        objects = list(lake.list("quarantine/yellow/"))
        with Files(loaded.connections).read(lake, objects, counts(YELLOW)) as answer:
            assert list(answer.rows) == [("tpep_pickup_datetime … is outside 2024-01", 2)]


def test_a_reason_keeps_the_whole_name_of_its_column():
    started = Column("started_at", "datetime", "Start.", aliases=("Started at (l'heure)",))
    reasons = (
        "('Started at (l''heure) 2024-07-14 10:00 is outside 2024-02; other one is not int16'), "
        "('Started at (l''heure) 2024-08-01 11:00 is outside 2024-02; other two is not int16')"
    )
    asked = counts(replace(YELLOW, columns=(*YELLOW.columns, started)))
    found = duckdb.sql(asked.replace("{files}", f"(VALUES {reasons}) AS kept(reason)")).fetchall()
    assert found == [("Started at (l'heure) … is outside 2024-02; other … is not int16", 2)]


def test_the_first_rows_of_any_file_are_texts_as_they_are(loaded):
    csv, lines = b"id,name\n007,a\n", b'{"id": 7}\n{"id": 8}\n'
    with loaded.lake() as lake:
        for name, content, found in (
            ("raw/x/a.csv", csv, ("007", "a")),
            ("raw/x/a.csv.gz", gzip.compress(csv), ("007", "a")),
            ("raw/x/a.jsonl", lines, (7,)),
        ):
            stored = lake.write(name, Content(io.BytesIO(content), len(content), "text/plain", {}))
            with Files(loaded.connections).read(lake, [stored], "SELECT * FROM {files} LIMIT 1") as answer:
                assert list(answer.rows) == [found]


def test_an_object_is_read_here_and_there(loaded):
    content = bytes(range(256)) * 9000
    with loaded.lake() as lake:
        stored = lake.write("raw/x/bytes", Content(io.BytesIO(content), len(content), "text/plain", {}))
        with lake.open(stored) as file:
            assert file.read(3) == content[:3]
            assert file.seek(-5, 2) == len(content) - 5
            assert file.read() == content[-5:]
            assert file.read() == b""
            file.seek(1_100_000)
            assert file.read(900_000) == content[1_100_000:2_000_000]


@pytest.fixture
def checkout(loaded, tmp_path: Path) -> Checkout:
    """Of the stack, as one on Google Cloud: that answers without a platform of this machine."""
    home = Home.of("local", tmp_path)
    State({"supervisor": 9}, emulated=False).save(home)
    write_json(home.environment, dict(loaded.variables))
    return Checkout(tmp_path)


def test_the_command_shows_counts_then_rows_and_says_when_there_are_none(checkout):
    run = CliRunner().invoke(quarantine, ["yellow", "2024-01"], obj=checkout)
    assert run.exit_code == 0, run.output
    assert "tpep_pickup_datetime … is outside 2024-01" in run.stdout
    assert run.stdout.rstrip().endswith("2 rows")
    assert run.stderr.startswith("yellow: generated sample data.")
    run = CliRunner().invoke(quarantine, ["yellow", "2024-01", "--format", "json"], obj=checkout)
    assert [row["reason"].split()[0] for row in json.loads(run.stdout)] == ["tpep_pickup_datetime"] * 2
    with pytest.raises(TaxiwayError, match="yellow 2024-02 is not in the lake"):
        CliRunner().invoke(quarantine, ["yellow", "2024-02"], obj=checkout, catch_exceptions=False)


@pytest.mark.parametrize(
    ("on", "table"),
    [("warehouse", "yellow_trips"), ("warehouse", "daily_zone_revenue"), ("postgres", "yellow_trips"),
     ("lake", "quarantine.yellow")],
)  # fmt: skip
def test_rows_that_are_generated_are_called_so_beside_the_answer(checkout, on, table):
    line = ["--on", on, "--format", "csv", f"SELECT COUNT(*) AS n FROM {table}"]
    run = CliRunner().invoke(sql, line, obj=checkout)
    assert run.exit_code == 0, run.output
    assert run.stdout.startswith("n\n")
    assert "yellow: generated sample data." in run.stderr
    run = CliRunner().invoke(sql, ["--on", on, "--format", "csv", "SELECT 1 AS n"], obj=checkout)
    assert (run.stdout, run.stderr) == ("n\n1\n", "")


def test_the_first_rows_of_a_file_and_a_name_that_is_none(checkout):
    name = "raw/yellow/yellow_tripdata_2024-01.parquet"
    run = CliRunner().invoke(lake, ["head", name, "-n", "3"], obj=checkout)
    assert run.exit_code == 0, run.output
    assert "tpep_pickup_datetime" in run.stdout
    assert run.stdout.rstrip().endswith("3 rows")
    with pytest.raises(TaxiwayError, match="'raw/none' is no object of the lake"):
        CliRunner().invoke(lake, ["head", "raw/none"], obj=checkout, catch_exceptions=False)


def test_a_stage_is_tried_in_this_process_though_it_is_done_and_shows_its_traceback(checkout):
    def tried(*line: str):
        how = {"catch_exceptions": False, "standalone_mode": False}
        return CliRunner().invoke(try_, line, obj=checkout, **how)

    for stage in ("conform", "stage", "audit"):
        run = tried("yellow", stage, "2024-01")
        assert run.return_value == 0, run.output
        assert json.loads(run.stdout)["reused"] is False
    run = tried("green", "conform", "2024-01")
    assert run.return_value == 1
    assert "Traceback" in run.output
    assert "green_tripdata_2024-01.parquet" in run.output.splitlines()[-1]
    with pytest.raises(UsageError, match="yellow has periods"):
        tried("yellow", "conform")
    with pytest.raises(UsageError, match="stage 'dance' is unknown"):
        tried("yellow", "dance", "2024-01")


def test_the_lines_that_are_shown_to_be_pasted_work(loaded, tmp_path: Path):
    folder = tmp_path / "it's a path"
    folder.mkdir()
    found = json.loads(loaded.variables["AIRFLOW_CONN_TAXI_POSTGRES"])
    passfile = folder / "pgpass"
    passfile.write_text(f"*:*:*:*:{found.pop('password')}\n")
    passfile.chmod(0o600)
    found["extra"] = {"passfile": str(passfile)}
    token = folder / "token.json"
    token.write_text(json.dumps({"client_id": "emulator", "token": "any"}))
    google = {"conn_type": "google_cloud_platform", "extra": {"credential_config_file": str(token)}}
    variables = {
        **loaded.variables,
        "AIRFLOW_CONN_TAXI_POSTGRES": json.dumps(found),
        "AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT": json.dumps(google),
    }

    shown = {s.title: s.text for s in snippets(variables, Path(sys.executable), "scripts/status")}
    line = f"{binaries()}/{shown['Postgres: psql']} -Atc 'SELECT COUNT(*) FROM yellow_trips'"
    done = subprocess.run(line, shell=True, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == (f"{ROWS - 2}\n", "")
    pasted = [shown[title] for title in shown if "Python" in title]
    assert len(pasted) == 3
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", "\n".join(pasted)], capture_output=True, text=True, timeout=120
    )
    assert "yellow_trips" in done.stdout, done.stderr
    assert "typed/yellow/" in done.stdout
