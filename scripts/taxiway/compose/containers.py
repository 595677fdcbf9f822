"""What Compose says of its containers, in the words of the verbs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

Container = Mapping[str, Any]
"""One object of `docker compose ps --format json`."""


def state(container: Container) -> str:
    """RUNNING, STARTING, STOPPED, EXITED (as it should), or FATAL: it will not get well by itself."""
    word, health = container["State"], container.get("Health", "")
    if word == "restarting" or (word == "exited" and container["ExitCode"]) or health == "unhealthy":
        return "FATAL"
    if word == "exited":
        return "EXITED"
    if word != "running":
        return "STOPPED"
    return "STARTING" if health == "starting" else "RUNNING"


def states(containers: Iterable[Container]) -> dict[str, str]:
    """State of each service; of several containers of one the state of that which is worst off."""
    found: dict[str, str] = {}
    for container in containers:
        if found.get(container["Service"], "RUNNING") == "RUNNING":
            found[container["Service"]] = state(container)
    return found


def address(service: Mapping[str, Any]) -> str:
    """URL at which a service of `docker compose config` is published; empty where it is not."""
    published = [port["published"] for port in service.get("ports", []) if port.get("published")]
    if not published:
        return ""
    database = str(service.get("image", "")).startswith("postgres")
    return f"postgresql://127.0.0.1:{published[0]}/taxi" if database else f"http://127.0.0.1:{published[0]}"


def complaint(output: str) -> str:
    """The line in which docker says what is wrong; it may say much after it."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    blamed = [
        line for line in lines if any(word in line.lower() for word in ("error", "failed", "unhealthy"))
    ]
    return (blamed or lines or ["it said nothing"])[-1]


def named_in(complaint: str, containers: Iterable[Container]) -> str:
    """The service that a complaint of Compose is about; empty where it names none."""
    for container in containers:
        if container["Name"] in complaint or f'service "{container["Service"]}"' in complaint:
            return str(container["Service"])
    return ""
