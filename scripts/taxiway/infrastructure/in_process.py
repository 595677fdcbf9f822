"""The engine for emulators that needs nothing installed but Python."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from taxiway.infrastructure.api import Api
from taxiway.infrastructure.compare import differences
from taxiway.infrastructure.contract import Change, Drift
from taxiway.infrastructure.dry import Dry
from taxiway.infrastructure.endpoints import Endpoints
from taxiway.infrastructure.errors import StackNotRemovedError
from taxiway.infrastructure.evaluate import Declared, Plan, evaluate
from taxiway.infrastructure.leftovers import leftovers
from taxiway.infrastructure.plan import plan
from taxiway.infrastructure.resources import kind
from taxiway.infrastructure.state import Record, State


class InProcessEngine:
    """Evaluates the program and makes each resource in the emulators. `folder` keeps state and passphrase."""

    def __init__(self, stack: str, config: Mapping[str, str], endpoints: Endpoints, folder: Path) -> None:
        self._stack = stack
        self._config = {**endpoints.config(), **config}
        self._api = Api.of(endpoints)
        self._folder = folder

    def exists(self) -> bool:
        """Tell whether anything is remembered of the stack."""
        return self._state().path.exists()

    def up(self) -> dict[str, Any]:
        """Create or update everything, then remove what the program no longer declares."""
        state = self._state()
        # Evaluated dry first: a wrong setting or a protected resource must not leave half a stack.
        wanted = self._plan(state)
        _refuse_protected(_doomed(state, wanted))
        made = evaluate(self._stack, self._config, _Applying(self._api, state))
        for record in _undeclared(state, made):
            self._remove(state, record)
        state.finish(made.outputs, self._config)
        return made.outputs

    def outputs(self) -> dict[str, Any]:
        """Return the outputs of the last `up`."""
        return self._state().outputs

    def preview(self) -> list[Change]:
        """Compare the program with the state."""
        state = self._state()
        wanted = self._plan(state)
        changes = [change for resource in wanted.resources if (change := _change(state, resource))]
        return changes + [Change("delete", record.title) for record in _undeclared(state, wanted)]

    def drift(self) -> list[Drift]:
        """Compare the state with the emulators."""
        found = [(record, tuple(self._observed(record))) for record in self._state().records.values()]
        return [Drift(record.title, details) for record, details in found if details]

    def destroy(self) -> list[str]:
        """Remove everything in reverse order of creation."""
        state = self._state()
        if self._is_ephemeral() and _protected(state.records.values()):
            self.up()  # the flags of a teardown are read from the state: they must be there first
            state = self._state()
        _refuse_protected(state.records.values())
        removed = [self._remove(state, record) for record in reversed(list(state.records.values()))]
        return [title for title in removed if title]

    def forget(self) -> None:
        """Remove the state."""
        state = self._state()
        if not self._is_ephemeral():
            _refuse_protected(state.records.values())
        state.remove()

    def leftovers(self) -> list[str]:
        """Ask the emulators."""
        return leftovers(self._api, self._project(), self._stack)

    def _state(self) -> State:
        return State(self._folder, self._stack)

    def _plan(self, state: State) -> Plan:
        known = {record.key: record.known for record in state.records.values()}
        return plan(self._stack, self._config, Dry(known))

    def _project(self) -> str:
        return self._config.get("taxiway:project") or self._config["gcp:project"]

    def _is_ephemeral(self) -> bool:
        return self._config.get("taxiway:ephemeral", "true").lower() == "true"

    def _observed(self, record: Record) -> Iterator[str]:
        """Yield how a resource differs from its record."""
        there = kind(record.type).observe(self._api, record.inputs, record.known)
        if there is None:
            yield "it is gone"
        else:
            yield from differences(kind(record.type).desired(record.inputs), there)

    def _remove(self, state: State, record: Record) -> str:
        """Remove a resource and forget it; return what was removed, if anything was."""
        if not record.retain_on_delete:
            kind(record.type).delete(self._api, record.inputs, record.known)
        state.drop(record)
        return "" if record.retain_on_delete else record.title


class _Applying:
    """Creates or updates each resource as the program declares it."""

    def __init__(self, api: Api, state: State) -> None:
        self._api = api
        self._state = state

    def create(self, resource: Declared) -> tuple[str, dict[str, Any]]:
        known = self._state.records.get(resource.key)
        if known and _fixed_changes(known, resource):
            kind(known.type).delete(self._api, known.inputs, known.known)
            known = None
        learned = kind(resource.type).apply(self._api, resource.inputs, known.known if known else {})
        self._state.put(Record.of(resource, learned))
        identifier, outputs = kind(resource.type).outputs(resource.inputs)
        return learned.get("name", identifier), {**outputs, **learned}


def _change(state: State, resource: Declared) -> Change | None:
    record = state.records.get(resource.key)
    title = kind(resource.type).title(resource.inputs)
    if record is None:
        return Change("create", title)
    details = tuple(differences({**dict.fromkeys(resource.inputs), **record.inputs}, resource.inputs))
    if _fixed_changes(record, resource):
        return Change("replace", title, details)
    return Change("update", title, details) if details or record.protect != resource.protect else None


def _fixed_changes(record: Record, resource: Declared) -> bool:
    fixed = kind(record.type).fixed
    return any(record.inputs.get(name) != resource.inputs.get(name) for name in fixed)


def _undeclared(state: State, wanted: Plan) -> list[Record]:
    declared = {resource.key for resource in wanted.resources}
    return [record for record in reversed(state.records.values()) if record.key not in declared]


def _doomed(state: State, wanted: Plan) -> list[Record]:
    """Return the resources that an `up` would remove or replace."""
    replaced = [
        r for r in wanted.resources if r.key in state.records and _fixed_changes(state.records[r.key], r)
    ]
    return [*_undeclared(state, wanted), *(state.records[resource.key] for resource in replaced)]


def _protected(records: Iterable[Record]) -> list[str]:
    return [record.title for record in records if record.protect]


def _refuse_protected(records: Iterable[Record]) -> None:
    if protected := _protected(records):
        raise StackNotRemovedError(
            f"Protected, so not removed: {', '.join(protected)}.",
            "First set taxiway:ephemeral to true (infra/stacks).",
        )
