"""The engine that is Pulumi itself: `pulumi` on PATH, driven through its automation interface."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, Final, TypeVar

from pulumi import automation
from pulumi.runtime.rpc import UNKNOWN

from taxiway.environment.home import REPOSITORY
from taxiway.infrastructure import backend, developer, stackfile
from taxiway.infrastructure import pending_operations as pending
from taxiway.infrastructure.api import Api, google
from taxiway.infrastructure.contract import Action, Change, Drift
from taxiway.infrastructure.endpoints import Endpoints
from taxiway.infrastructure.errors import EngineError, StackNotRemovedError
from taxiway.infrastructure.leftovers import leftovers
from taxiway.infrastructure.plan import plan
from taxiway.infrastructure.pulumi_messages import sentences
from taxiway.infrastructure.resources import KINDS

_T = TypeVar("_T")
_ACTIONS: Final[Mapping[str, Action]] = {
    "create": "create",
    "update": "update",
    "replace": "replace",
    "delete": "delete",
}


class CliEngine:
    """One stack of the real engine. Its settings are in `infra/stacks`, its state in the user's backend.

    On emulators, and for users who never chose a backend, state is kept in `folder`.
    """

    def __init__(
        self, stack: str, config: Mapping[str, str], endpoints: Endpoints | None, folder: Path
    ) -> None:
        self._name = stack
        self._folder = folder
        self._endpoints = endpoints
        project = config.get("taxiway:project")
        named = {"gcp:project": project} if project else {}
        self._config = {**(endpoints.config() if endpoints else {}), **named, **config}

    def exists(self) -> bool:
        """Tell whether the backend has the stack."""
        with self._in_words():
            return self._existing() is not None

    def up(self) -> dict[str, Any]:
        """Update the stack, after finishing what an interrupted update left open."""
        self._configure()
        with self._in_words():
            stack = self._stack
            self._unlocked(lambda: self._update(stack))
            return self._outputs(stack)

    def outputs(self) -> dict[str, Any]:
        """Return the stack's outputs; empty where there is no such stack."""
        with self._in_words():
            stack = self._existing()
            return self._outputs(stack) if stack else {}

    def preview(self) -> list[Change]:
        """Return what Pulumi plans; backend and settings stay as they are, even where there is no stack."""
        steps: list[automation.StepEventMetadata] = []
        with stackfile.untouched(self._name):
            self._configure()
            with self._in_words(), self._borrowed() as stack:
                stack.preview(color="never", on_event=_collect(steps))
        return [
            Change(_ACTIONS[step.op.value], _title(step), _details(step))
            for step in steps
            if step.op.value in _ACTIONS and step.type.startswith("gcp:")
        ]

    def drift(self) -> list[Drift]:
        """Return what a refresh would find changed; the state stays as it is."""
        steps: list[automation.StepEventMetadata] = []
        with self._in_words():
            stack = self._existing()
            if stack is None:
                return []
            # What a refresh finds is known after each step alone.
            stack.preview_refresh(color="never", show_secrets=False, on_event=_collect_results(steps))
        changed = [step for step in steps if step.op.value in ("update", "delete")]
        return [Drift(_title(step), _details(step) or ("it is gone",)) for step in changed]

    def destroy(self) -> list[str]:
        """Destroy what the stack holds; the stack itself stays until it is forgotten."""
        with self._in_words():
            stack = self._existing()
            if stack is None:
                return []
            self._refuse_protected()
            self._configure()
            return self._unlocked(lambda: self._tear_down(stack))

    def forget(self) -> None:
        """Remove the stack with its settings; a second call finds nothing to do."""
        with self._in_words():
            if self._existing() is not None:
                self._refuse_protected()
                self._workspace.remove_stack(self._name, force=True)
        self._remove_file()

    def leftovers(self) -> list[str]:
        """Ask the emulators, or Google Cloud."""
        project = self._settings.get("taxiway:project") or self._settings.get("gcp:project", "")
        return leftovers(self._api, project, self._name, self._composer_region())

    @cached_property
    def _workspace(self) -> automation.LocalWorkspace:
        if not shutil.which("pulumi"):
            raise EngineError("There is no `pulumi` on PATH.", "Install it, or use --engine in-process.")
        variables = backend.environment(
            self._folder,
            on_emulators=self._endpoints is not None,
            key_service=stackfile.has_secrets_provider(self._name),
        )
        return automation.LocalWorkspace(work_dir=str(REPOSITORY), env_vars=variables)

    @cached_property
    def _stack(self) -> automation.Stack:
        if existing := self._existing():
            return existing
        if self._endpoints:
            # Left by an environment that was deleted by hand: it names ports and a passphrase that are gone.
            stackfile.remove(self._name)
            stackfile.write(self._name, self._config)
        return automation.Stack.create(self._name, self._workspace)

    @contextmanager
    def _borrowed(self) -> Iterator[automation.Stack]:
        """Yield the stack; one that is not there is made for as long as it takes, for Pulumi asks for one."""
        existed, stack = self._existing() is not None, self._stack
        try:
            yield stack
        finally:
            if not existed:
                self.__dict__.pop("_stack", None)
                self._workspace.remove_stack(self._name, force=True)

    @cached_property
    def _api(self) -> Api:
        # A stack made by hand may be on emulators too: its settings say so.
        emulators = self._endpoints or Endpoints.of_config(self._settings)
        return Api.of(emulators) if emulators else google()

    def _existing(self) -> automation.Stack | None:
        try:
            return automation.Stack.select(self._name, self._workspace)
        except automation.StackNotFoundError:
            return None

    def _configure(self) -> None:
        """Write the settings that were given; refuse wrong ones, and broken rules, before Pulumi starts."""
        known = stackfile.read(self._name)
        given = {**self._owner(known), **self._config}
        try:
            plan(self._name.rsplit("/", 1)[-1], {**known, **given})
        except EngineError as error:
            remedy = error.remedy or f"The stack's settings are in {stackfile.path_of(self._name)}."
            raise EngineError(str(error), remedy) from None
        stackfile.write(self._name, given)

    def _owner(self, known: Mapping[str, str]) -> dict[str, str]:
        """Return the developer as the owner of a stack on Google Cloud that has none."""
        owner = "" if self._endpoints or known.get("taxiway:owner") else developer.address()
        return {"taxiway:owner": owner} if owner else {}

    def _remove_file(self) -> None:
        """Remove settings that did not go with their stack; on Google Cloud they may be for a new one."""
        if self._endpoints:
            stackfile.remove(self._name)

    def _update(self, stack: automation.Stack) -> None:
        pending.settle(stack, lambda: self._api)
        # Pulumi compares with its state alone: what was changed behind its back would stay changed.
        stack.up(color="never", show_secrets=False, suppress_progress=True, refresh=True)

    def _tear_down(self, stack: automation.Stack) -> list[str]:
        pending.settle(stack, lambda: self._api)
        # The provider reads its teardown flags from the state: they must be there first.
        if _is_guarded(stack):
            stack.up(color="never", show_secrets=False, suppress_progress=True)
        titles = _titles(stack)
        stack.destroy(color="never", show_secrets=False, suppress_progress=True)
        return titles

    def _unlocked(self, operation: Callable[[], _T]) -> _T:
        """Do it, without minding the lock of a process of this machine that was killed."""
        try:
            return operation()
        except automation.ConcurrentUpdateError as error:
            if not backend.is_stale(str(error)):
                raise
            self._stack.cancel()
            return operation()

    def _refuse_protected(self) -> None:
        if self._settings.get("taxiway:ephemeral", "true").lower() == "false":
            raise StackNotRemovedError(
                f"Stack {self._name} is protected, so nothing of it is removed.",
                f"To remove it, set taxiway:ephemeral to true in {stackfile.path_of(self._name)}.",
            )

    @cached_property
    def _settings(self) -> dict[str, str]:
        """The stack's settings as they were when they were first asked for: they may go with the stack."""
        return {**stackfile.read(self._name), **self._config}

    def _composer_region(self) -> str:
        if self._settings.get("taxiway:composer", "").lower() != "true":
            return ""
        from lakehouse.composer import region  # it imports Pulumi's whole provider

        return region(self._settings.get("taxiway:location", "US"))

    def _outputs(self, stack: automation.Stack) -> dict[str, Any]:
        return {name: output.value for name, output in stack.outputs().items()}

    @contextmanager
    def _in_words(self) -> Iterator[None]:
        """Turn the failures of `pulumi` into sentences."""
        try:
            yield
        except automation.ConcurrentUpdateError:
            url = self._workspace.env_vars.get("PULUMI_BACKEND_URL")
            command = f"pulumi cancel --yes --stack {self._name}"
            raise StackNotRemovedError(
                f"Stack {self._name} is locked by another update.",
                f"If none is running: {f'PULUMI_BACKEND_URL={url} ' if url else ''}{command}",
            ) from None
        except automation.CommandError as error:
            raise EngineError(*sentences(str(error))) from None


def _collect(steps: list[automation.StepEventMetadata]) -> Callable[[automation.EngineEvent], None]:
    def on_event(event: automation.EngineEvent) -> None:
        if event.resource_pre_event:
            steps.append(event.resource_pre_event.metadata)

    return on_event


def _collect_results(steps: list[automation.StepEventMetadata]) -> Callable[[automation.EngineEvent], None]:
    def on_event(event: automation.EngineEvent) -> None:
        if event.res_outputs_event:
            steps.append(event.res_outputs_event.metadata)

    return on_event


def _title(step: automation.StepEventMetadata) -> str:
    """Return what people call the resource, its logical name where the inputs are not known yet."""
    state = step.new or step.old
    try:
        return KINDS[step.type].title(dict((state.inputs if state else None) or {})).replace(UNKNOWN, "(new)")
    except KeyError:
        return f"{step.type.split(':')[-1]} {step.urn.rsplit('::', 1)[-1]}"


def _details(step: automation.StepEventMetadata) -> tuple[str, ...]:
    """Return the properties that differ, without the provider's copies of the labels."""
    paths = step.detailed_diff or dict.fromkeys(step.diffs or ())
    return tuple(sorted(path for path in paths if not path.startswith(("effectiveLabels", "pulumiLabels"))))


def _is_guarded(stack: automation.Stack) -> bool:
    """Tell whether the state still holds flags of a protected stack."""
    return any(
        resource.get("protect")
        or resource.get("inputs", {}).get("deletionPolicy") == "PREVENT"
        or resource.get("inputs", {}).get("forceDestroy") is False
        for resource in pending.resources(stack)
    )


def _titles(stack: automation.Stack) -> list[str]:
    """Return what a teardown removes, in its order."""
    made = [r for r in pending.resources(stack) if r["type"] in KINDS and not r.get("retainOnDelete")]
    return [KINDS[resource["type"]].title(resource["inputs"]) for resource in reversed(made)]
