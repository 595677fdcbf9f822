"""Files on an SFTP server, by asyncssh: one connection, and an event loop that runs while somebody waits."""

from __future__ import annotations

import asyncio
import base64
import datetime as dt
import logging
import stat
from collections.abc import Coroutine, Generator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

import asyncssh

from elt.errors import PermanentError, SettingError, TransientError, first_line
from elt.sources.client import Limits, Patience, Published
from elt.sources.files import ChangedError, Files

if TYPE_CHECKING:
    from elt.connection_fields import ConnectionFields

# Seconds to connect and log in within, and for each answer.
_CONNECT, _ANSWER = 30.0, 60.0
# Bytes that are asked for at once: the client divides them into requests that are on their way together.
_PIECE = 1 << 20
T = TypeVar("T")

# It tells of each connection and each login.
asyncssh.set_log_level(logging.WARNING)


class SftpFiles(Files):
    """Files by sftp:// addresses below one server. An Airflow connection has the fields of its SFTP type.

    `login` with `password`, or in `extra` with `key_file` or `private_key` (and `private_key_passphrase`).
    The server has to show the key in `extra.host_key`, else one of ~/.ssh/known_hosts; only
    `extra.no_host_key_check` = true accepts any.
    """

    def __init__(
        self,
        url: str,
        found: ConnectionFields | None,
        limits: Limits | None = None,
        patience: Patience | None = None,
    ) -> None:
        super().__init__(limits, patience)
        place = urlsplit(url)
        self._host, self._port, self._found = place.hostname or "", place.port or 22, found
        self._server = f"sftp://{self._host}:{self._port}"
        self._runner: asyncio.Runner | None = None
        self._connection: asyncssh.SSHClientConnection | None = None
        self._sftp: asyncssh.SFTPClient | None = None

    def close(self) -> None:
        """End the connection."""
        connection, self._connection, self._sftp = self._connection, None, None
        if connection:
            connection.abort()
        runner, self._runner = self._runner, None
        if runner:
            runner.close()

    def find(self, url: str) -> Published | None:
        """Ask for a file's size and date."""
        try:
            found = self._ask(url, lambda sftp: sftp.stat(_path(url)))
        except asyncssh.SFTPError:
            return None
        return _published(url, found)

    def list(self, beginning: str) -> Iterator[Published]:
        """Read one folder; one that is not there has no files."""
        folder, _, start = beginning.rpartition("/")
        try:
            names = self._ask(folder, lambda sftp: sftp.readdir(_path(f"{folder}/")))
        except asyncssh.SFTPError:
            return
        for each in names:
            name = each.filename if isinstance(each.filename, str) else each.filename.decode(errors="replace")
            if name.startswith(start) and (found := self._listed(f"{folder}/{name}", each.attrs)):
                yield found

    def _listed(self, url: str, about: asyncssh.SFTPAttrs) -> Published | None:
        # A listing describes a link itself, not the file it leads to.
        is_link = about.permissions is not None and stat.S_ISLNK(about.permissions)
        return self.find(url) if is_link else _published(url, about)

    def read(self, file: Published, start: int) -> Generator[bytes, None, None]:
        """Read a file that nobody may write meanwhile."""
        try:
            handle = self._ask(file.url, lambda sftp: sftp.open(_path(file.url), "rb"))
            self._check_same(file, handle)
            while piece := bytes(self._ask(file.url, lambda _, at=start: handle.read(_PIECE, at))):
                yield piece
                start += len(piece)
            self._check_same(file, handle)
            self._ask(file.url, lambda _: handle.close())
        except asyncssh.SFTPError:
            raise ChangedError(file.url) from None

    def _check_same(self, file: Published, handle: asyncssh.SFTPClientFile) -> None:
        if _published(file.url, self._ask(file.url, lambda _: handle.stat())) != file:
            raise ChangedError(file.url)

    def _ask(self, url: str, what: Any) -> Any:
        """Wait for one answer; asyncssh.SFTPError only where the server says that a file is not there."""
        try:
            if self._sftp is None:
                self._sftp = self._wait(self._connect(), _CONNECT)
            return self._wait(what(self._sftp), _ANSWER)
        except (asyncssh.SFTPNoSuchFile, asyncssh.SFTPNoSuchPath):
            raise
        except asyncssh.SFTPPermissionDenied:
            raise PermanentError(f"{url}: the login may not read it. Let it, or use another login.") from None
        except (asyncssh.Error, OSError, EOFError) as error:
            # The connection may hold half an answer: the next question has one of its own.
            with suppress(Exception):
                self.close()
            raise self._meaning(error) from None

    def _wait(self, what: Coroutine[Any, Any, T], seconds: float) -> T:
        self._runner = self._runner or asyncio.Runner()
        return self._runner.run(asyncio.wait_for(what, seconds))

    async def _connect(self) -> asyncssh.SFTPClient:
        self._connection = await asyncssh.connect(self._host, self._port, **self._options())
        return await self._connection.start_sftp_client()

    def _options(self) -> dict[str, Any]:
        """What to log in with, and whom to trust: the connection's alone, whoever this process is."""
        if self._found is None or not self._found.login:
            raise SettingError(
                f"{self._server} wants a login. Set the Airflow connection that the entry names, like "
                '{"conn_type": "sftp", "host": "…", "login": "me", "password": "…"}.'
            )
        extra = self._found.extra
        options: dict[str, Any] = {"config": [], "agent_path": None, "client_keys": None}
        try:
            key, secret = extra.get("private_key"), extra.get("private_key_passphrase") or None
            if not key and extra.get("key_file"):
                key = Path(str(extra["key_file"])).read_text()
            if key:
                options["client_keys"] = [asyncssh.import_private_key(key, secret)]
            if str(extra.get("no_host_key_check", "")).lower() == "true":
                options["known_hosts"] = None
            elif extra.get("host_key"):
                known = f"* {_with_type(str(extra['host_key']))}\n"
                options["known_hosts"] = asyncssh.import_known_hosts(known)
        except (asyncssh.KeyImportError, OSError, ValueError) as error:
            raise PermanentError(
                f"a key of the Airflow connection to {self._server} cannot be used ({first_line(error)}). "
                "Correct key_file, private_key, private_key_passphrase or host_key."
            ) from None
        return {**options, "username": self._found.login, "password": self._found.password or None}

    def _meaning(self, error: Exception) -> Exception:
        if isinstance(error, asyncssh.HostKeyNotVerifiable):
            return PermanentError(
                f"{self._server} shows a host key that is not the known one. If it is right (ssh-keyscan "
                f"-p {self._port} {self._host} shows it), put it into the connection's extra as host_key."
            )
        if isinstance(error, asyncssh.PermissionDenied):
            return PermanentError(
                f"{self._server} does not accept the login. Correct login and password, or the private key, "
                "of the source's Airflow connection."
            )
        said = "timed out" if isinstance(error, TimeoutError) else first_line(error)
        return TransientError(f"{self._server} does not answer ({said}). Is the server up, the port right?")


def _with_type(key: str) -> str:
    """A public key with its type in front, which Airflow lets one leave out."""
    if " " in key.strip():
        return key.strip()
    blob = base64.b64decode(key, validate=True)
    return f"{blob[4 : 4 + int.from_bytes(blob[:4])].decode()} {key.strip()}"


def _path(url: str) -> str:
    return "/" + url.partition("://")[2].partition("/")[2]


def _published(url: str, found: asyncssh.SFTPAttrs) -> Published | None:
    if found.permissions is not None and not stat.S_ISREG(found.permissions):
        return None
    changed = dt.datetime.fromtimestamp(found.mtime or 0, dt.UTC).isoformat()
    return Published(url, None, changed, found.size)
