"""What a stack would be, without asking anybody: the Pulumi program, run without Pulumi's engine.

Pulumi's own mock monitor stands in for the engine. It gives each resource the outputs that it would have.
Both engines compare a plan with what they recorded of a stack.
"""

from __future__ import annotations

import asyncio
import contextvars
import json
import runpy
import threading
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pulumi
from pulumi.runtime import mocks, rpc

from lakehouse.guardrails import Resource, check
from lakehouse.names import PROJECT
from lakehouse.settings import SettingsError, refuse_unknown
from taxiway.environment.home import REPOSITORY
from taxiway.infrastructure.engine import Action, Change, Drift, EngineError, StackNotRemovedError
from taxiway.infrastructure.resources import TYPES, plain

PROGRAM: Final = REPOSITORY / "infra"
# An evaluation creates nothing and asks nobody: it takes a second, or it hangs.
_PATIENCE_SECONDS: Final = 120
# Pulumi's packages import their modules when first used, and two threads doing that see half a module.
_ONE_AT_A_TIME = threading.Lock()


@dataclass(frozen=True)
class Declared:
    """One resource of the program, or a record of one; inputs have the provider's own (camelCase) names."""

    type: str
    name: str
    inputs: Mapping[str, Any]
    protect: bool = False
    retain_on_delete: bool = False
    # Of a record: False while it is being created.
    made: bool = True

    @property
    def key(self) -> str:
        """What identifies the resource within its stack."""
        return f"{self.type}::{self.name}"

    @property
    def title(self) -> str:
        """What people call it; one that only Google Cloud has goes by its name in the program."""
        known = TYPES.get(self.type) if self.inputs else None
        return known.title(self.inputs) if known else f"{self.type.split(':')[-1]} {self.name}"


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
    # A thread, with an event loop and context variables of its own: Pulumi keeps its settings in those.
    with _ONE_AT_A_TIME, ThreadPoolExecutor(max_workers=1) as pool:
        declared = pool.submit(contextvars.Context().run, _evaluate, stack, config, program).result()
    violations = check([Resource(one.type, one.name, one.inputs) for one in declared.resources], config)
    if violations:
        sentences = [f"{broken.rule}: {broken.resource} {broken.message}" for broken in violations]
        raise EngineError(
            "The program breaks mandatory rules.\n" + "\n".join(sentences),
            "See infra/lakehouse/guardrails.py.",
        )
    return declared


def _evaluate(stack: str, config: Mapping[str, str], program: Path, monitor: _Monitor | None = None) -> Plan:
    monitor = monitor or _Monitor()
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
    return Plan(tuple(sorted(monitor.declared, key=lambda one: one.key)), outputs, frozenset(secret))


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
            # What is ignored is new at each evaluation, and may be secret.
            inputs = {name: value for name, value in inputs.items() if name not in request.ignoreChanges}
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


# --- A plan beside what is recorded -------------------------------------------------------------------------


def changes(records: Mapping[str, Declared], wanted: Plan) -> list[Change]:
    """Return what would be done about records, by their keys, to come to a plan."""
    found = [change for one in wanted.resources if (change := _change(records.get(one.key), one))]
    return found + [of_change("delete", record, ()) for record in undeclared(records, wanted)]


def _change(record: Declared | None, resource: Declared) -> Change | None:
    if record is None or not record.made:
        return Change("create", resource.title)
    # An input that is new counts like one that changed.
    details = tuple(differences({**dict.fromkeys(resource.inputs), **record.inputs}, resource.inputs))
    if is_replaced(record, resource):
        return of_change("replace", resource, details)
    return (
        Change("update", resource.title, details) if details or record.protect != resource.protect else None
    )


def of_change(action: Action, resource: Declared, details: tuple[str, ...]) -> Change:
    """Return a change; where it takes data away, it says so."""
    emptied = action in ("replace", "delete") and _holds_data(resource)
    return Change(action, resource.title, (*details, *(("all data in it is deleted",) * emptied)))


def _holds_data(resource: Declared) -> bool:
    return resource.type.endswith((":Bucket", ":Dataset", ":Disk"))


def is_replaced(record: Declared | None, resource: Declared) -> bool:
    """Tell whether a resource can only become what is declared by being made anew."""

    def value(one: Declared, name: str) -> str:
        return plain(str(one.inputs.get(name, ""))).casefold()

    fixed = TYPES[resource.type].fixed if resource.type in TYPES else ()
    return record is not None and any(value(record, name) != value(resource, name) for name in fixed)


def undeclared(records: Mapping[str, Declared], wanted: Plan) -> list[Declared]:
    """Return the records of what the program no longer declares, the latest first."""
    declared = {resource.key for resource in wanted.resources}
    return [record for record in reversed(list(records.values())) if record.key not in declared]


def never_made(records: Mapping[str, Declared], wanted: Plan) -> list[Drift]:
    """Return what is declared and not recorded: an `up` failed, or a destroy was refused half-way."""
    missing = [one for one in wanted.resources if one.key not in records]
    return [Drift(one.title, ("declared, but not there: scripts/up makes it",)) for one in missing]


def refuse_losses(records: Mapping[str, Declared], wanted: Plan) -> None:
    """Raise StackNotRemovedError where an `up` would delete or replace what is, or is to be, protected."""
    lost = [record for record in undeclared(records, wanted) if record.protect]
    for resource in wanted.resources:
        record = records.get(resource.key)
        # A grant that was unprotected by hand may go; data may not, should it become protected only now.
        guarded = record and (record.protect or (resource.protect and _holds_data(resource)))
        if record and guarded and is_replaced(record, resource):
            lost.append(record)
    refuse_removal(lost)


def refuse_removal(records: Iterable[Declared]) -> None:
    """Raise StackNotRemovedError where there are any records."""
    if titles := [record.title for record in records]:
        raise StackNotRemovedError(
            f"Protected, so not removed: {', '.join(titles)}.",
            "First set taxiway:ephemeral to true (infra/stacks), or `pulumi state unprotect` it alone.",
        )


def differences(wanted: Any, present: Any, path: str = "") -> Iterator[str]:
    """Yield what differs, as `labels.owner: "alice" -> "bob"`; parts that `wanted` lacks do not count.

    Labels and access are compared whole, for they are maps of the stack's own; Google's own labels are left
    out. Empty and absent are one, as are a location's spellings.
    """
    if isinstance(wanted, Mapping) and isinstance(present, Mapping):
        names = set(wanted)
        if path.endswith(("labels", "access")):
            names |= {name for name in present if not name.startswith("goog-")}
        for name in sorted(names):
            yield from differences(wanted.get(name), present.get(name), f"{path}.{name}" if path else name)
        return
    same = wanted == present or (not wanted and not present)
    if isinstance(wanted, str) and isinstance(present, str):
        same = wanted.casefold() == present.casefold()
    if not same:
        yield f"{path}: {json.dumps(wanted, default=repr)} -> {json.dumps(present, default=repr)}"
