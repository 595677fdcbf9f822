"""A proxy that ends the tunnels through it itself: what a process says by HTTPS is seen on loopback.

The process is told by variables: HTTPS_PROXY, and REQUESTS_CA_BUNDLE or SSL_CERT_FILE for the certificate.
"""

from __future__ import annotations

import datetime as dt
import ssl
import tempfile
from collections.abc import Mapping
from functools import cache
from http.server import BaseHTTPRequestHandler
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID
from http_server import HttpServer

GOOGLE = ".googleapis.com"


class Tunnel(BaseHTTPRequestHandler):
    """Handles each request, tunnelled or not: `handle_request` gets the host, empty without a tunnel."""

    server: HttpServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    host = ""

    def handle_request(self, host: str, body: bytes) -> None:
        raise NotImplementedError

    def do_CONNECT(self) -> None:
        self.host = self.path.partition(":")[0]
        self.send_response(200)
        self.end_headers()
        self.wfile.flush()
        # It takes the plain one's place, also among those that the server closes at its end.
        self.connection = context().wrap_socket(self.connection, server_side=True)
        self.server.keep(self.connection)
        self.rfile = self.connection.makefile("rb")
        self.wfile = self.connection.makefile("wb")
        self.close_connection = False

    def finish(self) -> None:
        super().finish()
        if self.connection is not self.request:
            self.server.shutdown_request(self.connection)

    def _any(self) -> None:
        self.handle_request(self.host, self._body())

    def _body(self) -> bytes:
        if self.headers.get("transfer-encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("content-length", 0)))
        pieces = []
        while size := int(self.rfile.readline().partition(b";")[0], 16):
            pieces.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(pieces)

    def reply(self, status: int, headers: Mapping[str, str], content: bytes) -> None:
        """Answer; the length is that of the content."""
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = _any  # noqa: N815

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@cache
def private_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


@cache
def certificate() -> tuple[bytes, bytes]:
    """A certificate for all of Google's hosts that vouches for itself, and its key; both as PEM."""
    key, name = private_key(), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Google on loopback")])
    day = dt.timedelta(days=1)
    now = dt.datetime.now(dt.UTC)
    names = x509.SubjectAlternativeName([x509.DNSName(f"*{GOOGLE}")])
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - day)
        .not_valid_after(now + day)
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    return signed.public_bytes(pem), key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain)


@cache
def context() -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.NamedTemporaryFile() as file:
        file.write(b"".join(certificate()))
        file.flush()
        made.load_cert_chain(file.name)
    return made
