"""The engine for emulators that needs nothing installed but Python.

It evaluates the program, creates in the emulators what they hold (buckets, datasets, grants on them), and
keeps a record of every resource in a private JSON file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lakehouse.settings import is_ephemeral, project_of
from taxiway.environment.home import read_json, write_json
from taxiway.infrastructure.api import Api
from taxiway.infrastructure.engine import PLACEHOLDER, Change, Drift, Endpoints, EngineError
from taxiway.infrastructure.plan import (
    Declared,
    Plan,
    changes,
    differences,
    is_replaced,
    never_made,
    plan,
    refuse_losses,
    refuse_removal,
    undeclared,
)
from taxiway.infrastructure.resources import TYPES, Held, added_grants
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
        self._path = folder / f"{stack}.json"

    def exists(self) -> bool:
        """Tell whether anything is recorded of the stack."""
        return self._path.exists()

    def up(self) -> dict[str, Any]:
        """Create or update everything, then remove what the program no longer declares."""
        # All of it is planned first: a wrong setting or a protected resource must not leave half a stack.
        state, wanted = State(self._path), self._plan()
        refuse_losses(state.records, wanted)
        for resource in sorted(wanted.resources, key=lambda one: TYPES[one.type].is_grant):
            self._bring(state, resource)
        for record in undeclared(state.records, wanted):
            self._remove(state, record)
        state.finish(wanted.outputs, self._config)
        return wanted.outputs

    def outputs(self) -> dict[str, Any]:
        """Return the outputs of the last `up`."""
        return State(self._path).outputs

    def preview(self) -> list[Change]:
        """Compare the program with the records."""
        return changes(State(self._path).records, self._plan())

    def drift(self) -> list[Drift]:
        """Compare the records with the emulators, which may also hold grants that nobody recorded."""
        records, found = State(self._path).records, list[Drift]()
        for record in records.values():
            type_ = TYPES.get(record.type)
            if not record.made:
                found.append(Drift(record.title, ("`up` was ended while it was made: scripts/up continues",)))
            elif isinstance(type_, Held):
                present, wanted = type_.observe(self._api, record.inputs), type_.desired(record.inputs)
                details = ["it is gone"]
                if present is not None:
                    details = list(differences(type_.comparable(wanted), type_.comparable(present)))
                found += [Drift(record.title, tuple(details))] if details else []
        if self.exists():
            found += never_made(records, self._plan())
        return found + list(added_grants(self._api, ((one.type, one.inputs) for one in records.values())))

    def destroy(self) -> list[str]:
        """Remove everything in reverse order of creation."""
        state = State(self._path)
        if is_ephemeral(self._config) and any(record.protect for record in state.records.values()):
            self.up()  # made ephemeral since: the bucket's content may go only once its record allows that
            state = State(self._path)
        refuse_removal(record for record in state.records.values() if record.protect)
        removed = [self._remove(state, record) for record in reversed(list(state.records.values()))]
        return [title for title in removed if title]

    def forget(self) -> None:
        """Remove the records."""
        if not is_ephemeral(self._config):
            refuse_removal(record for record in State(self._path).records.values() if record.protect)
        self._path.unlink(missing_ok=True)

    def leftovers(self) -> list[str]:
        """Ask the emulators."""
        return leftovers(self._api, project_of(self._config), self._stack)

    def _plan(self) -> Plan:
        wanted = plan(self._stack, self._config)
        if wanted.secret:
            # A key exists once the control plane has made it, and no emulator asks for one.
            raise EngineError(
                "A stack with secret outputs (taxiway:credentials is key) needs the real pulumi.",
                "Use --engine cli, or on emulators: pulumi config set taxiway:credentials anonymous",
            )
        for resource in wanted.resources:
            if resource.type not in TYPES:
                raise EngineError(f"The in-process engine cannot make {resource.type}.", "Use --engine cli.")
        return wanted

    def _bring(self, state: State, resource: Declared) -> None:
        """Create or update one resource, and record it before and after.

        Killed in between, the record says that there may be something: the next `up` finishes it, `destroy`
        removes it.
        """
        known, type_ = state.records.get(resource.key), TYPES[resource.type]
        if known and is_replaced(known, resource):
            self._remove(state, known)
            known = None
        if isinstance(type_, Held):
            if known is None:
                state.put(replace(resource, made=False))
            type_.apply(self._api, resource.inputs)
        if known != resource:
            state.put(resource)

    def _remove(self, state: State, record: Declared) -> str:
        """Remove a resource and its record; return its title, empty where it is meant to stay."""
        type_ = TYPES.get(record.type)
        if isinstance(type_, Held) and not record.retain_on_delete:
            type_.delete(self._api, record.inputs)
        state.drop(record)
        return "" if record.retain_on_delete else record.title


class State:
    """The records of one stack in order of creation, its outputs and times.

    The file is replaced in one step after each change: a kill leaves it whole. What only other versions know
    of a resource is left out.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        content, known = read_json(path), {field.name for field in fields(Declared)}
        stored = [{k: v for k, v in one.items() if k in known} for one in content.get("resources", [])]
        self.records = {record.key: record for record in (Declared(**one) for one in stored)}
        self.outputs: dict[str, Any] = content.get("outputs", {})
        self.config: dict[str, str] = content.get("config", {})
        self.created: str = content.get("created", "")
        self.updated: str = content.get("updated", "")

    def put(self, record: Declared) -> None:
        """Remember a resource, at the end where it is new."""
        self.records[record.key] = record
        self._save()

    def drop(self, record: Declared) -> None:
        """Forget a resource."""
        del self.records[record.key]
        self._save()

    def finish(self, outputs: Mapping[str, Any], config: Mapping[str, str]) -> None:
        """Remember the end of an `up`."""
        self.outputs = dict(outputs)
        self.config = {key: value for key, value in config.items() if key != PLACEHOLDER}
        self.updated = datetime.now(UTC).isoformat(timespec="seconds")
        self._save()

    def _save(self) -> None:
        self.created = self.created or datetime.now(UTC).isoformat(timespec="seconds")
        content = {name: getattr(self, name) for name in ("created", "updated", "config", "outputs")}
        write_json(self._path, {**content, "resources": [asdict(one) for one in self.records.values()]})
