"""One port between two hosts, by which workers reach the platform's services.

By TLS, and each end knows the other by its certificate: nobody else passes, nor who is no longer a guest.

    gateway serve SECRETS GUESTS CHECKOUT   where the platform is
    gateway reach SECRETS HOST PORT         where a worker is, which finds each service at its usual port

A connection names its service by ALPN.
"""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import sys
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from taxiway.compose.hosts import same_code
from taxiway.compose.hosts.guests import Guests
from taxiway.environment.ports import USUAL

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
PORT = 8443
ANYWHERE = "0.0.0.0"  # noqa: S104 - of a container; what is published where is in docker-compose.yaml
SERVICES: Mapping[str, int] = {
    "airflow-api-server": USUAL["api-server"],
    "redis": 6379,
    "taxi-postgres": USUAL["postgres"],
    **{name: USUAL[name] for name in ("gcs", "bigquery", "sample-source", "google-tokens")},
}
"""What a worker calls, and no more: Airflow's database is not among it."""
CODE = "code"
"""The service that says which code the platform runs."""
CONNECT_SECONDS = 10.0
# How long a connection may outlive its invitation.
LOOK_SECONDS = 2.0
# A host that is cut off says nothing: after half a minute its connections are over, and made anew.
LIVENESS = {
    socket.TCP_KEEPIDLE: 10,
    socket.TCP_KEEPINTVL: 5,
    socket.TCP_KEEPCNT: 4,
    socket.TCP_USER_TIMEOUT: 30_000,
}


def context(secrets: Path, own: str, other: str) -> ssl.SSLContext:
    """TLS 1.3 with the certificate of `own`, for whoever has that of `other`."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if own == "gateway" else ssl.PROTOCOL_TLS_CLIENT)
    made.minimum_version = ssl.TLSVersion.TLSv1_3
    # It is the very certificate that is asked for, whatever the host's address.
    made.check_hostname = False
    made.verify_mode = ssl.CERT_REQUIRED
    made.load_cert_chain(secrets / f"{own}.pem")
    made.load_verify_locations(secrets / f"{other}.crt")
    return made


def reaching(secrets: Path, service: str) -> ssl.SSLContext:
    """What a worker calls a service with."""
    made = context(secrets, "worker", "gateway")
    made.set_alpn_protocols([service])
    return made


async def serve(
    secrets: Path,
    guests: Guests,
    checkout: Path,
    host: str = ANYWHERE,
    port: int = PORT,
    services: Mapping[str, int] = SERVICES,
) -> asyncio.Server:
    """Pass on to services what comes from guests."""
    tls = context(secrets, "gateway", "worker")
    tls.set_alpn_protocols([*services, CODE])

    def asked(near: asyncio.StreamWriter) -> str | None:
        """Which service; ConnectionError unless whoever asks is invited."""
        call = near.get_extra_info("ssl_object")
        if not guests.include(call.getpeercert(binary_form=True)):
            raise ConnectionError("its invitation is void")
        name: str | None = call.selected_alpn_protocol()
        return name

    async def dial(near: asyncio.StreamWriter) -> Streams:
        name = asked(near)
        if name is None:
            raise ConnectionError("it asks for no service that there is")
        return await asyncio.open_connection(name, services[name])

    async def revoked(near: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while asked(near):
                await asyncio.sleep(LOOK_SECONDS)

    join = _joining(dial, revoked)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            if asked(writer) == CODE:
                writer.write(json.dumps(await asyncio.to_thread(same_code.digests, checkout)).encode())
                writer.close()
                return
        await join(reader, writer)

    return await asyncio.start_server(answer, host, port, ssl=tls)


async def reach(
    secrets: Path, address: tuple[str, int], host: str = ANYWHERE, services: Mapping[str, int] = SERVICES
) -> list[asyncio.Server]:
    """Offer each service here at its port, by the gateway at `address`."""

    async def offer(name: str, port: int) -> asyncio.Server:
        tls = reaching(secrets, name)

        async def dial(_: asyncio.StreamWriter) -> Streams:
            return await asyncio.open_connection(*address, ssl=tls)

        return await asyncio.start_server(_joining(dial), host, port)

    return [await offer(name, port) for name, port in services.items()]


def _joining(
    dial: Callable[[asyncio.StreamWriter], Awaitable[Streams]],
    revoked: Callable[[asyncio.StreamWriter], Coroutine[Any, Any, None]] | None = None,
) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
    async def join(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.wait_for(dial(writer), CONNECT_SECONDS)
        except (OSError, TimeoutError) as error:
            sys.stderr.write(f"gateway: no connection: {error}\n")
            writer.close()
            return
        ends = [_pour(reader, far_writer), _pour(far_reader, writer), *([revoked(writer)] if revoked else [])]
        tasks = [asyncio.create_task(end) for end in ends]
        # Whoever ends it ends it for both.
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        writer.close()
        far_writer.close()

    return join


async def _pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    connection = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in LIVENESS.items():
        connection.setsockopt(socket.IPPROTO_TCP, option, value)
    with suppress(OSError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()


async def main(what: str, secrets: str, *more: str) -> None:
    """Until it is told to end."""
    if what == "serve":
        guests, checkout = more
        await serve(Path(secrets), Guests(Path(guests)), Path(checkout))
    else:
        host, port = more
        await reach(Path(secrets), (host, int(port)))
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
