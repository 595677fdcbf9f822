"""Real servers of files: an S3 with accounts (moto's), an SFTP server (asyncssh's); a line that breaks."""

import asyncio
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncssh
import boto3
import requests
from emulators import free_port

REGION = "eu-west-1"
READER = {"Effect": "Allow", "Action": ["s3:GetObject", "s3:ListBucket"], "Resource": "*"}


@dataclass(frozen=True)
class S3:
    """A running server, its administrator's client, and the key of a user who may read."""

    url: str
    admin: Any
    key: str
    secret: str

    def connection(self, **fields: Any) -> str:
        """An Airflow connection to it."""
        extra = {"endpoint_url": self.url, "region_name": REGION, **fields.pop("extra", {})}
        return json.dumps(
            {"conn_type": "aws", "login": self.key, "password": self.secret, **fields, "extra": extra}
        )

    def put(self, bucket: str, key: str, content: bytes) -> None:
        """Write an object, as whoever may."""
        requests.post(f"{self.url}/moto-api/reset-auth", data=b"999999999", timeout=30)
        with suppress(self.admin.exceptions.BucketAlreadyOwnedByYou):
            self.admin.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": REGION})
        self.admin.put_object(Bucket=bucket, Key=key, Body=content)
        requests.post(f"{self.url}/moto-api/reset-auth", data=b"0", timeout=30)

    def remove(self, bucket: str, key: str) -> None:
        """Delete an object."""
        requests.post(f"{self.url}/moto-api/reset-auth", data=b"999999999", timeout=30)
        self.admin.delete_object(Bucket=bucket, Key=key)
        requests.post(f"{self.url}/moto-api/reset-auth", data=b"0", timeout=30)


@contextmanager
def s3_running(folder: Path) -> Iterator[S3]:
    """Run an S3 that checks signatures and policies, as Amazon's does."""
    url = f"http://127.0.0.1:{free_port()}"
    environment = {**os.environ, "INITIAL_NO_AUTH_ACTION_COUNT": "999999999"}
    with (folder / "moto.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-p", url.rpartition(":")[2]],
            stdout=log, stderr=log, env=environment,
        )  # fmt: skip
    try:
        deadline = time.monotonic() + 120
        while True:
            try:
                requests.get(f"{url}/moto-api/", timeout=5)
                break
            except requests.ConnectionError:
                assert process.poll() is None and time.monotonic() < deadline, (
                    folder / "moto.log"
                ).read_text()
                time.sleep(0.1)
        about = {
            "endpoint_url": url, "region_name": REGION,
            "aws_access_key_id": "admin", "aws_secret_access_key": "admin",
        }  # fmt: skip
        iam = boto3.client("iam", **about)
        iam.create_user(UserName="reader")
        key = iam.create_access_key(UserName="reader")["AccessKey"]
        policy = json.dumps({"Version": "2012-10-17", "Statement": [READER]})
        iam.put_user_policy(UserName="reader", PolicyName="reader", PolicyDocument=policy)
        iam.create_user(UserName="stranger")
        yield S3(url, boto3.client("s3", **about), key["AccessKeyId"], key["SecretAccessKey"])
    finally:
        process.kill()
        process.wait()


@dataclass
class Sftp:
    """A running server over one folder; `password` and `private_key` let `reader` in."""

    folder: Path
    port: int
    host_key: str
    private_key: str
    password: str = "of-a-test"

    def connection(self, extra: dict[str, Any] | None = None, **fields: Any) -> str:
        """An Airflow connection to it."""
        about = {"conn_type": "sftp", "host": "127.0.0.1", "port": self.port, "login": "reader"}
        about |= {"password": self.password, **fields}
        return json.dumps({**about, "extra": {"host_key": self.host_key} if extra is None else extra})


@contextmanager
def sftp_running(folder: Path) -> Iterator[Sftp]:
    """Run an SFTP server in a thread with a loop of its own."""
    host, user = (asyncssh.generate_private_key("ssh-ed25519") for _ in range(2))
    served = folder / "served"
    served.mkdir()

    class Login(asyncssh.SSHServer):
        def begin_auth(self, username: str) -> bool:
            return True

        def password_auth_supported(self) -> bool:
            return True

        def validate_password(self, username: str, password: str) -> bool:
            return (username, password) == ("reader", found.password)

        def public_key_auth_supported(self) -> bool:
            return True

        def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
            return username == "reader" and key == user.convert_to_public()

    async def serve() -> asyncssh.SSHAcceptor:
        return await asyncssh.listen(
            "127.0.0.1", 0, server_factory=Login, server_host_keys=[host],
            sftp_factory=lambda channel: asyncssh.SFTPServer(channel, chroot=bytes(served)),
        )  # fmt: skip

    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    acceptor = asyncio.run_coroutine_threadsafe(serve(), loop).result(30)
    found = Sftp(
        served, acceptor.get_port(),
        host.export_public_key().decode().strip(), user.export_private_key().decode(),
    )  # fmt: skip
    yield found
    loop.call_soon_threadsafe(acceptor.close)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(10)


@dataclass
class Line:
    """A connection to a server that breaks: each of `cuts` is the bytes of one answer that still arrive."""

    port: int
    cuts: list[int] = field(default_factory=list)
    opened: int = 0


@contextmanager
def line_to(port: int) -> Iterator[Line]:
    """Forward connections to a port of this machine; those that `cuts` are left for are broken off."""
    listener = socket.create_server(("127.0.0.1", 0))
    line = Line(listener.getsockname()[1])

    def forward(source: socket.socket, target: socket.socket, left: int | None) -> None:
        with suppress(OSError):
            while piece := source.recv(1 << 16):
                piece = piece if left is None else piece[:left]
                target.sendall(piece)
                if left is not None:
                    left -= len(piece)
                    if left <= 0:
                        break
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def accept() -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                server = socket.create_connection(("127.0.0.1", port))
                line.opened += 1
                cut = line.cuts.pop(0) if line.cuts else None
                for pair in ((client, server, None), (server, client, cut)):
                    threading.Thread(target=forward, args=pair, daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    yield line
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
