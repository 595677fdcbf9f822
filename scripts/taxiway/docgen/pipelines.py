"""The tables of docs/pipelines.md, and its picture of the assets."""

from __future__ import annotations

import importlib.util
import os
import tempfile
from collections.abc import Mapping
from functools import cache, partial
from typing import TYPE_CHECKING, Final

from elt.catalogue import Dataset
from elt.catalogue.registry import DATASETS, MARTS
from elt.warehouse import sql
from elt.warehouse.tables import all_tables
from taxiway.docgen.markdown import Parts, codes, table
from taxiway.docgen.markdown import current as with_parts
from taxiway.environment.home import REPOSITORY

if TYPE_CHECKING:
    from airflow.sdk import DAG

_DAG_FILES: Final = ("dags", "dags_local")
_GROUPS: Final = {
    "source": "the publisher",
    "lake": "lake (GCS)",
    "warehouse": "warehouse (BigQuery)",
    "marts": "marts",
    "postgres": "Postgres",
}


def parts(datasets: Mapping[str, Dataset] = DATASETS) -> Parts:
    """Return what is made from the code, for these datasets."""
    made = {part.__name__: partial(part, datasets) for part in (assets, audits, marts)}
    return {**made, **{name: partial(_columns, name) for name in ("load_log", "audit_results")}}


def current(text: str) -> str:
    """Return the page as it should be of the datasets that it has: a user's own do not make it wrong."""
    known = {name: ds for name, ds in DATASETS.items() if f"([{name}_raw])" in text}
    return with_parts(text, parts(known))


def assets(datasets: Mapping[str, Dataset]) -> str:
    """Return the asset graph as the DAGs declare it: what each task reads and what it makes."""
    # Without a dataset there is no DAG of one, and Airflow need not be imported.
    dags = (dag for dag in _dags() if set(dag.tags) & datasets.keys()) if datasets else iter(())
    edges = sorted(
        {
            ((inlet.group, inlet.name), (outlet.group, outlet.name), task.task_id)
            for dag in dags
            for task in dag.tasks
            for inlet in task.inlets
            for outlet in task.outlets
        }
    )
    groups: dict[str, set[str]] = {group: set() for group in _GROUPS}
    for source, (group, name), _ in edges:
        groups[group].add(name)
        groups[source[0]].add(source[1])
    lines = ["```mermaid", "flowchart LR"]
    for group, names in groups.items():
        lines.append(f'  subgraph {group}_assets["{_GROUPS[group]}"]')
        lines += [f"    {name}([{name}])" for name in sorted(names)]
        lines.append("  end")
    lines += [f"  {source[1]} -- {task} --> {target[1]}" for source, target, task in edges]
    return "\n".join([*lines, "```", ""])


def audits(datasets: Mapping[str, Dataset]) -> str:
    """Return every audit, its rule, and the datasets that it is for."""
    judged: dict[tuple[str, str, str], list[str]] = {}
    for ds in datasets.values():
        for audit in ds.audits:
            # The text, not the name alone: two packages may have audits of one name.
            lines = sql.text(f"audits/{audit.name}", ds.package).splitlines()
            rule = " ".join(line.removeprefix("--").strip() for line in lines if line.startswith("--"))
            judged.setdefault((audit.severity, audit.name, rule), []).append(ds.name)
    rows = [
        (f"`{name}`", severity, rule, ", ".join(names))
        for (severity, name, rule), names in sorted(judged.items())
    ]
    return table(("audit", "severity", "rule", "datasets"), rows)


def marts(datasets: Mapping[str, Dataset]) -> str:
    """Return every mart that these datasets feed, its columns, and which of them do."""
    rows = []
    for mart in MARTS.values():
        fed = ", ".join(ds.name for ds in datasets.values() if ds.fills(mart.name))
        if fed:
            rows.append((f"`{mart.name}`", mart.title, codes(column.name for column in mart.columns), fed))
    return table(("mart", "what it says", "columns, after dataset and source_month", "fed by"), rows)


@cache
def _dags() -> list[DAG]:
    # Airflow makes its home where there is none; the user's own is not to be touched for a page.
    os.environ.setdefault("AIRFLOW_HOME", tempfile.gettempdir())
    from airflow.sdk import DAG

    found: list[DAG] = []
    for folder in _DAG_FILES:
        for file in sorted((REPOSITORY / folder).glob("*.py")):
            # As Airflow does it: a DAG file is no module of any package.
            spec = importlib.util.spec_from_file_location(f"dag_file_{file.stem}", file)
            if spec is None or spec.loader is None:
                raise FileNotFoundError(file)
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            found += [value for value in vars(module).values() if isinstance(value, DAG)]
    return found


def _columns(name: str) -> str:
    fields = all_tables(str)[name]["schema"]["fields"]
    return table(
        ("column", "type", "what it is"), [(f"`{f['name']}`", f["type"], f["description"]) for f in fields]
    )
