"""Certificates by which two ends of a connection know each other: no expiry."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

BEGIN = "-----BEGIN CERTIFICATE"


def make(secret: str, name: str) -> str:
    """A private key and its own certificate, which may sign others, as PEM: of one secret always the same."""
    # Takes 0.25 s to import, which nobody else should wait for.
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(secret.encode()).digest())
    return _signed(key, name, key, name, serial=1)


def issue(issuer: str, issuer_name: str, name: str) -> str:
    """A new private key, and its certificate, which the key in `issuer`, a PEM of `make`, has signed."""
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    signer = cast("Ed25519PrivateKey", load_pem_private_key(issuer.encode(), None))
    serial = x509.random_serial_number()
    return _signed(Ed25519PrivateKey.generate(), name, signer, issuer_name, serial)


def _signed(
    key: Ed25519PrivateKey, name: str, signer: Ed25519PrivateKey, signer_name: str, serial: int
) -> str:
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization as forms

    def called(common: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common)])

    signed = (
        x509.CertificateBuilder(called(signer_name), called(name), key.public_key(), serial)
        .not_valid_before(datetime(2024, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(9999, 12, 31, tzinfo=UTC))
        .add_extension(x509.BasicConstraints(ca=key is signer, path_length=None), critical=True)
        .sign(signer, None)
    )
    private = key.private_bytes(forms.Encoding.PEM, forms.PrivateFormat.PKCS8, forms.NoEncryption())
    return (private + signed.public_bytes(forms.Encoding.PEM)).decode()


def public(pem: str) -> str:
    """What the other end may have of it."""
    return pem[pem.index(BEGIN) :]
