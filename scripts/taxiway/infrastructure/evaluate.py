"""Run the Pulumi program without Pulumi's engine, and see what it declares.

Pulumi's own mocks stand in for the engine. A `Provider` decides what becomes of each resource:
nothing (`Dry`, for plans, policies, prices), or its creation in the emulators.
"""

from __future__ import annotations

import asyncio
import contextvars
import runpy
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import pulumi
from pulumi.runtime import mocks, rpc
from pulumi.runtime.config import set_all_config
from pulumi.runtime.proto import resource_pb2
from pulumi.runtime.settings import SETTINGS, get_root_resource
from pulumi.runtime.stack import wait_for_rpcs
from pulumi.runtime.sync_await import _sync_await

from taxiway.environment.home import REPOSITORY
from taxiway.infrastructure.errors import EngineError

PROJECT = "taxiway"
PROGRAM = REPOSITORY / "infra"
# Pulumi's packages import their modules when first used, and two threads doing that see half a module.
_ONE_AT_A_TIME = threading.Lock()


@dataclass(frozen=True)
class Declared:
    """One resource of the program. `inputs` have the provider's own (camelCase) names."""

    type: str
    name: str
    inputs: Mapping[str, Any]
    protect: bool = False
    retain_on_delete: bool = False

    @property
    def key(self) -> str:
        """What identifies the resource within its stack."""
        return f"{self.type}::{self.name}"


class Provider(Protocol):
    """Makes a declared resource real."""

    def create(self, resource: Declared) -> tuple[str, dict[str, Any]]:
        """Return the resource's id and its outputs, which include its inputs."""
        ...


@dataclass(frozen=True)
class Plan:
    """What one evaluation declared, ordered by type and name, and its outputs."""

    resources: tuple[Declared, ...]
    outputs: dict[str, Any] = field(repr=False)
    secret: frozenset[str]


def evaluate(stack: str, config: Mapping[str, str], provider: Provider) -> Plan:
    """Return what the program declares for a stack and its whole configuration.

    Raises EngineError where a setting is wrong, and whatever the provider raises.
    """
    with _ONE_AT_A_TIME:
        return _in_fresh_thread(lambda: _evaluate(stack, config, provider))


def _evaluate(stack: str, config: Mapping[str, str], provider: Provider) -> Plan:
    monitor = _Monitor(provider)
    # Pulumi keeps settings and configuration in context variables: each evaluation has its own. The mocks
    # forget two of them, and an evaluation would wait for ever for what a failed one left there.
    SETTINGS.outputs, SETTINGS.lock = set(), threading.Lock()
    set_all_config(dict(config), [])
    try:
        outputs, secret = asyncio.run(_run_program(monitor, stack))
    except Exception:
        if monitor.errors:
            raise monitor.errors[0] from None
        raise
    # Independent resources finish in any order; a plan has one.
    return Plan(tuple(sorted(monitor.declared, key=lambda resource: resource.key)), outputs, secret)


async def _run_program(monitor: _Monitor, stack: str) -> tuple[dict[str, Any], frozenset[str]]:
    mocks.set_mocks(monitor.mocks, project=PROJECT, stack=stack, preview=False, monitor=monitor)
    try:
        _run_main()
        await wait_for_rpcs()
    except pulumi.RunError as error:
        raise EngineError(str(error)) from None
    root = get_root_resource()
    declared: dict[str, Any] = root.outputs if root else {}  # type: ignore[attr-defined]
    outputs = {name: pulumi.Output.from_input(value) for name, value in declared.items()}
    plain = {name: await output.future() for name, output in outputs.items()}
    return plain, frozenset([name for name, output in outputs.items() if await output.is_secret()])


def _run_main() -> None:
    runpy.run_path(str(PROGRAM / "__main__.py"))


class _Monitor(mocks.MockMonitor):
    """Pulumi's mock monitor, which also remembers the options that its mocks do not get to see."""

    def __init__(self, provider: Provider) -> None:
        super().__init__(_Mocks())
        self.declared: list[Declared] = []
        self.errors: list[Exception] = []
        self._provider = provider

    def RegisterResource(self, request: Any) -> Any:  # noqa: N802 the engine's name for it
        """Make one resource, once all it depends on is there; several at once, each in its own thread."""
        if request.type == "pulumi:pulumi:Stack":
            return super().RegisterResource(request)  # type: ignore[no-untyped-call]
        with _event_loop():
            inputs = _whole(rpc.deserialize_properties(request.object))
            identifier, outputs = self._create(request, inputs) if request.custom else ("", inputs)
            properties = _sync_await(rpc.serialize_properties(outputs, {}))
        urn = self.make_urn(request.parent, request.type, request.name)
        self.resources[urn] = self.ResourceRegistration(urn, identifier, outputs)
        return resource_pb2.RegisterResourceResponse(urn=urn, id=identifier, object=properties)

    def _create(self, request: Any, inputs: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        resource = Declared(request.type, request.name, inputs, request.protect, request.retainOnDelete)
        try:
            created = self._provider.create(resource)
        except Exception as error:
            self.errors.append(error)
            raise
        self.declared.append(resource)
        return created


@contextmanager
def _event_loop() -> Iterator[None]:
    """Give this thread of a pool an event loop and close it after; Pulumi's own mocks leave theirs open."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    try:
        yield
    finally:
        asyncio.set_event_loop(None)
        loop.close()


class _Mocks(mocks.Mocks):
    """Components have no outputs but those they register, and the program calls no provider functions."""

    def new_resource(self, args: mocks.MockResourceArgs) -> tuple[str | None, dict[str, Any]]:
        return "", args.inputs

    def call(self, args: mocks.MockCallArgs) -> tuple[dict[str, Any], list[tuple[str, str]] | None]:
        raise EngineError(f"The program calls {args.token}, which the in-process engine does not know.")


def _whole(value: Any) -> Any:
    """Undo what the wire format does to integers: it knows floating point alone."""
    if isinstance(value, dict):
        return {key: _whole(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_whole(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _in_fresh_thread(work: Callable[[], Plan]) -> Plan:
    """Run with an event loop and context variables of its own, whatever the caller has."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        return pool.submit(contextvars.Context().run, work).result()
