"""Several partitions of one dataset at once: what the stages do one by one, with few jobs and log rows.

Which of them need it, the load log says: there is no other state, and a run that was killed goes on. A
partition that cannot be loaded is left out, with a sentence, and the others go on: the ordinary stages load
it, or fail, as people know it. A transient error ends the whole.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from elt import status
from elt.connections import Connections
from elt.errors import AuditError, PermanentError, SourceNotPublishedError
from elt.periods import Partition
from elt.provenance import Loaded
from elt.stage_request import StageRequest
from elt.stages.conform import write_typed
from elt.stages.download import bring
from elt.stages.warehouse import (
    check_passed,
    check_table,
    find_typed,
    open_staging,
    rebuild,
    replace_published,
)
from elt.stores.bigquery import Warehouse
from elt.stores.gcs import Lake, Stored
from elt.warehouse import load_log, tables
from elt.warehouse.audits import Staged, judge
from elt.warehouse.load_log import Entry, LogStage

Failed = dict[Partition, str]
_LOG = logging.getLogger(__name__)
Stages = frozenset[LogStage]
# What a partition must have for a step, and what the step makes of it.
_STEPS: Mapping[str, tuple[Stages, Stages]] = MappingProxyType(
    {
        "lake": (Stages(), Stages({"raw", "typed"})),
        "warehouse": (Stages({"raw", "typed"}), Stages({"warehouse"})),
        "mart": (Stages({"warehouse"}), Stages({"mart"})),
        "postgres": (Stages({"raw"}), Stages({"postgres"})),
    }
)


def run(step: str, requests: Sequence[StageRequest], connections: Connections) -> dict[str, Any]:
    """Run `lake`, `warehouse`, `mart` or `postgres` for partitions of one dataset.

    Returns the keys of those that are `done`, here or before, and the sentence of each that `failed`.
    """
    needs, makes = _STEPS[step]
    missing = status.missing(connections, [request.partition for request in requests])
    ready = [request for request in requests if needs.isdisjoint(missing[request.partition])]
    if step == "postgres" and not connections.has_postgres:
        ready = []
    todo = [request for request in ready if not makes.isdisjoint(missing[request.partition])]
    act = {"lake": _lake, "warehouse": _warehouse, "mart": _mart, "postgres": _postgres}[step]
    failed = act(todo, connections) if todo else {}
    for partition, sentence in failed.items():
        _LOG.warning("%s is left to a run of its own: %s", partition, sentence)
    return {
        "dataset": requests[0].dataset.name,
        "done": [request.partition.key for request in ready if request.partition not in failed],
        "failed": {str(partition.key): sentence for partition, sentence in failed.items()},
    }


def _lake(requests: Sequence[StageRequest], connections: Connections) -> Failed:
    ds, entries, failed = requests[0].dataset, list[Entry](), Failed()
    with connections.source(ds) as source, connections.lake() as lake, connections.warehouse() as warehouse:
        try:
            for request in requests:
                try:
                    entries.append(Entry(request, "raw", bring(request, source, lake)[1]))
                    entries.append(Entry(request, "typed", write_typed(request, lake)[1]))
                except (PermanentError, SourceNotPublishedError) as error:
                    failed[request.partition] = str(error)
        finally:
            load_log.record_all(warehouse, entries)
    return failed


def _postgres(requests: Sequence[StageRequest], connections: Connections) -> Failed:
    # Its drivers only where there is one.
    from elt.stages.postgres import copy_in, ensure_views

    entries, failed = list[Entry](), Failed()
    with connections.lake() as lake, connections.postgres() as connection:
        try:
            for request in requests:
                try:
                    entries.append(Entry(request, "postgres", copy_in(request, lake, connection)[1]))
                except PermanentError as error:
                    failed[request.partition] = str(error)
            ensure_views(connection)
        finally:
            with connections.warehouse() as warehouse:
                load_log.record_all(warehouse, entries)
    return failed


def _warehouse(requests: Sequence[StageRequest], connections: Connections) -> Failed:
    with connections.lake() as lake, connections.warehouse() as warehouse:
        table = check_table(requests[0], warehouse)
        tables.ensure_lake_table(warehouse, requests[0].dataset, requests[0].settings.bucket)
        staged, failed = _stage(requests, lake, warehouse)
        sources = [one.loaded.origin.source for one in staged]
        tables.note_sources(warehouse, requests[0].dataset, table, sources)
        verdicts = judge(warehouse, staged) if staged else {}
        passed = []
        for one in staged:
            try:
                check_passed(one.request, verdicts[one.request.period])
                passed.append(one)
            except AuditError as error:
                failed[one.request.partition] = str(error)
        if passed:
            replace_published(warehouse, passed)
    return failed


def _stage(requests: Sequence[StageRequest], lake: Lake, warehouse: Warehouse) -> tuple[list[Staged], Failed]:
    """Load each typed object into a table of its own: a load job reads the object that was counted."""
    found, failed, loads = list[tuple[Stored, Staged]](), Failed(), []
    for request in requests:
        try:
            stored = find_typed(request, lake)
            loaded = Loaded.read({**stored.metadata, "bytes": stored.size})
            one = Staged(request, open_staging(request, warehouse, loaded), loaded)
        except PermanentError as error:
            failed[request.partition] = str(error)
            continue
        found.append((stored, one))
        work = load_log.work_of("stage", request, str(one.table["creationTime"]))
        loads.append((one.name, lake.uri(stored.name), tables.fields(request.dataset.columns), work))
    errors = warehouse.load_all(loads)
    staged = []
    for stored, one in found:
        now = lake.find(stored.name)
        if one.name in errors:
            failed[one.request.partition] = str(errors[one.name])
        elif now is None or now.generation != stored.generation:
            failed[one.request.partition] = f"{one.request.partition}: conformed again while it was staged."
        else:
            staged.append(one)
    return staged, failed


def _mart(requests: Sequence[StageRequest], connections: Connections) -> Failed:
    with connections.warehouse() as warehouse:
        log = load_log.latest(warehouse, [request.partition for request in requests])
        rebuild(warehouse, [(request, log[request.partition, "warehouse"]) for request in requests])
    return {}
