"""The loopback ports that services listen on, and free ones where those are taken."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping

from taxiway.errors import PreflightError

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
