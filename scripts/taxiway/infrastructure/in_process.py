"""The engine for emulators that needs nothing installed but Python.

It evaluates the program, creates in the emulators what they hold (buckets, datasets, grants on them), and
keeps a record of every resource in a private JSON file.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from lakehouse.settings import project_of
from taxiway.environment.home import read_json, write_json
from taxiway.infrastructure.api import Api
from taxiway.infrastructure.engine import Change, Drift, Endpoints, EngineError, StackNotRemovedError
from taxiway.infrastructure.plan import Declared, Plan, plan
from taxiway.infrastructure.resources import TYPES, Held, ResourceType
from taxiway.infrastructure.teardown import leftovers


class InProcessEngine:
    """One stack on emulators; `folder` keeps its records. `api` is for tests: by default the emulators'."""

    def __init__(
        self,
        stack: str,
        config: Mapping[str, str],
        endpoints: Endpoints,
        folder: Path,
        api: Api | None = None,
    ) -> None:
        self._stack = stack
        self._config = {**endpoints.config(), **config}
        # The control plane, where one runs, is not asked: no emulator enforces what it would hold.
        self._api = api or Api.of(replace(endpoints, control_plane=""))
        self._folder = folder

    def exists(self) -> bool:
        """Tell whether anything is recorded of the stack."""
        return self._state().path.exists()

    def up(self) -> dict[str, Any]:
        """Create or update everything, then remove what the program no longer declares."""
        # All of it is planned first: a wrong setting or a protected resource must not leave half a stack.
        state, wanted = self._state(), self._plan()
        replaced = [
            state.records[r.key] for r in wanted.resources if _is_replaced(state.records.get(r.key), r)
        ]
        _refuse_protected([*_undeclared(state, wanted), *replaced])
        for resource in sorted(wanted.resources, key=lambda one: bool(_type(one.type).on)):
            self._bring(state, resource)
        for record in _undeclared(state, wanted):
            self._remove(state, record)
        state.finish(wanted.outputs, self._config)
        return wanted.outputs

    def outputs(self) -> dict[str, Any]:
        """Return the outputs of the last `up`."""
        return self._state().outputs

    def preview(self) -> list[Change]:
        """Compare the program with the records."""
        state, wanted = self._state(), self._plan()
        changes = [change for resource in wanted.resources if (change := _change(state, resource))]
        return changes + [Change("delete", record.title) for record in _undeclared(state, wanted)]

    def drift(self) -> list[Drift]:
        """Compare the records with the emulators, which may also hold grants that nobody recorded."""
        records = list(self._state().records.values())
        changed = [(record.title, tuple(self._observed(record))) for record in records]
        found = [Drift(title, details) for title, details in changed if details]
        for record in records:
            for role, member in sorted(self._foreign_grants(record, records)):
                advice = "somebody else granted it, and only they can know why: scripts/up leaves it"
                found.append(Drift(f"{role} on {record.title} for {member}", (advice,)))
        return found

    def destroy(self) -> list[str]:
        """Remove everything in reverse order of creation."""
        state = self._state()
        if self._is_ephemeral() and _protected(state.records.values()):
            self.up()  # made ephemeral since: the bucket's content may go only once its record allows that
            state = self._state()
        _refuse_protected(state.records.values())
        removed = [self._remove(state, record) for record in reversed(list(state.records.values()))]
        return [title for title in removed if title]

    def forget(self) -> None:
        """Remove the records."""
        state = self._state()
        if not self._is_ephemeral():
            _refuse_protected(state.records.values())
        state.path.unlink(missing_ok=True)

    def leftovers(self) -> list[str]:
        """Ask the emulators."""
        return leftovers(self._api, project_of(self._config), self._stack)

    def _state(self) -> State:
        return State(self._folder / f"{self._stack}.json")

    def _plan(self) -> Plan:
        wanted = plan(self._stack, self._config)
        if wanted.secret:
            # A key exists once the control plane has made it, and no emulator asks for one.
            raise EngineError(
                "A stack with secret outputs (taxiway:credentials is key) needs the real pulumi.",
                "Use --engine cli, or on emulators: pulumi config set taxiway:credentials anonymous",
            )
        return wanted

    def _is_ephemeral(self) -> bool:
        return self._config.get("taxiway:ephemeral", "true").lower() == "true"

    def _bring(self, state: State, resource: Declared) -> None:
        """Create or update one resource, and record it before and after.

        Killed in between, the record says that there may be something: the next `up` finishes it, `destroy`
        removes it.
        """
        known, record = state.records.get(resource.key), Record.of(resource)
        type_ = _type(resource.type)
        if known and _is_replaced(known, resource):
            self._remove(state, known)
            known = None
        if isinstance(type_, Held):
            if known is None:
                state.put(replace(record, made=False))
            type_.apply(self._api, resource.inputs)
        if known != record:
            state.put(record)

    def _remove(self, state: State, record: Record) -> str:
        """Remove a resource and its record; return its title, empty where it is meant to stay."""
        type_ = TYPES.get(record.type)
        if isinstance(type_, Held) and not record.retain_on_delete:
            type_.delete(self._api, record.inputs)
        state.drop(record)
        return "" if record.retain_on_delete else record.title

    def _observed(self, record: Record) -> Iterator[str]:
        """Yield how a resource differs from its record."""
        type_ = TYPES.get(record.type)
        if isinstance(type_, Held):
            present = type_.observe(self._api, record.inputs)
            if present is None:
                yield "it is gone"
            else:
                yield from differences(type_.desired(record.inputs), present)

    def _foreign_grants(self, record: Record, records: Iterable[Record]) -> set[tuple[str, str]]:
        """Return the grants on a bucket or dataset that are not the stack's, as (role, member)."""
        type_ = TYPES.get(record.type)
        if not isinstance(type_, Held) or type_.on:
            return set()
        ours = {
            grant.pair(other.inputs)
            for other in records
            if isinstance(grant := TYPES.get(other.type), Held) and grant.on
        }
        return type_.grants(self._api, record.inputs) - ours


# --- What is remembered of a stack ------------------------------------------------------------------------


@dataclass(frozen=True)
class Record:
    """One resource that exists, or, not `made` yet, one that was being created."""

    type: str
    name: str
    inputs: dict[str, Any]
    protect: bool = False
    retain_on_delete: bool = False
    made: bool = True

    @classmethod
    def of(cls, resource: Declared) -> Self:
        """Return the record of a declared resource."""
        inputs = dict(resource.inputs)
        return cls(resource.type, resource.name, inputs, resource.protect, resource.retain_on_delete)

    @classmethod
    def read(cls, stored: Mapping[str, Any]) -> Self:
        """Return a record from a file; what other versions wrote beside it is left alone."""
        return cls(**{field.name: stored[field.name] for field in fields(cls) if field.name in stored})

    @property
    def key(self) -> str:
        """What identifies it within the stack, as `Declared.key`."""
        return f"{self.type}::{self.name}"

    @property
    def title(self) -> str:
        """What people call it."""
        return TYPES[self.type].title(self.inputs) if self.type in TYPES else self.key


class State:
    """The records of one stack in order of creation, its outputs and times.

    The file is replaced in one step after each change: a kill leaves it whole.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        content = read_json(path)
        self.records = {record.key: record for record in map(Record.read, content.get("resources", []))}
        self.outputs: dict[str, Any] = content.get("outputs", {})
        self.config: dict[str, str] = content.get("config", {})
        self.created: str = content.get("created", "")
        self.updated: str = content.get("updated", "")

    def put(self, record: Record) -> None:
        """Remember a resource, at the end where it is new."""
        self.records[record.key] = record
        self._save()

    def drop(self, record: Record) -> None:
        """Forget a resource."""
        del self.records[record.key]
        self._save()

    def finish(self, outputs: Mapping[str, Any], config: Mapping[str, str]) -> None:
        """Remember the end of an `up`."""
        self.outputs = dict(outputs)
        self.config = {key: value for key, value in config.items() if key != "gcp:accessToken"}
        self.updated = _now()
        self._save()

    def _save(self) -> None:
        self.created = self.created or _now()
        content = {
            "created": self.created,
            "updated": self.updated,
            "config": self.config,
            "resources": [asdict(record) for record in self.records.values()],
            "outputs": self.outputs,
        }
        write_json(self.path, content)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


# --- Comparing -------------------------------------------------------------------------------------------


def differences(wanted: Any, present: Any, path: str = "") -> Iterator[str]:
    """Yield what differs, as `labels.owner: "alice" -> "bob"`; parts that `wanted` lacks do not count.

    Labels are compared whole, for they are a map of the stack's own; Google's marks among them are left out.
    """
    if isinstance(wanted, Mapping) and isinstance(present, Mapping):
        names = set(wanted)
        if path.endswith("labels"):
            names |= {name for name in present if not name.startswith("goog-")}
        for name in sorted(names):
            yield from differences(wanted.get(name), present.get(name), f"{path}.{name}" if path else name)
    elif not _is_same(wanted, present):
        yield f"{path}: {json.dumps(wanted)} -> {json.dumps(present)}"


def _is_same(wanted: Any, present: Any) -> bool:
    """Empty and absent are one, as are a location's spellings."""
    if isinstance(wanted, str) and isinstance(present, str):
        return wanted.casefold() == present.casefold()
    return wanted == present or (not wanted and not present)


def _change(state: State, resource: Declared) -> Change | None:
    record = state.records.get(resource.key)
    title = _type(resource.type).title(resource.inputs)
    if record is None or not record.made:
        return Change("create", title)
    # An input that is new counts like one that changed.
    details = tuple(differences({**dict.fromkeys(resource.inputs), **record.inputs}, resource.inputs))
    if _is_replaced(record, resource):
        return Change("replace", title, details)
    return Change("update", title, details) if details or record.protect != resource.protect else None


def _is_replaced(record: Record | None, resource: Declared) -> bool:
    if record is None:
        return False
    return any(record.inputs.get(name) != resource.inputs.get(name) for name in _type(resource.type).fixed)


def _undeclared(state: State, wanted: Plan) -> list[Record]:
    """Return what the program no longer declares, the latest first."""
    declared = {resource.key for resource in wanted.resources}
    return [record for record in reversed(state.records.values()) if record.key not in declared]


def _protected(records: Iterable[Record]) -> list[str]:
    return [record.title for record in records if record.protect]


def _refuse_protected(records: Iterable[Record]) -> None:
    if protected := _protected(records):
        raise StackNotRemovedError(
            f"Protected, so not removed: {', '.join(protected)}.",
            "First set taxiway:ephemeral to true (infra/stacks).",
        )


def _type(name: str) -> ResourceType:
    if name not in TYPES:
        raise EngineError(f"The in-process engine cannot make {name}.", "Use --engine cli.")
    return TYPES[name]
