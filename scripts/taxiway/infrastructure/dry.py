"""Evaluation that creates nothing: for plans, inventories, policies and prices."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from taxiway.infrastructure.evaluate import Declared
from taxiway.infrastructure.resources import KINDS


class Dry:
    """Gives each resource the outputs it would have; `known` are those of resources that exist, by key."""

    def __init__(self, known: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        self._known = known or {}

    def create(self, resource: Declared) -> tuple[str, dict[str, Any]]:
        """Return id and outputs as far as inputs tell; what only Google Cloud has gives back its inputs."""
        known = self._known.get(resource.key, {})
        if resource.type not in KINDS:
            return resource.name, dict(resource.inputs)
        identifier, outputs = KINDS[resource.type].outputs(resource.inputs)
        return known.get("name", identifier), {**outputs, **known}
