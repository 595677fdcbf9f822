"""What the in-process engine must know about a kind of resource."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

from taxiway.infrastructure.api import Api

Inputs = Mapping[str, Any]
Outputs = dict[str, Any]


class Kind(ABC):
    """One type of resource: how it is named, made, seen and removed. Inputs have the provider's names."""

    # Inputs that cannot change without a new resource.
    fixed: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def title(self, inputs: Inputs) -> str:
        """Return what people call it, such as `bucket acme-lake`."""

    @abstractmethod
    def outputs(self, inputs: Inputs) -> tuple[str, Outputs]:
        """Return the id and outputs that the provider would give, as far as inputs tell."""

    def desired(self, inputs: Inputs) -> Outputs:
        """Return the part of the API's own representation that the inputs decide."""
        return dict(inputs)

    @abstractmethod
    def apply(self, api: Api, inputs: Inputs, known: Outputs) -> Outputs:
        """Create or update it; return outputs only the API knows, which come back as `known` next time."""

    @abstractmethod
    def observe(self, api: Api, inputs: Inputs, known: Outputs) -> Outputs | None:
        """Return what is there now, in the form of `desired`; None where nothing is."""

    @abstractmethod
    def delete(self, api: Api, inputs: Inputs, known: Outputs) -> None:
        """Remove it, with its content where the inputs allow that; nothing happens where it is gone."""


def merge_patch(present: Outputs, body: Outputs, optional: tuple[str, ...]) -> Outputs:
    """Return the body that also takes out labels and optional parts which are no longer wanted."""
    gone = {name: None for name in optional if name in present and name not in body}
    labels = {name: None for name in present.get("labels", {}) if name not in body["labels"]}
    return {**body, **gone, "labels": {**labels, **body["labels"]}}
