"""What passes between two hosts, and what does not."""

from __future__ import annotations

import asyncio
import ssl
import tarfile
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from taxiway.compose import certificates, gateway, invitation, prepare

# The service is dialled by its name, as in a network of containers.
NAME, HERE, THERE = "localhost", "127.0.0.1", "127.0.0.2"
GREETING = b"hello from afar"


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return laid_out(tmp_path_factory.mktemp("ours"))


def laid_out(folder: Path) -> Path:
    made = prepare.forms({name: generate() for name, generate in prepare.GENERATORS.items()})
    prepare.lay_out(folder, made)
    return folder / "gateway"


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write((await reader.readexactly(len(GREETING))).upper())
    writer.close()


def port_of(server: asyncio.Server) -> int:
    return int(server.sockets[0].getsockname()[1])


def with_a_gateway(secrets: Path, then: Callable[[int, int], Awaitable[bytes]]) -> bytes:
    """What `then` returns of the ports of a gateway and of the only service behind it."""

    async def run() -> bytes:
        async with await asyncio.start_server(echo, HERE, 0) as service:
            port = port_of(service)
            async with await gateway.serve(secrets, HERE, 0, {NAME: port}) as open_one:
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


def test_a_worker_finds_a_service_at_its_own_port_and_each_end_ends_the_other(secrets: Path) -> None:
    async def from_there(gate: int, port: int) -> bytes:
        servers = await gateway.reach(secrets, (HERE, gate), THERE, {NAME: port})
        try:
            return await say(port, THERE)
        finally:
            servers[0].close()

    assert with_a_gateway(secrets, from_there) == GREETING.upper()


def nobody(_: Path, __: Path) -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname, made.verify_mode = False, ssl.CERT_NONE
    return made


def another_platforms(ours: Path, theirs: Path) -> ssl.SSLContext:
    made = nobody(ours, theirs)
    made.load_cert_chain(theirs / "worker.pem")
    return made


@pytest.mark.parametrize("who", [nobody, another_platforms, lambda *_: None])
def test_who_has_not_been_invited_does_not_pass(
    secrets: Path, tmp_path: Path, who: Callable[[Path, Path], ssl.SSLContext | None]
) -> None:
    tls = who(secrets, laid_out(tmp_path))
    if tls:
        tls.set_alpn_protocols([NAME])
    assert with_a_gateway(secrets, lambda gate, _: say(gate, tls=tls)) == b""


@pytest.mark.parametrize(("service", "answer"), [(NAME, GREETING.upper()), ("postgres", b""), (None, b"")])
def test_a_worker_passes_to_the_services_of_the_list_alone(
    secrets: Path, service: str | None, answer: bytes
) -> None:
    tls = gateway.context(secrets, "worker", "gateway")
    tls.set_alpn_protocols([service] if service else [])
    assert with_a_gateway(secrets, lambda gate, _: say(gate, tls=tls)) == answer


def test_a_worker_tells_nothing_to_a_gateway_that_is_not_its_own(secrets: Path, tmp_path: Path) -> None:
    tls = gateway.context(laid_out(tmp_path), "worker", "gateway")
    tls.set_alpn_protocols([NAME])

    async def ask(gate: int, _: int) -> bytes:
        with pytest.raises(ssl.SSLCertVerificationError):
            await asyncio.open_connection(HERE, gate, ssl=tls)
        return b"refused"

    assert with_a_gateway(secrets, ask) == b"refused"


def test_a_certificate_is_always_the_same_and_its_public_part_has_no_key() -> None:
    made = certificates.make("a", "worker")
    assert made == certificates.make("a", "worker") != certificates.make("b", "worker")
    assert "PRIVATE" in made
    assert "PRIVATE" not in certificates.public(made)


def test_an_invitation_has_what_a_worker_has_and_not_the_platforms_own_secrets(tmp_path: Path) -> None:
    made = {name: generate() for name, generate in prepare.GENERATORS.items()}
    prepare.lay_out(tmp_path, prepare.forms(made))
    (tmp_path / "settings").mkdir()
    (tmp_path / "settings" / "environment").write_text("TAXI_SCHEDULE_START=2026-01-01\n")
    with (tmp_path / "invitation.tar").open("wb") as file:
        invitation.write(file, tmp_path)
    with tarfile.open(tmp_path / "invitation.tar") as tar:
        entries = tar.getmembers()
        tar.extractall(tmp_path / "there", filter="data")
    assert {entry.mode for entry in entries} == {0o440}
    told = "".join(file.read_text() for file in (tmp_path / "there").rglob("*") if file.is_file())
    assert {name for name, secret in made.items() if secret in told} == {
        "redis_password", "taxi_database_password", "emulator_token", "google_tokens_secret"
    }  # fmt: skip
    gateways = (tmp_path / "gateway" / "gateway.pem").read_text()
    assert gateways.splitlines()[1] not in told
