"""Take a stack down, ask the cloud itself whether anything is left of it, and only then forget it."""

from __future__ import annotations

from taxiway.engines import Engine, StandsError


def destroy(engine: Engine) -> list[str]:
    """Remove the stack; returns what is gone. StandsError with the list of what is not: the stack is kept."""
    gone, left = engine.destroy(), engine.leftovers()
    if left:
        raise StandsError(f"the stack left something behind: {', '.join(left)}", "Call scripts/down again.")
    # Not before: who calls again after an interruption must not be told that nothing was ever there.
    engine.forget()
    return gone
