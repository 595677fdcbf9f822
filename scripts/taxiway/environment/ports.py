"""The loopback ports that services listen on, free ones where those are taken, and how they are held."""

from __future__ import annotations

import errno
import os
import socket
import sys
from collections.abc import Callable, Mapping

from taxiway.errors import PreflightError, TaxiwayError
from taxiway.waiting import Patience

USUAL: Mapping[str, int] = {
    "api-server": 8080,
    "postgres": 5432,
    "gcs": 9023,
    "bigquery": 9050,
    "bigquery-grpc": 9060,
    "control-plane": 9070,
    "sample-source": 9080,
    "google-tokens": 9085,
    "supervisor": 9001,
    "worker-logs": 8793,
    "trigger-logs": 8794,
}
_SEARCH = 200
# Linux takes a minute until a connection is closed.
CLOSING = Patience(70, first=2)
# Linux lets sockets share a port (SO_REUSEPORT) that are all of one user's. Elsewhere one that is bound and
# does not listen may be given the connections of the other.
_SHARED = sys.platform == "linux"


def is_free(port: int) -> bool:
    """Whether a server could listen on 127.0.0.1:`port` now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # Like the servers themselves: a port whose last connection is in TIME_WAIT is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def choose_ports(wanted: Mapping[str, int], report: Callable[[str], None]) -> dict[str, int]:
    """Pick a distinct free port for each name, searching upwards from the preferred one.

    A sentence goes to `report` for each that is not the preferred one; PreflightError if none is free.
    """
    chosen: dict[str, int] = {}
    for name, first in wanted.items():
        candidates = range(first, min(first + _SEARCH, 65536))
        port = next((p for p in candidates if p not in chosen.values() and is_free(p)), None)
        if port is None:
            raise PreflightError(
                f"no free port for {name} between {first} and {first + _SEARCH} on 127.0.0.1",
                "Stop what listens there, then call again.",
            )
        if port != first:
            report(f"port {first} is taken: {name} uses {port}")
        chosen[name] = port
    return chosen


def hold(port: int, patience: Patience = CLOSING) -> socket.socket:
    """Bind a port of 127.0.0.1 without listening: while the socket is open, no other user can have it.

    Services of the same user, which `listen`, can. PreflightError if somebody else has it by now.
    """
    one = socket.socket()
    if not _SHARED:
        return one
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)

    def bound() -> bool:
        try:
            one.bind(("127.0.0.1", port))
        except OSError:
            if is_free(port):
                return False
            raise
        return True

    # No SO_REUSEADDR: others who set it could bind the port, too. So connections that are closing count, for
    # a minute, if the service that had them did not share its port.
    try:
        patience.until(
            bound,
            lambda: f"earlier connections of port {port} are closing, for {patience.seconds:.0f} s at most",
        )
    except (OSError, TaxiwayError):
        one.close()
        why = f"port {port} on 127.0.0.1 is taken by another program now"
        raise PreflightError(why, "Call again: another one is chosen.") from None
    return one


def refuse_shared(host: str, port: int) -> None:
    """OSError if a service listens there: of two that share a port, each would get half of the requests."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.settimeout(1)
        if port and probe.connect_ex((host, port)) == 0:
            raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))


def listen(host: str, port: int) -> socket.socket:
    """A listening socket, on a port that may be held. OSError if the port is taken."""
    refuse_shared(host, port)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=128, reuse_port=_SHARED)
