"""Asks the platform's gateway whether this host may join: it must be invited, and run the same code.

    admission SECRETS CHECKOUT HOST PORT

Before its worker starts: other code would run silently, and who is not let in would wait without a reason.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import sys
from pathlib import Path

from taxiway.compose.hosts import gateway, same_code
from taxiway.errors import PreflightError, TaxiwayError

SECONDS = 30.0


async def ask(secrets: Path, checkout: Path, address: tuple[str, int]) -> None:
    """PreflightError with what keeps this host out."""
    there = f"the gateway at {address[0]}:{address[1]}"
    try:
        async with asyncio.timeout(SECONDS):
            tls = gateway.reaching(secrets, gateway.CODE)
            reader, writer = await asyncio.open_connection(*address, ssl=tls)
            answer = await _all(reader)
            writer.close()
    except ssl.SSLCertVerificationError:
        answer = b""
    except (OSError, TimeoutError) as error:
        raise PreflightError(
            f"{there} does not answer: {error or 'no answer in time'}",
            "Start it there, and let its port through; TAXIWAY_ADDRESS and GATEWAY_PORT say where it is.",
        ) from None
    if not answer:
        raise PreflightError(
            f"{there} does not let this host in: its invitation is void, or another platform's",
            "Make an invitation there, and unpack it here: docs/compose.md#workers-on-other-hosts",
        )
    if files := same_code.difference(
        await asyncio.to_thread(same_code.digests, checkout), json.loads(answer)
    ):
        raise PreflightError(
            f"this checkout has other code than the platform's: {files}",
            "Bring both to the same commit, edits included, then call `docker compose up` again.",
        )


async def _all(reader: asyncio.StreamReader) -> bytes:
    # By TLS 1.3 the certificate of who calls is refused after the call: what is read first is the end.
    try:
        return await reader.read()
    except (ssl.SSLError, ConnectionError):
        return b""


def main(secrets: str, checkout: str, host: str, port: str) -> int:
    """0 if it may."""
    try:
        asyncio.run(ask(Path(secrets), Path(checkout), (host, int(port))))
    except TaxiwayError as error:
        sys.stderr.write(f"admission: {error}\nadmission: remedy: {error.remedy}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
