"""Many small partitions, loaded together by runs of `<dataset>_bulk_load`: which, and how many a run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass

from elt.catalogue.registry import DATASETS
from elt.connections import Connections
from elt.errors import PipelineError
from elt.layout import dag_id
from elt.periods import Partition, Span
from taxiway.airflow.client import AirflowApi

# Partitions of a run: of these a task's own second is a small part.
MOST = 40
# With fewer of them in a row nothing is gained.
LEAST = 4
# Bytes of the published files of a run, and of one of them: what is larger takes longer than its tasks cost.
TOGETHER, SMALL = 64 * 2**20, 4 * 2**20
# Runs at once: in the lake, in the warehouse and in Postgres one each, and one that waits.
RUNS = 4


@dataclass(frozen=True)
class Batch:
    """Consecutive partitions of a dataset, in whichever order they are to be loaded."""

    partitions: tuple[Partition, ...]

    @property
    def dataset(self) -> str:
        """The dataset's name."""
        return self.partitions[0].dataset

    @property
    def key(self) -> str:
        """The partition key of the run that loads them."""
        return f"{min(self.partitions).key}..{max(self.partitions).key}"

    @property
    def dag(self) -> str:
        """The DAG of that run."""
        return dag_id(self.dataset, "bulk_load")

    def __str__(self) -> str:
        return f"{self.dataset} {self.key}"


def batches(partitions: Iterable[Partition], sizes: Mapping[str, int]) -> list[Batch]:
    """Those partitions that are loaded together, in their order; `sizes` are bytes of one, by dataset. Pure.

    None of a dataset whose partitions are large, or of unknown size.
    """
    rows = dict[str, list[list[Partition]]]()
    for partition in partitions:
        size = sizes.get(partition.dataset)
        if size is None or size > SMALL or partition.period is None:
            continue
        found = rows.setdefault(partition.dataset, [[]])
        most = min(MOST, TOGETHER // max(size, 1))
        last = found[-1][-1].period if found[-1] else None
        if last and (partition.period not in (last.shift(1), last.shift(-1)) or len(found[-1]) >= most):
            found.append([])
        found[-1].append(partition)
    return [Batch(tuple(row)) for found in rows.values() for row in found if len(row) >= LEAST]


def sizes(partitions: Iterable[Partition], connections: Connections) -> dict[str, int]:
    """Bytes of the larger of the first and the last partition of each dataset, as their source states them.

    A dataset whose source does not state any, or does not answer, is left out: its runs will say why.
    """
    found, of = dict[str, int](), dict[str, list[Partition]]()
    for partition in partitions:
        of.setdefault(partition.dataset, []).append(partition)
    for name, some in of.items():
        if not DATASETS[name].tabular or len(some) < LEAST:
            continue
        try:
            with connections.source(DATASETS[name]) as source:
                answers = [source.probe(partition.period) for partition in (some[0], some[-1])]
        except PipelineError:
            continue
        if stated := [answer.size for answer in answers if answer and answer.size]:
            found[name] = max(stated)
    return found


def under_way(api: AirflowApi, datasets: Iterable[str]) -> list[Batch]:
    """The ranges of these datasets that runs are at, or wait for."""
    names = {dag_id(name, "bulk_load"): name for name in datasets if DATASETS[name].every}
    found = []
    for run in api.runs(sorted(names), states=["queued", "running"]) if names else ():
        name = names.get(run["dag_id"], "")
        # Whatever somebody has triggered it with.
        with suppress(PipelineError):
            if name and (every := DATASETS[name].every):
                periods = Span.parse(run["partition_key"] or "").periods(every)
                found.append(Batch(tuple(Partition(name, period) for period in periods)))
    return found
