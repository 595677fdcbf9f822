"""The hosts that are invited: a file for each, which holds the fingerprint of its certificate."""

from __future__ import annotations

import hashlib
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from taxiway.environment.home import write_atomically
from taxiway.errors import UsageError

NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")


@dataclass(frozen=True)
class Guests:
    """Those in `folder`. Whoever is not there is not let in, whatever has signed its certificate."""

    folder: Path

    def names(self) -> list[str]:
        """All of them."""
        return sorted(file.name for file in self.folder.iterdir() if NAME.fullmatch(file.name))

    def admit(self, name: str, certificate: bytes) -> None:
        """Invite a host, by the DER of its certificate; an earlier one of that name is no longer let in."""
        if not NAME.fullmatch(name):
            raise UsageError(f"{name!r} cannot name a host", "Take small letters, digits and hyphens.")
        write_atomically(self.folder / name, _fingerprint(certificate))

    def revoke(self, name: str) -> None:
        """Take an invitation back."""
        if name not in self.names():
            known = ", ".join(self.names()) or "no host at all"
            raise UsageError(f"no host {name!r} is invited", f"Invited: {known}.")
        (self.folder / name).unlink()

    def include(self, certificate: bytes) -> bool:
        """Whether a host with this certificate is invited."""
        wanted = _fingerprint(certificate)
        for name in self.names():
            with suppress(FileNotFoundError):  # just revoked
                if (self.folder / name).read_text() == wanted:
                    return True
        return False


def _fingerprint(certificate: bytes) -> str:
    return hashlib.sha256(certificate).hexdigest()
