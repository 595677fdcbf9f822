"""docs/your-own-dataset.md, done exactly as it says: on a copy of the product, the emulators and Postgres."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from typing import get_args

import psycopg
import pytest
import requests
import urllib3
from emulators import free_port
from repository import REPOSITORY, share_environment

from elt.catalogue import Type
from elt.catalogue.model import EXTENSIONS

PAGE = (REPOSITORY / "docs/your-own-dataset.md").read_text()
BLOCK = re.compile(
    r"^(?:[^\n]*(?P<who>Save this as|writes) `(?P<file>[\w/.]+)`:\n\n)?```(?P<kind>\w*)\n(?P<text>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)
BLOCKS = [(match["kind"], match["text"]) for match in BLOCK.finditer(PAGE) if not match["file"]]
FILES = {
    match["file"]: match["text"] for match in BLOCK.finditer(PAGE) if (match["who"] or "").startswith("S")
}
# What scripts/new writes, by the page, and what the page says to write instead: file, text, better text.
WRITTEN = {match["file"]: match["text"] for match in BLOCK.finditer(PAGE) if match["who"] == "writes"}
EDITED = next(iter(re.findall(r"^\| in `([\w/.]+)` \| write \|$", PAGE, re.MULTILINE)))
EDITS = [
    edit
    for table in PAGE.split(f"| in `{EDITED}` | write |")[1:]
    for edit in re.findall(r"^\| `(.+)` \| `(.+)` \|$", table.partition("\n\n")[0], re.MULTILINE)
]
ADDRESS = "127.0.0.1:8000"
OWN = ("bikes", "stations", "plan", "rides", "opened")

# What the scheduler does with an entry: its DAGs are there, and their tasks are called one after the other.
RUN = """
import json, sys
from airflow.dag_processing.dagbag import DagBag
from elt import status as report
from elt.catalogue.registry import DATASETS
from elt.connections import EnvironmentConnections
from elt.layout import dag_id
from elt.orchestration.dbt import DbtProject
from elt.stage_request import StageRequest
from elt.stages import STAGES, run
from taxiway.airflow.bootstrap import expected_dags
from taxiway.docgen import datasets as dataset_page
from taxiway.loads.arguments import partitions, read

connections = EnvironmentConnections()
bags = [DagBag(folder) for folder in ("dags", "dags_local")]
dags = {dag_id: dag for bag in bags for dag_id, dag in bag.dags.items()}
for asked in json.loads(sys.argv[1]):
    for partition in partitions(read(asked)):
        entry, run_id = DATASETS[partition.dataset], f"run of {partition}"
        request = StageRequest(entry, partition.period, run_id, connections.settings)
        for family in ("to_lake", "to_warehouse", "to_postgres"):
            dag = dags.get(dag_id(partition.dataset, family))
            for task in dag.topological_sort() if dag else ():
                if getattr(task, "stage", "") in STAGES:
                    run(task.stage, request, connections)
errors = [error for bag in bags for error in bag.import_errors.items()]
found = {"status": report.status(connections), "errors": errors, "page": dataset_page.page()}
wanted = {name for names in expected_dags().values() for name in names}
wanted |= {f"{project.name}_dbt" for project in DbtProject.of_packages()}
found["differing"] = sorted(dags.keys() ^ wanted)
json.dump(found, open("out", "w"))
"""

# What runs over all datasets there are, of the suites that need no emulators; the rest names the product's.
SUITES = (
    "tests/contract/test_datasets_page.py",
    "tests/contract/test_pipelines_page.py",
    "tests/dags",
    "tests/unit/elt/catalogue",
    "tests/unit/elt/test_layout.py",
    "tests/unit/elt/warehouse",
    "tests/unit/nyc_taxi/test_entries.py",
    "tests/unit/taxiway/loads",
)


def copied(folders, target):
    """A copy of what a user has checked out, in which he may write."""
    for name in folders:
        ignored = shutil.ignore_patterns("__pycache__")
        if (REPOSITORY / name).is_dir():
            shutil.copytree(REPOSITORY / name, target / name, ignore=ignored)
        else:
            shutil.copy(REPOSITORY / name, target / name)
    return target


def write_entries(product, served):
    """Call `scripts/new` as the page does, edit and save what it says to edit and to save."""
    for line in lines("scripts/new"):
        done = subprocess.run(
            [sys.executable, "-m", "taxiway", *shlex.split(line.replace(ADDRESS, served))],
            cwd=product, env=environment(product), capture_output=True, text=True, timeout=120,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    for name, text in WRITTEN.items():
        assert (product / name).read_text() == text.replace(ADDRESS, served)
    edited = (product / EDITED).read_text()
    for written, better in EDITS:
        assert written in edited
        edited = edited.replace(written, better)
    (product / EDITED).write_text(edited)
    for name, text in FILES.items():
        (product / name).parent.mkdir(parents=True, exist_ok=True)
        (product / name).write_text(text.replace(ADDRESS, served))


def lines(command):
    """The page's lines that call a command, without `scripts/`."""
    found = [line for kind, text in BLOCKS if kind == "sh" for line in text.splitlines()]
    return [line.removeprefix("scripts/") for line in found if line.startswith(command)]


@pytest.fixture
def product(tmp_path):
    (tmp_path / "product").mkdir()
    folders = ("plugins", "dags", "dags_local", "airflow", "scripts", "docs")
    return copied(folders, tmp_path / "product")


@pytest.fixture
def served(tmp_path):
    """The shell commands of the first section, on a port that is free; the address they serve at."""
    address = f"127.0.0.1:{free_port()}"
    commands = next(text for kind, text in BLOCKS if kind == "sh" and "http.server" in text)
    commands = commands.replace("8000", address.rpartition(":")[2]).replace("\npython3 ", "\nexec python3 ")
    process = subprocess.Popen(["bash", "-ec", commands], cwd=tmp_path, stderr=subprocess.DEVNULL)
    with requests.Session() as http:
        patient = requests.adapters.HTTPAdapter(max_retries=urllib3.Retry(8, backoff_factor=0.05))
        http.mount("http://", patient)
        http.head(f"http://{address}/")
    yield address
    process.terminate()
    process.wait()


def environment(product, stack=None):
    """What scripts/up hands to every process."""
    return {
        **{name: value for name, value in os.environ.items() if name != "AIRFLOW__CORE__PLUGINS_FOLDER"},
        **(stack.variables if stack else {}),
        "PYTHONPATH": f"{product}/plugins:{product}/scripts:{product}/infra",
    }


def asked_for():
    """What the page's `scripts/run` loads: a dataset, and months where it has some."""
    return [shlex.split(line)[1:] for line in lines("scripts/run")]


@pytest.mark.emulators
def test_the_walk_through_does_what_it_says(product, served, stack, dsn):
    stack = stack.with_postgres(dsn)
    [pages] = [text for kind, text in BLOCKS if kind == "sh" and "my-data/rides" in text]
    subprocess.run(["bash", "-ec", pages], cwd=product.parent, check=True, timeout=60)
    write_entries(product, served)
    done = subprocess.run(
        [sys.executable, "-c", RUN, json.dumps(asked_for())],
        cwd=product, env=environment(product, stack), capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads((product / "out").read_text())
    assert found["errors"] == found["differing"] == []
    assert all(f"## {name}\n" in found["page"] for name in OWN)

    months = {(row["dataset"], row["period"]): row for row in found["status"]}
    assert set(months) == {
        ("bikes", "2024-01"), ("bikes", "2024-02"), ("stations", None), ("plan", None),
        ("rides", "2024-01"), ("opened", None),
    }  # fmt: skip
    assert {row["state"] for row in months.values()} == {"loaded"}
    january = months["bikes", "2024-01"]
    assert (january["typed_rows"], january["quarantined_rows"], january["drift"]) == (3, 2, [])
    with stack.lake() as lake:
        assert lake.find("quarantine/bikes/year=2024/month=01/bikes_2024-01.parquet")
        assert lake.find("raw/stations/stations.csv")
    plan = months["plan", None]
    assert (plan["typed_rows"], plan["warehouse_rows"], plan["postgres_rows"]) == (None, None, None)
    with stack.lake() as lake, lake.fetch(lake.find("raw/plan/plan.svg")) as kept:
        assert kept.read() == (product.parent / "my-data/plan.svg").read_bytes()
    assert (months["rides", "2024-01"]["typed_rows"], months["opened", None]["typed_rows"]) == (3, 2)
    with stack.lake() as lake, lake.fetch(lake.find("raw/rides/rides_2024-01.json-seq")) as kept:
        files = [product.parent / f"my-data/rides/2024-01-01{rest}.json" for rest in ("", "-page-2")]
        assert kept.read() == b"".join(b"\x1e%b\n" % file.read_bytes() for file in files)
    with psycopg.connect(dsn) as connection:
        [(most,)] = connection.execute("SELECT max(fare) FROM rides").fetchall()
    assert str(most) == "12345678901234567890.250000000"
    query = "SELECT month, passed, found FROM TABLE WHERE audit = 'few_bikes' ORDER BY month"
    assert stack.select(query, "audit_results") == [
        {"month": "2024-01", "passed": True, "found": "0 of 3 counts are above 50"},
        {"month": "2024-02", "passed": True, "found": "0 of 1 counts are above 50"},
    ]

    sums = [
        ("2024-01-01", "E 14 St", 1, 3),
        ("2024-01-01", "W 21 St", 2, 16),
        ("2024-02-01", "W 21 St", 1, 7),
    ]
    query = "SELECT CAST(day AS STRING) AS day, name, counts, bikes FROM TABLE ORDER BY day, name"
    assert [tuple(row.values()) for row in stack.select(query, "daily_bikes")] == sums
    with psycopg.connect(dsn) as connection:
        query = "SELECT day::text, name, counts, bikes::int FROM daily_bikes ORDER BY day, name"
        assert connection.execute(query).fetchall() == sums

    [query] = [text for kind, text in BLOCKS if kind == "sql"]
    [answer] = [text for kind, text in BLOCKS if not kind]
    with psycopg.connect(dsn) as connection:
        rows = connection.execute(query).fetchall()
    assert [" | ".join(map(str, row)) for row in rows] == answer.splitlines()


@pytest.mark.long
def test_the_suites_pass_with_the_pages_datasets_as_they_do_without(tmp_path, served):
    folders = (
        "plugins", "dags", "dags_local", "airflow", "scripts", "docs", "infra", "tests", "pyproject.toml",
        "README.md", "Pulumi.yaml", "docker-compose.yaml",
    )  # fmt: skip
    (tmp_path / "product").mkdir()
    product = copied(folders, tmp_path / "product")
    share_environment(product)
    write_entries(product, served)
    pytest_ = [".venv/bin/pytest", "-q", "-p", "no:cacheprovider", *SUITES]
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "PYTEST"))
    }
    listed = subprocess.run(
        [".venv/bin/python", "-c", "from elt.catalogue.registry import *; print(*DATASETS, *PROBLEMS)"],
        cwd=product, env=environment, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert {*OWN, "yellow"} <= set(listed.stdout.split())
    done = subprocess.run(pytest_, cwd=product, env=environment, capture_output=True, text=True, timeout=800)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-1000:]


def test_every_command_and_path_of_the_page_exists():
    for kind, text in BLOCKS:
        for line in text.splitlines() if kind == "sh" else ():
            if line.startswith("scripts/"):
                assert os.access(REPOSITORY / shlex.split(line)[0], os.X_OK)
    for path in re.findall(r"`((?:plugins|tests|scripts|docs)/[\w./]+)`", PAGE):
        assert path in {**FILES, **WRITTEN} or (REPOSITORY / path.rstrip("/")).exists(), path


def test_every_type_and_format_that_an_entry_may_have_is_on_the_page():
    assert [word for word in get_args(Type) if f"`{word}`" not in PAGE] == []
    assert {name.removesuffix(".gz") for name in EXTENSIONS} <= set(re.findall(r"`\.([\w.]+)`", PAGE))
