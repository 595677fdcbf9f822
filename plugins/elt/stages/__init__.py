"""The stages of a partition's way. Each may be killed at any moment: run again, it ends in the same state.

A stage takes a `StageRequest` and `Connections` and returns a small dict fit for JSON, in which `reused`
says that its work was done already. Raises `elt.errors`; JobRunningError only where the connections'
warehouse has a limited patience.
"""

from collections.abc import Mapping
from importlib import import_module
from types import MappingProxyType
from typing import Any

from elt.connections import Connections
from elt.errors import UsageError
from elt.stage_request import StageRequest

# By name instead of by function: a DAG file that asks which stages there are imports none of them.
STAGES: Mapping[str, str] = MappingProxyType(
    {
        "download": "elt.stages.download:download",
        "conform": "elt.stages.conform:conform",
        "stage": "elt.stages.warehouse:stage",
        "audit": "elt.stages.warehouse:audit",
        "publish": "elt.stages.warehouse:publish",
        "mart": "elt.stages.warehouse:mart",
        "postgres": "elt.stages.postgres:postgres",
    }
)


def run(stage: str, request: StageRequest, connections: Connections) -> dict[str, Any]:
    """Run one stage for one partition; UsageError where there is no such stage."""
    if stage not in STAGES:
        raise UsageError(f"stage {stage!r} is unknown. Choose one of: {', '.join(STAGES)}.")
    module, _, function = STAGES[stage].partition(":")
    done: dict[str, Any] = getattr(import_module(module), function)(request, connections)
    return done
