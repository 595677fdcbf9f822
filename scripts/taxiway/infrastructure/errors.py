"""What an engine may fail with."""

from __future__ import annotations

from taxiway.errors import TaxiwayError


class EngineError(TaxiwayError):
    """Infrastructure could not be brought to what the program declares."""


class StackNotRemovedError(EngineError):
    """The stack is not removed, or not wholly: it is protected, locked, or left something behind."""
