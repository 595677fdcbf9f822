"""The install holds what data engineers use of the Google provider, and says what it leaves out."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from repository import REPOSITORY

pytestmark = pytest.mark.long  # half a minute of imports, which only another lock changes
SERVICES = (
    "bigquery", "bigquery_dts", "cloud_run", "cloud_sql", "dataform", "dataflow", "dataplex", "dataproc",
    "functions", "gcs", "kms", "pubsub", "secret_manager", "tasks", "workflows",
)  # fmt: skip
PACKAGE = "airflow.providers.google.cloud"
LEFT_OUT = REPOSITORY / "plugins" / "left_out"
STUBS = [file for file in sorted(LEFT_OUT.rglob("*.py")) if file.name != "taxiway_left_out.py"]
CODE = """
import importlib, json, sys

failed = {}
for module in sys.argv[1:]:
    try:
        importlib.import_module(module)
    except Exception as error:
        failed[module] = f"{type(error).__name__}: {error}"
from airflow.providers_manager import ProvidersManager
hooks = [name for name, hook in ProvidersManager().hooks.items() if hook]
print("\\n" + json.dumps({"failed": failed, "hooks": hooks}))
"""


def modules() -> list[str]:
    """Hooks, operators, sensors and triggers of the services, every transfer, what writes logs."""
    spec = find_spec(PACKAGE)
    assert spec and spec.submodule_search_locations
    files = [f for root in spec.submodule_search_locations for f in Path(root).glob("*/*.py")]
    kinds = ("hooks", "operators", "sensors", "triggers")
    wanted = [f for f in files if f.parent.name in kinds and f.stem in SERVICES]
    wanted += [f for f in files if f.parent.name in ("transfers", "log") and f.stem != "__init__"]
    return [f"{PACKAGE}.{file.parent.name}.{file.stem}" for file in sorted(wanted)]


@pytest.fixture(scope="module")
def answer(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a fresh process cannot import, and what Airflow's own discovery of providers logs meanwhile."""
    home = tmp_path_factory.mktemp("airflow")
    environment = {"PATH": os.environ["PATH"], "AIRFLOW_HOME": str(home), "HOME": str(home)}
    command = [sys.executable, "-W", "ignore", "-c", CODE, *modules()]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    *log, last = (done.stderr + done.stdout).splitlines()
    facts: dict[str, Any] = json.loads(last)
    return {**facts, "log": log}


def test_every_module_that_a_data_engineer_uses_can_be_imported(answer: dict[str, Any]) -> None:
    assert {f"{PACKAGE}.hooks.{service}" for service in SERVICES} <= {*modules()}
    failed = answer["failed"]
    # A transfer from or to another system takes that system's provider, which its user adds.
    others = {module for module in failed if ".transfers." in module}
    assert {module: failed[module] for module in failed if module not in others} == {}
    assert [failed[module] for module in others if "left out" in failed[module]] == []
    here = (
        "gcs_to_bigquery",
        "bigquery_to_gcs",
        "gcs_to_gcs",
        "postgres_to_gcs",
        "local_to_gcs",
        "gcs_to_local",
    )
    assert not {f"{PACKAGE}.transfers.{name}" for name in here} & others


def test_airflow_discovers_its_providers_without_a_warning(answer: dict[str, Any]) -> None:
    lines = [line for line in answer["log"] if "is deprecated" not in line]
    assert [line for line in lines if "warning" in line or "error" in line] == []
    assert {"google_cloud_platform", "gcpcloudsql", "postgres"} <= {*answer["hooks"]}


@pytest.mark.parametrize("stub", STUBS, ids=lambda file: str(file.relative_to(LEFT_OUT).with_suffix("")))
def test_what_is_left_out_says_so_when_it_is_imported(stub: Path) -> None:
    name = ".".join(stub.relative_to(LEFT_OUT).with_suffix("").parts)
    with pytest.raises(ImportError, match=r"is left out of this install\. To have it: delete") as raised:
        importlib.import_module(name)
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    assert str(raised.value).split()[0] in project["tool"]["uv"]["exclude-dependencies"]
