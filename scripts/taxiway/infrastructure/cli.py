"""The engine that is Pulumi itself: `pulumi` on PATH, driven through its automation interface."""

from __future__ import annotations

import re
import shutil
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

import psutil
from pulumi import automation

from lakehouse.names import region
from lakehouse.settings import project_of
from taxiway.environment.home import REPOSITORY
from taxiway.infrastructure import backend, environment
from taxiway.infrastructure.api import Api, google
from taxiway.infrastructure.engine import (
    Action,
    Change,
    Drift,
    Endpoints,
    EngineError,
    StackNotRemovedError,
)
from taxiway.infrastructure.plan import Plan, plan
from taxiway.infrastructure.resources import TYPES
from taxiway.infrastructure.stackfile import StackFiles
from taxiway.infrastructure.teardown import leftovers

_T = TypeVar("_T")
_ACTIONS: Final[Mapping[str, Action]] = {
    "create": "create",
    "update": "update",
    "replace": "replace",
    "delete": "delete",
}
# A Composer environment alone takes half an hour.
PATIENCE_SECONDS: Final = 2 * 60 * 60
# No colours in what is parsed, no secrets in what is printed: Pulumi's own default shows them.
_QUIET: Final[Mapping[str, Any]] = {"color": "never", "show_secrets": False, "suppress_progress": True}


class Pulumi(Protocol):
    """What the engine needs of Pulumi: the stacks of one backend, by name."""

    url: str
    """The backend that every command has to name; empty where it is the user's own."""

    def select(self, name: str) -> automation.Stack | None:
        """Return a stack, None where the backend has none of that name."""
        ...

    def create(self, name: str) -> automation.Stack:
        """Return a new stack."""
        ...

    def remove(self, name: str) -> None:
        """Remove a stack with its settings, whatever its state still lists."""
        ...


class LocalPulumi:
    """The `pulumi` on PATH, with the variables that its commands get."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        if not shutil.which("pulumi"):
            raise EngineError("There is no `pulumi` on PATH.", "Install it, or use --engine in-process.")
        self.url = variables.get("PULUMI_BACKEND_URL", "")
        self._workspace = automation.LocalWorkspace(work_dir=str(REPOSITORY), env_vars=dict(variables))

    def select(self, name: str) -> automation.Stack | None:
        """Return a stack, None where the backend has none of that name."""
        try:
            return automation.Stack.select(name, self._workspace)
        except automation.StackNotFoundError:
            return None

    def create(self, name: str) -> automation.Stack:
        """Return a new stack."""
        return automation.Stack.create(name, self._workspace)

    def remove(self, name: str) -> None:
        """Remove a stack with its settings."""
        self._workspace.remove_stack(name, force=True)


class CliEngine:
    """One stack of the real engine. Its settings are in `files`, its state in the user's backend.

    On emulators, and for users who never chose a backend, state is kept in `folder`. `pulumi` and `api` are
    for tests: by default the program on PATH, and Google or the emulators.
    """

    def __init__(
        self,
        stack: str,
        config: Mapping[str, str],
        endpoints: Endpoints | None,
        folder: Path,
        *,
        files: StackFiles | None = None,
        pulumi: Pulumi | None = None,
        api: Api | None = None,
    ) -> None:
        self._name = stack
        self._folder = folder
        self._endpoints = endpoints
        self._files = files or StackFiles()
        project = config.get("taxiway:project")
        # The provider warns at every run that it does not know the project, though each resource names it.
        named = {"gcp:project": project} if project else {}
        self._config = {**(endpoints.config() if endpoints else {}), **named, **config}
        self._given_pulumi, self._given_api = pulumi, api

    def exists(self) -> bool:
        """Tell whether the backend has the stack."""
        with self._commands():
            return self._existing() is not None

    def up(self) -> dict[str, Any]:
        """Update the stack, after finishing what an interrupted update left open."""
        self._configure()
        with self._commands():
            stack = self._existing() or self._created()
            self._unlocked(stack, lambda: self._update(stack))
            return _outputs(stack)

    def outputs(self) -> dict[str, Any]:
        """Return the stack's outputs; empty where there is no such stack."""
        with self._commands():
            stack = self._existing()
            return _outputs(stack) if stack else {}

    def preview(self) -> list[Change]:
        """Return what Pulumi plans; backend and settings stay as they are, even where there is no stack."""
        steps: list[automation.StepEventMetadata] = []
        with self._files.untouched(self._name):
            planned = self._configure()
            with self._commands(), self._borrowed() as stack:
                stack.preview(color="never", on_event=lambda event: _note(event.resource_pre_event, steps))
        # What a new resource gets from another new one is not known yet to Pulumi, but our plan knows it.
        titles = {one.key: _title(one.type, one.name, one.inputs) for one in planned.resources}
        return [
            Change(_ACTIONS[step.op.value], titles.get(_key(step)) or _title_of(step), _details(step))
            for step in steps
            if step.op.value in _ACTIONS and step.type.startswith("gcp:")
        ]

    def drift(self) -> list[Drift]:
        """Return what a refresh would find changed; the state stays as it is."""
        steps: list[automation.StepEventMetadata] = []
        with self._commands():
            stack = self._existing()
            if stack is None:
                return []
            # Only after a step does Pulumi know what the refresh found.
            stack.preview_refresh(
                color="never",
                show_secrets=False,
                on_event=lambda event: _note(event.res_outputs_event, steps),
            )
        changed = [step for step in steps if step.op.value in ("update", "delete")]
        return [Drift(_title_of(step), _details(step) or ("it is gone",)) for step in changed]

    def destroy(self) -> list[str]:
        """Destroy what the stack holds; the stack itself stays until it is forgotten."""
        with self._commands():
            stack = self._existing()
            if stack is None:
                return []
            self._refuse_protected()
            self._configure()
            return self._unlocked(stack, lambda: self._tear_down(stack))

    def forget(self) -> None:
        """Remove the stack with its settings; a second call finds nothing to do."""
        with self._commands():
            if self._existing() is not None:
                self._refuse_protected()
                self._pulumi.remove(self._name)
        if (
            self._endpoints
        ):  # settings that did not go with their stack; on Google Cloud they may be for a new one
            self._files.remove(self._name)

    def leftovers(self) -> list[str]:
        """Ask the emulators, or Google Cloud."""
        composer = self._settings.get("taxiway:composer", "").lower() == "true"
        place = region(self._settings.get("taxiway:location", "US")) if composer else ""
        return leftovers(self._api, project_of(self._settings), self._name, place)

    @cached_property
    def _pulumi(self) -> Pulumi:
        if self._given_pulumi:
            return self._given_pulumi
        on_emulators, key_service = self._endpoints is not None, self._files.has_secrets_provider(self._name)
        return LocalPulumi(
            backend.environment(self._folder, on_emulators=on_emulators, key_service=key_service)
        )

    @cached_property
    def _api(self) -> Api:
        if self._given_api:
            return self._given_api
        # A stack made by hand may be on emulators too: its settings say so.
        emulators = self._endpoints or Endpoints.of_config(self._settings)
        return Api.of(emulators) if emulators else google()

    @cached_property
    def _settings(self) -> dict[str, str]:
        """The stack's settings as they were when they were first read: they may go with the stack."""
        return {**self._files.read(self._name), **self._config}

    def _existing(self) -> automation.Stack | None:
        return self._pulumi.select(self._name)

    def _created(self) -> automation.Stack:
        if self._endpoints:
            # Left by an environment that was deleted by hand: it names ports and a passphrase that are gone.
            self._files.remove(self._name)
            self._files.write(self._name, self._config)
        return self._pulumi.create(self._name)

    @contextmanager
    def _borrowed(self) -> Iterator[automation.Stack]:
        """Yield the stack; one that does not exist is made for as long as it takes: a preview needs one."""
        existing = self._existing()
        if existing:
            yield existing
            return
        created = self._created()
        try:
            yield created
        finally:
            self._pulumi.remove(self._name)

    def _configure(self) -> Plan:
        """Write the settings that were given; refuse wrong ones, and broken rules, before Pulumi starts."""
        known = self._files.read(self._name)
        given = {**self._owner(known), **self._config}
        try:
            planned = plan(self._name.rsplit("/", 1)[-1], {**known, **given})
        except EngineError as error:
            remedy = error.remedy or f"The stack's settings are in {self._files.path_of(self._name)}."
            raise EngineError(str(error), remedy) from None
        self._files.write(self._name, given)
        return planned

    def _owner(self, known: Mapping[str, str]) -> dict[str, str]:
        """Return the developer as the owner of a stack on Google Cloud that has none."""
        owner = "" if self._endpoints or known.get("taxiway:owner") else environment.developer()
        return {"taxiway:owner": owner} if owner else {}

    def _update(self, stack: automation.Stack) -> None:
        self._settle(stack)
        # Pulumi compares with its state alone: what others changed would stay changed without a refresh.
        stack.up(**_QUIET, refresh=True)

    def _tear_down(self, stack: automation.Stack) -> list[str]:
        self._settle(stack)
        # The provider reads its teardown flags from the state: they must be there first.
        if any(_is_guarded(resource) for resource in _resources(stack)):
            stack.up(**_QUIET)
        made = [one for one in _resources(stack) if one["type"] in TYPES and not one.get("retainOnDelete")]
        stack.destroy(**_QUIET)
        return [TYPES[one["type"]].title(one["inputs"]) for one in reversed(made)]

    def _settle(self, stack: automation.Stack) -> None:
        """Finish what a killed `pulumi` left open: resources that it was creating.

        What was created is taken into the state, what never came to be is forgotten. Otherwise the next
        update would create it again and be refused: it exists already. Pulumi's own
        `refresh --import-pending-creates` forgets what it should import.
        """
        exported = stack.export_stack()
        deployment = exported.deployment or {}
        operations = deployment.get("pending_operations") or []
        if not operations:
            return
        creating = [operation["resource"] for operation in operations if operation["type"] == "creating"]
        found = [adopted for resource in creating if (adopted := self._adopted(resource))]
        settled = {**deployment, "resources": [*deployment.get("resources", []), *found]}
        settled.pop("pending_operations")
        stack.import_stack(automation.Deployment(version=exported.version, deployment=settled))
        stack.refresh(**_QUIET)

    def _adopted(self, resource: dict[str, Any]) -> dict[str, Any] | None:
        """Return the resource as a state has it, None where it does not exist.

        A key is not adopted: its private half was in the answer that never arrived. It goes with its account.
        """
        known, inputs = TYPES.get(resource["type"]), resource.get("inputs", {})
        if known is None or not known.exists(self._api, inputs):
            return None
        return {**resource, "id": known.outputs(inputs)[0], "outputs": dict(inputs)}

    def _unlocked(self, stack: automation.Stack, operation: Callable[[], _T]) -> _T:
        """Run the operation, past the lock of a process of this machine that was killed."""
        try:
            return operation()
        except automation.ConcurrentUpdateError as error:
            if not backend.is_stale(str(error)):
                raise
            stack.cancel()
            return operation()

    def _refuse_protected(self) -> None:
        if self._settings.get("taxiway:ephemeral", "true").lower() == "false":
            raise StackNotRemovedError(
                f"Stack {self._name} is protected, so nothing of it is removed.",
                f"To remove it, set taxiway:ephemeral to true in {self._files.path_of(self._name)}.",
            )

    @contextmanager
    def _commands(self) -> Iterator[None]:
        """Run commands of `pulumi`, each within a limit of time; their failures become sentences."""
        try:
            with time_limit(PATIENCE_SECONDS):
                yield
        except automation.ConcurrentUpdateError:
            url = self._pulumi.url
            command = f"pulumi cancel --yes --stack {self._name}"
            raise StackNotRemovedError(
                f"Stack {self._name} is locked by another update.",
                f"If none is running: {f'PULUMI_BACKEND_URL={url} ' if url else ''}{command}",
            ) from None
        except automation.CommandError as error:
            raise EngineError(*sentences(str(error))) from None


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Interrupt the `pulumi` that this process waits for once it takes too long.

    The automation interface itself waits for ever.
    """

    def interrupt() -> None:
        for child in psutil.Process().children():
            if child.name().startswith("pulumi"):
                child.send_signal(signal.SIGINT)  # it finishes the step that it is at, and gives up its lock

    timer = threading.Timer(seconds, interrupt)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


# --- What `pulumi` prints, and what its state and events hold -------------------------------------------

# The automation interface puts its own words before the first line of each stream.
_ERROR: Final = re.compile(r"^\s*(?:stderr: )?error: (?!update failed)(.+?)\s*$", re.MULTILINE)
_KNOWN_ERRORS: Final[Mapping[str, tuple[str, str]]] = {
    "iam.disableServiceAccountKeyCreation": (
        "The organization forbids service-account keys.",
        "Work without one: pulumi config set taxiway:credentials impersonation",
    ),
    "incorrect passphrase": (
        "The passphrase is not the one that the stack was made with.",
        "Put it into PULUMI_CONFIG_PASSPHRASE_FILE; that of a checkout is .taxiway/_engine/passphrase.",
    ),
    "failed to load application credentials": (
        "Google Cloud cannot be asked: there are no credentials of yours.",
        "Sign in with: gcloud auth application-default login",
    ),
}


def sentences(output: str) -> tuple[str, str]:
    """Return the errors among Pulumi's output, each once, and a remedy where one is known."""
    for phrase, known in _KNOWN_ERRORS.items():
        if phrase in output:
            return known
    errors = list(dict.fromkeys(_ERROR.findall(output)))
    return "\n".join(errors[:5]) or output.strip()[-500:], ""


def _outputs(stack: automation.Stack) -> dict[str, Any]:
    return {name: output.value for name, output in stack.outputs().items()}


def _resources(stack: automation.Stack) -> list[dict[str, Any]]:
    """Return the resources of the stack's state in order of creation, secrets still encrypted."""
    return list((stack.export_stack().deployment or {}).get("resources", []))


def _is_guarded(resource: Mapping[str, Any]) -> bool:
    """Tell whether a resource of the state still has the flags of a protected stack."""
    inputs = resource.get("inputs", {})
    return (
        bool(resource.get("protect"))
        or inputs.get("deletionPolicy") == "PREVENT"
        or inputs.get("forceDestroy") is False
    )


def _note(
    event: automation.ResourcePreEvent | automation.ResOutputsEvent | None,
    steps: list[automation.StepEventMetadata],
) -> None:
    if event:
        steps.append(event.metadata)


def _key(step: automation.StepEventMetadata) -> str:
    return f"{step.type}::{step.urn.rsplit('::', 1)[-1]}"


def _title_of(step: automation.StepEventMetadata) -> str:
    state = step.old or step.new
    return _title(step.type, step.urn.rsplit("::", 1)[-1], dict((state.inputs if state else None) or {}))


def _title(type_: str, name: str, inputs: Mapping[str, Any]) -> str:
    """Return what people call a resource; one that only Google Cloud has goes by its name in the program."""
    return TYPES[type_].title(inputs) if type_ in TYPES and inputs else f"{type_.split(':')[-1]} {name}"


def _details(step: automation.StepEventMetadata) -> tuple[str, ...]:
    """Return the properties that differ, without the provider's copies of the labels."""
    paths = step.detailed_diff or dict.fromkeys(step.diffs or ())
    return tuple(sorted(path for path in paths if not path.startswith(("effectiveLabels", "pulumiLabels"))))
