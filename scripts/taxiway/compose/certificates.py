"""Certificates by which two ends of a connection know each other: no authority, no expiry."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime

BEGIN = "-----BEGIN CERTIFICATE"


def make(secret: str, name: str) -> str:
    """A private key and its certificate, as PEM: of one secret always the same."""
    # Takes 0.25 s to import, which nobody else should wait for.
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization as forms
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(secret.encode()).digest())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    signed = (
        x509.CertificateBuilder(subject, subject, key.public_key(), serial_number=1)
        .not_valid_before(datetime(2024, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(9999, 12, 31, tzinfo=UTC))
        .sign(key, None)
    )
    private = key.private_bytes(forms.Encoding.PEM, forms.PrivateFormat.PKCS8, forms.NoEncryption())
    return (private + signed.public_bytes(forms.Encoding.PEM)).decode()


def public(pem: str) -> str:
    """What the other end may have of it."""
    return pem[pem.index(BEGIN) :]
