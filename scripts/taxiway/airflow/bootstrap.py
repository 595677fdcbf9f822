"""Prepare an Airflow that has just started: pools, every DAG parsed, those unpaused that are wanted."""

from __future__ import annotations

from collections.abc import Collection, Set
from typing import TYPE_CHECKING

from taxiway.airflow.client import AirflowApi
from taxiway.waiting import Patience

if TYPE_CHECKING:
    from elt.layout import Family

HEALTHY = frozenset({"metadatabase", "scheduler", "dag_processor", "triggerer"})
# Consumers before what feeds them: a paused DAG drops the asset events that arrive meanwhile.
FAMILIES: tuple[Family, ...] = ("to_postgres", "to_warehouse", "to_lake", "bulk_load", "source_check")
# What a schedule starts: paused until somebody asks for a period of the dataset.
SCHEDULED: tuple[Family, ...] = ("to_lake", "source_check")
# For Airflow to find a new entry: it looks every half minute, and a busy machine takes its time.
OPENED_SECONDS = 180.0


def expected_dags() -> dict[Family, list[str]]:
    """The DAG ids that the catalogue asks for, by family, in the order in which they are unpaused."""
    # Not above: `down` and `logs` import this module, and need no catalogue, be it in order or not.
    from elt.catalogue.registry import DATASETS
    from elt.layout import dag_id

    wanted: dict[Family, list[str]] = {family: [] for family in FAMILIES}
    for entry in DATASETS.values():
        for family, ids in wanted.items():
            without = {
                "to_warehouse": not entry.tabular,
                "to_postgres": not entry.in_postgres,
                "bulk_load": not (entry.tabular and entry.every),
            }
            if not without.get(family, False):
                ids.append(dag_id(entry.name, family))
    return wanted


def wait_until_healthy(api: AirflowApi, patience: Patience) -> None:
    """Return when Airflow says that all its parts are healthy."""
    patience.until(
        lambda: {name for name, well in api.healthy().items() if well} >= HEALTHY,
        lambda: f"Airflow is not healthy: {api.healthy() or 'it does not answer'}",
    )


def open_dags(api: AirflowApi, patience: Patience) -> None:
    """Create the pools, wait until every DAG of the catalogue is parsed, unpause those without a schedule.

    Pools come first: a task that names a pool which does not exist waits for ever.
    """
    families = expected_dags()
    _create_pools(api)
    parsed = _parsed(api, {dag_id for ids in families.values() for dag_id in ids}, patience)
    # One request for a family, and none if a user's `up` finds all of it unpaused.
    for family, ids in families.items():
        if family not in SCHEDULED and any(parsed[dag_id] for dag_id in ids):
            api.unpause_family(f"_{family}")


def open_datasets(api: AirflowApi, names: Collection[str], patience: Patience | None = None) -> None:
    """Unpause all DAGs of datasets that are asked for; those of a new entry lack their pool, too.

    Of an edited one Airflow may still have the DAG without the task that computes marts.
    """
    from elt.catalogue.registry import DATASETS
    from elt.layout import dag_id

    patience = patience or Patience(OPENED_SECONDS)
    _create_pools(api)
    wanted = [
        found
        for family, ids in expected_dags().items()
        for name in sorted(names)
        if (found := dag_id(name, family)) in ids
    ]
    parsed = _parsed(api, set(wanted), patience)
    for each in wanted:
        if parsed[each]:
            api.unpause(each)
    feeding = {dag_id(name, "to_warehouse"): bool(DATASETS[name].feeds) for name in names}
    patience.until(
        lambda: all(
            ("mart" in api.tasks(each)) == feeds for each, feeds in feeding.items() if each in wanted
        ),
        lambda: f"Airflow has not read what was edited of: {', '.join(sorted(names))} {api.import_errors()}",
    )


def _create_pools(api: AirflowApi) -> None:
    from elt.orchestration.pools import POOLS

    fields = ("slots", "description", "include_deferred")
    api.create_pools([{"name": n, **{f: getattr(pool, f) for f in fields}} for n, pool in POOLS.items()])


def _parsed(api: AirflowApi, wanted: Set[str], patience: Patience) -> dict[str, bool]:
    """Whether paused, by DAG id, as soon as all that are wanted are parsed."""
    parsed = dict[str, bool]()

    def all_parsed() -> bool:
        parsed.update(api.dags())
        return wanted <= set(parsed)

    patience.until(
        all_parsed, lambda: f"DAGs are missing: {sorted(wanted - set(parsed))} {api.import_errors()}"
    )
    return parsed
