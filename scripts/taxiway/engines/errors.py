"""What an engine may fail with."""

from __future__ import annotations

from taxiway.errors import TaxiwayError


class EngineError(TaxiwayError):
    """Infrastructure could not be brought to what the program declares."""
