"""All that a worker on another host is trusted with, as a tar file; and how to take it back.

invitation --name HOST >HOST.tar     invite a host; an earlier invitation of that name is void
invitation --revoke HOST             end its connections, and let it in no more
invitation --list                    the hosts that are invited
"""

from __future__ import annotations

import argparse
import io
import ssl
import sys
import tarfile
from pathlib import Path
from typing import IO

from taxiway.compose import certificates
from taxiway.compose.hosts.guests import Guests
from taxiway.errors import UsageError

FILES = (
    "broker/broker_url", "broker/result_backend", "taxi/pg_service.conf",
    "emulator/credentials.json", "google/secret", "gateway/worker.pem",
    "gateway/gateway.crt", "settings/environment",
)  # fmt: skip
"""What an `airflow-worker` of this host has, and the worker's end of the gateway."""
CERTIFICATE = "gateway/worker.pem"


def write(to: IO[bytes], name: str, guests: Guests, root: Path = Path("/run/taxiway")) -> None:
    """Write it for the host `name`; whoever unpacks it owns it."""
    own = certificates.issue((root / CERTIFICATE).read_text(), "worker", name)
    guests.admit(name, ssl.PEM_cert_to_DER_cert(certificates.public(own)))
    with tarfile.open(fileobj=to, mode="w|") as tar:
        for file in FILES:
            content = own.encode() if file == CERTIFICATE else (root / file).read_bytes()
            entry = tarfile.TarInfo(file)
            entry.mode, entry.size = 0o440, len(content)
            tar.addfile(entry, io.BytesIO(content))


def main(arguments: list[str]) -> int:
    """Do what is asked; 2 for what makes no sense."""
    parser = argparse.ArgumentParser(prog="invitation", description=__doc__)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--name", metavar="HOST", help="invite it: a tar file on standard output; an earlier one is void"
    )
    what.add_argument("--revoke", metavar="HOST", help="end its connections, and let it in no more")
    what.add_argument("--list", action="store_true", help="the hosts that are invited")
    asked, guests = parser.parse_args(arguments), Guests(Path("/data"))
    try:
        if asked.list:
            sys.stdout.writelines(f"{name}\n" for name in guests.names())
        elif asked.revoke:
            guests.revoke(asked.revoke)
        else:
            write(sys.stdout.buffer, asked.name, guests)
    except UsageError as error:
        sys.stderr.write(f"invitation: {error}\ninvitation: remedy: {error.remedy}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
