"""The passphrase of the stacks on this machine: made once, private, never shown."""

from __future__ import annotations

import base64
import hashlib
import secrets
from pathlib import Path

from taxiway.environment.home import write_atomically
from taxiway.infrastructure.errors import EngineError


def passphrase_file(folder: Path) -> Path:
    """Return the file in a folder that holds its passphrase, made at the first call."""
    path = folder / "passphrase"
    if not path.exists():
        write_atomically(path, secrets.token_urlsafe(32))
    return path


def encrypt(folder: Path, text: str) -> str:
    """Return a text encrypted with the folder's passphrase."""
    return _cipher(folder).encrypt(text.encode()).decode()  # type: ignore[no-any-return, attr-defined]


def decrypt(folder: Path, text: str) -> str:
    """Return what `encrypt` was given; raises EngineError where that was with another passphrase."""
    from cryptography.fernet import InvalidToken

    try:
        return _cipher(folder).decrypt(text.encode()).decode()  # type: ignore[no-any-return, attr-defined]
    except InvalidToken:
        raise EngineError(
            f"{passphrase_file(folder)} is not what the state beside it is encrypted with.",
            "Put the file back as it was.",
        ) from None


def _cipher(folder: Path) -> object:
    # Only a stack with a key has a secret, and the import is slow.
    from cryptography.fernet import Fernet

    digest = hashlib.sha256(passphrase_file(folder).read_bytes()).digest()
    return Fernet(base64.urlsafe_b64encode(digest))
