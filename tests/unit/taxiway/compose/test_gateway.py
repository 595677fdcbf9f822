"""What passes between two hosts, and what does not."""

from __future__ import annotations

import asyncio
import socket
import ssl
import tarfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import pytest

from taxiway.compose import certificates, prepare
from taxiway.compose.hosts import admission, gateway, invitation, same_code
from taxiway.compose.hosts.guests import Guests
from taxiway.errors import PreflightError, UsageError

# The service is dialled by its name, as in a network of containers.
NAME, HERE, THERE = "localhost", "127.0.0.1", "127.0.0.2"
GREETING = b"hello from afar"
T = TypeVar("T")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return laid_out(tmp_path_factory.mktemp("ours"))


def laid_out(folder: Path) -> Path:
    """A platform's secrets, its guests (none yet), and its code."""
    made = prepare.forms({name: generate() for name, generate in prepare.GENERATORS.items()})
    prepare.lay_out(folder, made)
    (folder / "settings").mkdir()
    (folder / "settings" / "environment").write_text("TAXI_SCHEDULE_START=2026-01-01\n")
    (folder / "guests").mkdir()
    (folder / "dags").mkdir()
    (folder / "dags" / "a.py").write_text("a")
    return folder


def guests(root: Path) -> Guests:
    return Guests(root / "guests")


def invite(root: Path, name: str, there: Path) -> Path:
    """Invite a host; what it has unpacked, the gateway's part of it."""
    with (there / f"{name}.tar").open("wb") as file:
        invitation.write(file, name, guests(root), root)
    with tarfile.open(there / f"{name}.tar") as tar:
        assert {entry.mode for entry in tar.getmembers()} == {0o440}
        tar.extractall(there / name, filter="data")
    return there / name / "gateway"


@pytest.fixture
def secrets(root: Path, tmp_path: Path) -> Path:
    """Those of a host that is invited."""
    return invite(root, "north", tmp_path)


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write((await reader.readexactly(len(GREETING))).upper())
    writer.close()


def port_of(server: asyncio.Server) -> int:
    return int(server.sockets[0].getsockname()[1])


def with_a_gateway(
    root: Path, then: Callable[[int, int], Awaitable[T]], behind: Callable[..., Awaitable[None]] = echo
) -> T:
    """What `then` returns of the ports of a gateway and of the only service behind it."""

    async def run() -> T:
        async with await asyncio.start_server(behind, HERE, 0) as service:
            port = port_of(service)
            serving = gateway.serve(root / "gateway", guests(root), root, HERE, 0, {NAME: port})
            async with await serving as open_one:
                return await then(port_of(open_one), port)

    return asyncio.run(run())


async def say(port: int, host: str = HERE, tls: ssl.SSLContext | None = None) -> bytes:
    """What is answered to a greeting; nothing if whoever listens ends the connection."""
    try:
        reader, writer = await asyncio.open_connection(host, port, ssl=tls)
        writer.write(GREETING)
        answer = await asyncio.wait_for(reader.read(), 10)
        writer.close()
    except (ssl.SSLError, ConnectionError):
        return b""
    return answer


def test_a_worker_finds_a_service_at_its_own_port_and_each_end_ends_the_other(
    root: Path, secrets: Path
) -> None:
    async def from_there(gate: int, port: int) -> bytes:
        servers = await gateway.reach(secrets, (HERE, gate), THERE, {NAME: port})
        try:
            return await say(port, THERE)
        finally:
            servers[0].close()

    assert with_a_gateway(root, from_there) == GREETING.upper()


def nobody(*_: Path) -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname, made.verify_mode = False, ssl.CERT_NONE
    return made


def another_platforms(_: Path, there: Path) -> ssl.SSLContext:
    made = nobody()
    made.load_cert_chain(invite(laid_out(there / "theirs"), "north", there) / "worker.pem")
    return made


def who_signs_invitations(root: Path, _: Path) -> ssl.SSLContext:
    made = nobody()
    made.load_cert_chain(root / "gateway" / "worker.pem")
    return made


def who_was_invited_once(root: Path, there: Path) -> ssl.SSLContext:
    made = nobody()
    made.load_cert_chain(invite(root, "south", there) / "worker.pem")
    guests(root).revoke("south")
    return made


def who_was_invited_anew(root: Path, there: Path) -> ssl.SSLContext:
    made = nobody()
    made.load_cert_chain(invite(root, "south", there) / "worker.pem")
    invite(root, "south", there)
    return made


@pytest.mark.parametrize(
    "who",
    [
        nobody, another_platforms, who_signs_invitations, who_was_invited_once, who_was_invited_anew,
        lambda *_: None,
    ],
)  # fmt: skip
def test_who_is_not_invited_does_not_pass(
    root: Path, tmp_path: Path, who: Callable[[Path, Path], ssl.SSLContext | None]
) -> None:
    (tmp_path / "theirs").mkdir()
    if tls := who(root, tmp_path):
        tls.set_alpn_protocols([NAME])
    assert with_a_gateway(root, lambda gate, _: say(gate, tls=tls)) == b""


@pytest.mark.parametrize(("service", "answer"), [(NAME, GREETING.upper()), ("postgres", b""), (None, b"")])
def test_a_worker_passes_to_the_services_of_the_list_alone(
    root: Path, secrets: Path, service: str | None, answer: bytes
) -> None:
    tls = gateway.context(secrets, "worker", "gateway")
    tls.set_alpn_protocols([service] if service else [])
    assert with_a_gateway(root, lambda gate, _: say(gate, tls=tls)) == answer


def test_a_connection_ends_when_its_invitation_is_taken_back_and_anothers_stays(
    root: Path, tmp_path: Path
) -> None:
    async def patient(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while said := await reader.read(100):
            writer.write(said.upper())
        writer.close()

    async def revoke_one(gate: int, _: int) -> tuple[bytes, bytes]:
        held = []
        for name in ("north", "south"):
            tls = gateway.reaching(invite(root, name, tmp_path), NAME)
            reader, writer = await asyncio.open_connection(HERE, gate, ssl=tls)
            writer.write(b"a")
            assert await reader.read(1) == b"A"
            held.append((reader, writer))
        (lost, _), (kept, writer) = held
        guests(root).revoke("north")
        gone = await asyncio.wait_for(lost.read(), 30)
        writer.write(b"b")
        still = await asyncio.wait_for(kept.read(1), 30)
        writer.close()
        return gone, still

    assert with_a_gateway(root, revoke_one, patient) == (b"", b"B")


def test_a_worker_tells_nothing_to_a_gateway_that_is_not_its_own(
    root: Path, secrets: Path, tmp_path: Path
) -> None:
    (tmp_path / "theirs").mkdir()
    other = laid_out(tmp_path / "theirs")

    async def ask(gate: int, _: int) -> bytes:
        with pytest.raises(ssl.SSLCertVerificationError):
            await asyncio.open_connection(HERE, gate, ssl=gateway.reaching(secrets, NAME))
        return b"refused"

    assert with_a_gateway(other, ask) == b"refused"


def reasons(root: Path, secrets: Path, checkout: Path, port: int | None = None) -> str:
    """What keeps a host out; empty if nothing does."""

    async def ask(gate: int, _: int) -> str:
        try:
            await admission.ask(secrets, checkout, (HERE, port or gate))
        except PreflightError as error:
            assert error.remedy
            return str(error)
        return ""

    return with_a_gateway(root, ask)


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind((HERE, 0))
        return int(probe.getsockname()[1])


def test_a_guest_with_the_same_code_may_join_and_another_is_told_why_not(
    root: Path, secrets: Path, tmp_path: Path
) -> None:
    assert reasons(root, secrets, root) == ""
    (tmp_path / "plugins" / "__pycache__").mkdir(parents=True)
    (tmp_path / "plugins" / "__pycache__" / "b.pyc").write_text("b")
    (tmp_path / "plugins" / "b.py").write_text("b")
    assert "other code than the platform's: dags/a.py, plugins/b.py" in reasons(root, secrets, tmp_path)
    assert "does not answer: " in reasons(root, secrets, root, closed_port())
    guests(root).revoke("north")
    assert "its invitation is void" in reasons(root, secrets, root)
    (tmp_path / "theirs").mkdir()
    assert "or another platform's" in reasons(laid_out(tmp_path / "theirs"), secrets, root)


def test_of_many_files_that_differ_the_first_are_named() -> None:
    assert same_code.difference({"a": "1", "b": "1"}, {"a": "1", "b": "2", "c": "1"}) == "b, c"
    assert same_code.difference(dict.fromkeys("abcde", ""), {}) == "a, b, c and 2 more"


def test_a_certificate_is_always_the_same_and_its_public_part_has_no_key() -> None:
    made = certificates.make("a", "worker")
    assert made == certificates.make("a", "worker") != certificates.make("b", "worker")
    assert "PRIVATE" in made
    assert "PRIVATE" not in certificates.public(made)


def test_an_invitation_has_what_a_worker_has_and_not_the_platforms_own_secrets(tmp_path: Path) -> None:
    made = {name: generate() for name, generate in prepare.GENERATORS.items()}
    root = laid_out(tmp_path)
    prepare.lay_out(root, prepare.forms(made))
    there = invite(root, "north", tmp_path).parent
    told = "".join(file.read_text() for file in there.rglob("*") if file.is_file())
    assert {name for name, secret in made.items() if secret in told} == {
        "redis_password", "taxi_database_password", "emulator_token", "google_tokens_secret"
    }  # fmt: skip
    for own in ("gateway.pem", "worker.pem"):
        assert (root / "gateway" / own).read_text().splitlines()[1] not in told


@pytest.mark.parametrize("name", ["", "North", "../x", ".north", "a" * 64])
def test_a_host_has_a_name_that_a_file_may_have(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="cannot name a host"):
        Guests(tmp_path).admit(name, b"")


def test_who_is_not_invited_cannot_be_disinvited_and_who_is_invited_is_said(tmp_path: Path) -> None:
    Guests(tmp_path).admit("north", b"")
    with pytest.raises(UsageError, match="no host 'south' is invited") as told:
        Guests(tmp_path).revoke("south")
    assert told.value.remedy == "Invited: north."
