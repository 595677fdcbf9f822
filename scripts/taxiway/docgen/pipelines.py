"""The tables and the picture of docs/pipelines.md.

    PYTHONPATH=scripts:plugins .venv/bin/python -m taxiway.docgen.pipelines

makes them anew.
"""

from __future__ import annotations

import importlib.util
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from elt.catalogue import Column, Dataset
from elt.catalogue.registry import DATASETS, MARTS
from elt.warehouse import sql
from elt.warehouse.tables import all_tables
from taxiway.docgen.markers import Parts, table
from taxiway.docgen.markers import current as made_anew
from taxiway.environment.files import write_atomically
from taxiway.environment.paths import REPOSITORY

if TYPE_CHECKING:
    from airflow.sdk import DAG

PAGE: Final = REPOSITORY / "docs" / "pipelines.md"
_DAG_FILES: Final = ("dags", "dags_local")
_GROUPS: Final = {
    "source": "the publisher",
    "lake": "lake (GCS)",
    "warehouse": "warehouse (BigQuery)",
    "marts": "marts",
    "postgres": "Postgres",
}


def main(page: Path = PAGE) -> None:
    """Rewrite the page."""
    write_atomically(page, made_anew(page.read_text(), PARTS), mode=0o644)


def current(text: str) -> str:
    """The page as it should be of the datasets that it has: one that a user adds does not make it wrong."""
    return made_anew(text, parts({name: ds for name, ds in DATASETS.items() if f"([{name}_raw])" in text}))


def parts(datasets: Mapping[str, Dataset]) -> Parts:
    """What is made from the code, for these datasets."""
    return {
        part.__name__: partial(part, datasets) for part in (assets, audits, marts, load_log, audit_results)
    }


def assets(datasets: Mapping[str, Dataset]) -> str:
    """The asset graph as the DAGs declare it: what each task reads and what it makes."""
    dags = (dag for dag in _dags() if set(dag.tags) & datasets.keys())
    edges = sorted({edge for dag in dags for edge in _edges(dag)})
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
    """Every rule, what it asks, and of which datasets."""
    asked: dict[tuple[str, str, str], list[str]] = {}
    for ds in datasets.values():
        for audit in ds.audits:
            rule = _header(sql.text(f"audits/{audit.name}", ds.package))
            asked.setdefault((audit.severity, audit.name, rule), []).append(ds.name)
    rows = [
        (f"`{name}`", severity, rule, ", ".join(names))
        for (severity, name, rule), names in sorted(asked.items())
    ]
    return table(("audit", "severity", "rule", "datasets"), rows)


def marts(datasets: Mapping[str, Dataset]) -> str:
    """Every mart that these datasets feed, its columns, and which of them do."""
    rows = []
    for mart in MARTS.values():
        fed = ", ".join(ds.name for ds in datasets.values() if any(f.mart == mart.name for f in ds.feeds))
        if not fed:
            continue
        rows.append((f"`{mart.name}`", mart.title, _names(mart.columns), fed))
    return table(("mart", "what it says", "columns, after dataset and source_month", "fed by"), rows)


def load_log(_: Mapping[str, Dataset]) -> str:
    """The columns of the load log."""
    return _columns("load_log")


def audit_results(_: Mapping[str, Dataset]) -> str:
    """The columns of the table of what audits found."""
    return _columns("audit_results")


PARTS: Final[Parts] = parts(DATASETS)


@cache
def _dags() -> list[DAG]:
    os.environ.setdefault("AIRFLOW_HOME", tempfile.gettempdir())
    from airflow.sdk import DAG

    found: list[DAG] = []
    for folder in _DAG_FILES:
        for file in sorted((REPOSITORY / folder).glob("*.py")):
            spec = importlib.util.spec_from_file_location(f"dag_file_{file.stem}", file)
            if spec is None or spec.loader is None:
                raise FileNotFoundError(file)
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            found += [value for value in vars(module).values() if isinstance(value, DAG)]
    return found


def _edges(dag: DAG) -> Iterator[tuple[tuple[str, str], tuple[str, str], str]]:
    for task in dag.tasks:
        for inlet in task.inlets:
            yield from ((_node(inlet), _node(outlet), task.task_id) for outlet in task.outlets)


def _node(asset: Any) -> tuple[str, str]:
    return asset.group, asset.name


def _header(text: str) -> str:
    """The comment at the top of an SQL file."""
    lines = text.splitlines()
    return " ".join(line.removeprefix("--").strip() for line in lines if line.startswith("--"))


def _columns(name: str) -> str:
    fields = all_tables(str)[name]["schema"]["fields"]
    return table(
        ("column", "type", "what it is"), [(f"`{f['name']}`", f["type"], f["description"]) for f in fields]
    )


def _names(columns: Iterable[Column]) -> str:
    return ", ".join(f"`{column.name}`" for column in columns)


if __name__ == "__main__":
    main()
