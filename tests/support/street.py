"""Hosts side by side: each a network namespace with an address of its own on one link, which can be cut.

A host is a Compose project whose gateway has one more network card, on a bridge of this machine. Where the
platform is, that is the bridge's own address. A link that is cut is set down: neither side is told.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from compose_stack import docker

PREFIX = "taxiway-street-"
OVERRIDE = """\
services:
  gateway:
    networks: {{street: }}
networks:
  street: {{external: true, name: {name}}}
"""
# `ip link set INDEX up|down`, for a machine and an image without iproute2. The numbers: SIOCGIFFLAGS, IFF_UP.
SWITCH = """
import fcntl, socket, struct, sys
name = socket.if_indextoname(int(sys.argv[1])).encode()
with socket.socket() as any:
    asked = fcntl.ioctl(any, 0x8913, struct.pack("16sH14x", name, 0))
    flags = struct.unpack_from("H", asked, 16)[0]
    fcntl.ioctl(any, 0x8914, struct.pack("16sH14x", name, flags | 1 if sys.argv[2] == "up" else flags & ~1))
"""


@contextmanager
def street() -> Iterator[str]:
    """The name of a bridge; those of tests that were killed go first, with all that was beside them."""
    for name in docker("network", "ls", "--filter", f"name={PREFIX}", "--format", "{{.Name}}").split():
        if not Path("/proc", name.removeprefix(PREFIX)).exists():
            remove(name)
    made = f"{PREFIX}{os.getpid()}"
    docker("network", "create", made)
    try:
        yield made
    finally:
        remove(made)


def remove(name: str) -> None:
    """Remove a bridge, and the projects that are on it."""
    label = '{{.Label "com.docker.compose.project"}}'
    for project in {*docker("ps", "--all", "--filter", f"network={name}", "--format", label).split()}:
        down = ["docker", "compose", "-p", project, "down", "--volumes", "--timeout", "0"]
        subprocess.run(down, check=True, capture_output=True, timeout=120, cwd="/")
    docker("network", "rm", name)


def central_address(name: str) -> str:
    """The address of this machine on the bridge."""
    return docker("network", "inspect", name, "--format", "{{(index .IPAM.Config 0).Gateway}}").strip()


def address(name: str, container: str) -> str:
    """The address of a host's gateway on the bridge."""
    return _network(name, container, "IPAddress")


def switch(name: str, container: str, how: str) -> None:
    """Set the link of a host `down` or `up`, at the bridge's end."""
    own = _network(name, container, "MacAddress")
    found = "cd /sys/class/net; for card in *; do echo $(cat $card/address $card/iflink); done"
    cards = dict(line.split() for line in docker("exec", container, "sh", "-c", found).splitlines())
    image = docker("inspect", container, "--format", "{{.Image}}").strip()
    allowed = ("--network", "host", "--user", "0:0", "--cap-drop", "ALL", "--cap-add", "NET_ADMIN")
    docker("run", "--rm", *allowed, "--entrypoint", "python", image, "-c", SWITCH, cards[own], how)


def _network(name: str, container: str, fact: str) -> str:
    chosen = f'{{{{(index .NetworkSettings.Networks "{name}").{fact}}}}}'
    return docker("inspect", container, "--format", chosen).strip()
