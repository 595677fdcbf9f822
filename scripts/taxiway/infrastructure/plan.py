"""What a stack would be, without asking anybody: the Pulumi program, run without Pulumi's engine.

Pulumi's own mock monitor stands in for the engine. It gives each resource the outputs that it would have.
"""

from __future__ import annotations

import asyncio
import contextvars
import runpy
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pulumi
from pulumi.runtime import mocks, rpc

from lakehouse.guardrails import Resource, check
from lakehouse.settings import SettingsError, refuse_unknown
from taxiway.environment.home import REPOSITORY
from taxiway.infrastructure.engine import EngineError
from taxiway.infrastructure.resources import TYPES

PROJECT: Final = "taxiway"
PROGRAM: Final = REPOSITORY / "infra"
# An evaluation creates nothing and asks nobody: it takes a second, or it hangs.
_PATIENCE_SECONDS: Final = 120
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


@dataclass(frozen=True)
class Plan:
    """What one evaluation declared, ordered by type and name; its outputs, and which of them are secret."""

    resources: tuple[Declared, ...]
    outputs: dict[str, Any] = field(repr=False)
    secret: frozenset[str]


def plan(stack: str, config: Mapping[str, str], program: Path = PROGRAM) -> Plan:
    """Return what the program in a folder declares for a stack and its whole configuration.

    Raises EngineError where a setting is wrong or a mandatory rule is broken.
    """
    try:
        # Here, because the program itself sees only the keys that it knows.
        refuse_unknown(config)
    except SettingsError as error:
        raise EngineError(str(error)) from None
    with _ONE_AT_A_TIME:
        declared = _in_fresh_thread(lambda: _evaluate(stack, config, program))
    resources = [Resource(resource.type, resource.name, resource.inputs) for resource in declared.resources]
    violations = check(resources, config)
    if violations:
        sentences = [
            f"{violation.rule}: {violation.resource} {violation.message}" for violation in violations
        ]
        raise EngineError(
            "The program breaks mandatory rules.\n" + "\n".join(sentences),
            "See infra/lakehouse/guardrails.py.",
        )
    return declared


def _evaluate(stack: str, config: Mapping[str, str], program: Path) -> Plan:
    monitor = _Monitor()
    # Without them the evaluation would wait for ever for what a failed one left there.
    pulumi.runtime.configure(
        pulumi.runtime.Settings(project=PROJECT, stack=stack, monitor=monitor, engine=mocks.MockEngine(None))
    )
    pulumi.runtime.set_all_config(dict(config), [])

    def run_main() -> None:
        runpy.run_path(str(program / "__main__.py"))

    try:
        asyncio.run(asyncio.wait_for(pulumi.runtime.run_in_stack(run_main), _PATIENCE_SECONDS))
    except pulumi.RunError as error:
        raise EngineError(str(error)) from None
    except TimeoutError:
        raise EngineError(f"The program in {program} did not end in {_PATIENCE_SECONDS} seconds.") from None
    secret = {name for name, value in monitor.outputs.items() if rpc.is_rpc_secret(value)}
    outputs = {name: rpc.unwrap_rpc_secret(value) for name, value in monitor.outputs.items()}
    # Independent resources finish in any order; a plan has one.
    resources = sorted(monitor.declared, key=lambda resource: resource.key)
    return Plan(tuple(resources), outputs, frozenset(secret))


class _Monitor(mocks.MockMonitor):
    """Pulumi's mock monitor, which also remembers what its mocks do not get to see: options and outputs."""

    def __init__(self) -> None:
        super().__init__(_Mocks())
        self.declared: list[Declared] = []
        self.outputs: dict[str, Any] = {}

    def RegisterResource(self, request: Any) -> Any:  # noqa: N802 - the protocol's name for it
        """Note a declared resource; components are no resources of the cloud's."""
        response = super().RegisterResource(request)  # type: ignore[no-untyped-call]
        if request.custom:
            inputs = _whole(rpc.deserialize_properties(request.object))
            options = (request.protect, request.retainOnDelete)
            self.declared.append(Declared(request.type, request.name, inputs, *options))
        return response

    def RegisterResourceOutputs(self, request: Any) -> Any:  # noqa: N802
        """Note the outputs of the stack itself."""
        if "::pulumi:pulumi:Stack::" in request.urn:
            self.outputs = _whole(rpc.deserialize_properties(request.outputs))
        return super().RegisterResourceOutputs(request)  # type: ignore[no-untyped-call]


class _Mocks(mocks.Mocks):
    """Gives each resource the id and outputs that it would have, as far as inputs decide them."""

    def new_resource(self, args: mocks.MockResourceArgs) -> tuple[str | None, dict[str, Any]]:
        if args.typ not in TYPES:
            # A component, or a type that only Google Cloud has: it gives back its inputs.
            return (args.name if args.custom else ""), args.inputs
        return TYPES[args.typ].outputs(_whole(args.inputs))

    def call(self, args: mocks.MockCallArgs) -> tuple[dict[str, Any], list[tuple[str, str]] | None]:
        raise pulumi.RunError(f"The program calls {args.token}, which cannot be answered without Pulumi.")


def _whole(value: Any) -> Any:
    """Undo what the wire format does to integers: it knows floating point alone."""
    if isinstance(value, dict):
        return {key: _whole(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_whole(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _in_fresh_thread(work: Callable[[], Plan]) -> Plan:
    """Run with an event loop and context variables of its own: Pulumi keeps its settings in those."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        return pool.submit(contextvars.Context().run, work).result()
