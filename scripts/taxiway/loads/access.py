"""Whether the stack's account may do yet what it has just been granted."""

from __future__ import annotations

from collections.abc import Callable

from elt import status
from elt.connections import Connections
from elt.errors import AccessDeniedError
from taxiway.waiting import Patience

# Google: a change of access takes "typically 2 minutes, potentially 7 minutes or longer".
GRANT_SECONDS = 600.0
REMEDY = "See who may do what: scripts/drift names grants that are missing."


def wait_until_allowed(
    connections: Connections, say: Callable[[str], None], patience: Patience | None = None
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

    patience = patience or Patience(GRANT_SECONDS, REMEDY, remind=say, every=10.0)
    patience.until(allowed, lambda: denial)
