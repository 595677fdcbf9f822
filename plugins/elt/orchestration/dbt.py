"""dbt's projects beside the entries: which tables each reads, which it makes, and the task that runs one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import yaml
from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import Asset, AssetAny, Context, FixedKeyMapper, PartitionedAssetTimetable
from airflow.sdk.exceptions import AirflowSkipException

from elt.catalogue.registry import DATASETS, MARTS
from elt.errors import SettingError
from elt.orchestration.assets import mart_asset, table_asset
from elt.orchestration.dag_defaults import EXECUTION_TIMEOUTS

PLUGINS = Path(__file__).resolve().parents[2]
# What a person types, too. Containers have neither it nor dbt.
COMMAND = PLUGINS.parent / "scripts" / "dbt"


@dataclass(frozen=True)
class DbtProject:
    """A folder with a `dbt_project.yml`, and the name that stands in it."""

    name: str
    folder: Path
    model_paths: tuple[str, ...] = ("models",)

    @classmethod
    def of_packages(cls, plugins: Path = PLUGINS) -> list[Self]:
        """The project of each package that has one, in `dbt/` below it."""
        return [cls._read(file) for file in sorted(plugins.glob("*/dbt/dbt_project.yml"))]

    @classmethod
    def _read(cls, file: Path) -> Self:
        found = _described(file)
        if not isinstance(found.get("name"), str):
            raise SettingError(f"{file} has no name. Write one into it, such as name: bikes.")
        return cls(found["name"], file.parent, tuple(found.get("model-paths") or cls.model_paths))

    @cached_property
    def reads(self) -> set[str]:
        """Names of the tables that its sources are."""
        files = self._files("*.yml", "*.yaml")
        sources = [source for file in files for source in _described(file).get("sources") or ()]
        return {
            table.get("identifier", table["name"])
            for source in sources
            for table in source.get("tables") or ()
        }

    def makes(self) -> list[str]:
        """Names of its models, which are those of their files."""
        return sorted(file.stem for file in self._files("*.sql", "*.py"))

    def inlets(self) -> list[Asset]:
        """What it reads of the tables and marts of the catalogue."""
        return [*self._followed(by_period=True), *self._followed(by_period=False)]

    def schedule(self) -> PartitionedAssetTimetable | AssetAny | None:
        """Whenever something arrives in what it reads; None where that is nothing of the catalogue's.

        A DAG can follow assets with partition keys, or others, and Airflow ignores the other kind. Here those
        with keys win: what has no periods is a list, which seldom changes.
        """
        if followed := self._followed(by_period=True):
            # Not a run for each key, but each run of one: what it computes is all that has arrived.
            return PartitionedAssetTimetable(
                assets=AssetAny(*followed), default_partition_mapper=FixedKeyMapper("all")
            )
        followed = self._followed(by_period=False)
        return AssetAny(*followed) if followed else None

    def _followed(self, *, by_period: bool) -> list[Asset]:
        feeding = {feed.mart for ds in DATASETS.values() for feed in ds.feeds if bool(ds.every) == by_period}
        tables = [ds for ds in DATASETS.values() if ds.tabular and bool(ds.every) == by_period]
        return [
            *(table_asset(ds) for ds in tables if ds.table in self.reads),
            *(mart_asset(name) for name in MARTS if name in self.reads & feeding),
        ]

    def _files(self, *patterns: str) -> Iterator[Path]:
        for path in self.model_paths:
            for pattern in patterns:
                yield from sorted((self.folder / path).rglob(pattern))


def _described(file: Path) -> Mapping[str, Any]:
    try:
        found = yaml.safe_load(file.read_text()) or {}
    except yaml.YAMLError as error:
        raise SettingError(f"{file} is not YAML: {error}. `scripts/dbt parse` says more.") from None
    return found if isinstance(found, dict) else {}


class DbtOperator(BashOperator):
    """Runs `scripts/dbt build` in the warehouse, or leaves it to a later run."""

    def __init__(self, *, project: DbtProject, **arguments: Any) -> None:
        folder = '"$AIRFLOW_HOME/dbt/$DBT_PROJECT"'
        super().__init__(
            # What it writes is apart from what a person's own `scripts/dbt` writes at the same time.
            bash_command='exec "$COMMAND" --stack "$TAXIWAY_STACK" build --no-use-colors '
            f"--target-path {folder} --log-path {folder}",
            env={
                "COMMAND": str(COMMAND),
                "DBT_PROJECT": project.name,
                "DBT_PROJECT_DIR": str(project.folder),
            },
            append_env=True,
            inlets=project.inlets(),
            outlets=[mart_asset(name) for name in project.makes()],
            execution_timeout=EXECUTION_TIMEOUTS["dbt"],
            **arguments,
        )

    def execute(self, context: Context) -> Any:
        """Run dbt. A run for each hundredth of a backfill would compute all of it a hundred times."""
        if context["ti"].get_dr_count(self.dag_id, states=["queued"]):
            raise AirflowSkipException("a later run is queued already: it computes what has arrived, once")
        return super().execute(context)
