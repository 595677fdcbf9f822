"""What the verbs may ask of an engine, whichever it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Protocol

Action = Literal["create", "update", "replace", "delete"]


@dataclass(frozen=True)
class Change:
    """What an `up` would do to one resource; details name the inputs that differ."""

    action: Action
    title: str
    details: tuple[str, ...] = ()


@dataclass(frozen=True)
class Drift:
    """One resource that is not as it was left; details say what differs."""

    title: str
    details: tuple[str, ...]


@dataclass(frozen=True)
class StackInfo:
    """One environment. Times are ISO 8601 in UTC, empty where nothing is known; dollars are for a month."""

    name: str
    owner: str
    target: Literal["emulators", "google-cloud"]
    created: str
    updated: str
    resources: int
    dollars: float | None


class Engine(Protocol):
    """Brings one stack to what the program declares, and takes it down again."""

    def exists(self) -> bool:
        """Tell whether there is such a stack, be it half made."""
        ...

    def up(self) -> dict[str, Any]:
        """Create or update everything; return the stack's outputs, secrets in the clear."""
        ...

    def outputs(self) -> dict[str, Any]:
        """Return the outputs of the last `up`, secrets in the clear; empty before the first."""
        ...

    def preview(self) -> list[Change]:
        """Return what an `up` would change."""
        ...

    def drift(self) -> list[Drift]:
        """Return what was changed behind the engine's back."""
        ...

    def destroy(self) -> list[str]:
        """Remove everything; return what was removed. Repeat it when interrupted.

        Raises StackNotRemovedError for a stack that is protected or locked.
        """
        ...

    def forget(self) -> None:
        """Forget the stack with its settings, whatever the engine believes to be left of it.

        Raises StackNotRemovedError for a stack that is protected.
        """
        ...

    def leftovers(self) -> list[str]:
        """Ask the cloud, by label and by name, what is left of the stack."""
        ...
