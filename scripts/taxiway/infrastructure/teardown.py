"""Take a stack down, ask the cloud itself whether anything is left of it, and only then forget it."""

from __future__ import annotations

from taxiway.infrastructure import Engine, StackNotRemovedError


def destroy(engine: Engine) -> list[str]:
    """Remove the stack and return what is gone; StackNotRemovedError lists what is left."""
    gone, left = engine.destroy(), engine.leftovers()
    if left:
        raise StackNotRemovedError(
            f"the stack left something behind: {', '.join(left)}", "Call scripts/down again."
        )
    # Not before: who calls again after an interruption must not be told that nothing was ever there.
    engine.forget()
    return gone
