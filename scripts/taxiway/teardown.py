"""Take a stack down and ask the cloud itself whether anything is left of it."""

from __future__ import annotations

from taxiway.engines import Engine
from taxiway.errors import TaxiwayError


def destroy(engine: Engine) -> list[str]:
    """Remove everything of the stack; returns what is gone, TaxiwayError with the list of what is not."""
    gone, left = engine.destroy(), engine.leftovers()
    if left:
        raise TaxiwayError(f"the stack left something behind: {', '.join(left)}", "Call scripts/down again.")
    return gone
