"""Whether the stack's account may do yet what it has just been granted."""

from __future__ import annotations

import time
from collections.abc import Callable

from elt import status
from elt.connections import Connections
from elt.errors import AccessDeniedError
from taxiway.waiting import Patience

# Google: a change of access takes "typically 2 minutes, potentially 7 minutes or longer".
GRANT_SECONDS = 600.0
REMEDY = "See who may do what: scripts/drift names grants that are missing."


def wait_until_allowed(
    connections: Connections,
    say: Callable[[str], None],
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Return when the account may use lake and warehouse; TaxiwayError after 10 minutes.

    For whoever has just granted it: to any other command a denial has another reason, and is said at once.
    """
    denial = ""

    def allowed() -> bool:
        nonlocal denial
        try:
            status.check_access(connections)
        except AccessDeniedError as error:
            denial = str(error)
            return False
        return True

    patience = Patience(GRANT_SECONDS, REMEDY, remind=say, every=10.0, clock=clock, sleep=sleep)
    patience.until(allowed, lambda: denial)
