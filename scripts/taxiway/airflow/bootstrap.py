"""Open a platform that has just started: pools, every DAG parsed, every DAG unpaused, consumers first."""

from __future__ import annotations

import time
from collections.abc import Callable

from elt.catalogue import Dataset
from elt.catalogue.registry import DATASETS
from elt.orchestration.pools import POOLS
from taxiway.airflow.client import AirflowApi
from taxiway.errors import TaxiwayError

HEALTHY = frozenset({"metadatabase", "scheduler", "dag_processor", "triggerer"})
POLL_SECONDS = 0.2
# Ends of DAG ids, consumers before what feeds them.
FAMILIES = ("_to_postgres", "_to_warehouse", "_to_lake", "_source_check")


def expected_dags() -> set[str]:
    """The DAG ids that the catalogue asks for."""
    return {f"{name}{kind}" for name, entry in DATASETS.items() for kind in FAMILIES if _belongs(kind, entry)}


def _belongs(kind: str, entry: Dataset) -> bool:
    if kind == "_to_warehouse":
        return entry.tabular
    return kind != "_to_postgres" or entry.in_postgres


def wait_until_healthy(api: AirflowApi, seconds: float, watch: Callable[[], None] = lambda: None) -> None:
    """Return when Airflow says that all its parts are healthy. `watch` is called meanwhile; it may raise."""

    def healthy() -> bool:
        return {name for name, well in api.healthy().items() if well} >= HEALTHY

    _until(
        healthy, seconds, watch, lambda: f"Airflow is not healthy: {api.healthy() or 'it does not answer'}"
    )


def open_dags(api: AirflowApi, seconds: float, watch: Callable[[], None] = lambda: None) -> None:
    """Pools first, or tasks wait for ever; consumers before what feeds them, or they miss its events."""
    wanted, parsed = expected_dags(), dict[str, bool]()
    api.create_pools(POOLS)

    def all_parsed() -> bool:
        parsed.update(api.dags())
        return wanted <= set(parsed)

    def missing() -> str:
        return f"DAGs are missing: {sorted(wanted - set(parsed))} {api.import_errors()}"

    _until(all_parsed, seconds, watch, missing)
    for family in FAMILIES:
        if any(parsed[dag_id] for dag_id in wanted if dag_id.endswith(family)):
            api.unpause_all(family)


def _until(
    condition: Callable[[], bool], seconds: float, watch: Callable[[], None], complaint: Callable[[], str]
) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        watch()
        if time.monotonic() > deadline:
            raise TaxiwayError(
                f"{complaint()} (after {seconds:.0f} s)", "See scripts/status and scripts/logs."
            )
        time.sleep(POLL_SECONDS)
