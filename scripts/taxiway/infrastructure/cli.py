"""The engine that is Pulumi itself: `pulumi` on PATH, driven through its automation interface."""

from __future__ import annotations

import os
import re
import shutil
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, Final, TypeVar

import psutil
from pulumi import automation

from lakehouse.names import region, zone
from lakehouse.settings import project_of
from taxiway.environment.home import REPOSITORY
from taxiway.infrastructure import backend, environment
from taxiway.infrastructure.api import Api, google
from taxiway.infrastructure.engine import (
    PLACEHOLDER,
    Action,
    Change,
    Drift,
    Endpoints,
    EngineError,
    StackNotRemovedError,
)
from taxiway.infrastructure.plan import (
    Declared,
    Plan,
    differences,
    never_made,
    of_change,
    plan,
    refuse_losses,
)
from taxiway.infrastructure.resources import TYPES, added_grants, roles_by_member
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
# Of a release whose dataset declared no access list: Pulumi would delete it after the update, and the new
# entry, which is the same, with it.
_REPLACED_BY_ACCESS: Final = "gcp:bigquery/datasetIamMember:DatasetIamMember"


class Workspace(automation.LocalWorkspace):
    """The repository as Pulumi's workspace: the stacks of one backend, by name.

    `url` is the backend that every command has to name; empty where it is the user's own. The stack that the
    user selected stays selected, which Pulumi's own two methods would change.
    """

    def __init__(self, variables: Mapping[str, str]) -> None:
        if not shutil.which("pulumi"):
            raise EngineError("There is no `pulumi` on PATH.", "Install it, or use --engine in-process.")
        # The program is run by `uv run`: by the uv that the commands install, and nothing is installed anew.
        path = f"{REPOSITORY / '.tools' / 'uv' / 'bin'}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
        uv = {"PATH": path, "UV_NO_SYNC": "1"}
        super().__init__(work_dir=str(REPOSITORY), env_vars={**uv, **variables})
        self.url = variables.get("PULUMI_BACKEND_URL", "")

    def create_stack(self, stack_name: str) -> None:
        """Create a stack."""
        self._run("stack", "init", stack_name, "--no-select")

    def select_stack(self, stack_name: str) -> None:
        """Check that there is a stack; every later command names it."""
        self._run("stack", "--stack", stack_name)

    def _run(self, *words: str) -> None:
        assert self.pulumi_command  # noqa: S101 - typed as if it could be missing
        self.pulumi_command.run(list(words), self.work_dir, self.env_vars)

    def find(self, name: str) -> automation.Stack | None:
        """Return a stack, None where the backend has none of that name."""
        try:
            return automation.Stack.select(name, self)
        except automation.StackNotFoundError:
            return None

    def make(self, name: str) -> automation.Stack:
        """Return a new stack."""
        return automation.Stack.create(name, self)

    def remove(self, name: str) -> None:
        """Remove a stack with its settings, whatever its state still lists."""
        self.remove_stack(name, force=True)


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
        pulumi: Workspace | None = None,
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
        # Refresh and destroy take the provider's endpoints from the state: an emulator's port may have moved.
        self._moving: dict[str, Any] = {"run_program": True} if endpoints else {}

    def exists(self) -> bool:
        """Tell whether the backend has the stack."""
        with self._commands():
            return self._pulumi.find(self._name) is not None

    def up(self) -> dict[str, Any]:
        """Update the stack, after finishing what an interrupted update left open."""
        planned = self._configure()
        with self._commands():
            stack = self._pulumi.find(self._name) or self._created()
            # An update goes on beside a step that is refused: what cannot be done is found before the first.
            refuse_losses(_records(_deployment(stack)), planned)
            self._unlocked(stack, lambda: self._update(stack))
            return _outputs(stack)

    def outputs(self) -> dict[str, Any]:
        """Return the stack's outputs; empty where there is no such stack."""
        with self._commands():
            stack = self._pulumi.find(self._name)
            return _outputs(stack) if stack else {}

    def preview(self) -> list[Change]:
        """Return what Pulumi plans; backend and settings stay as they are, even where there is no stack."""
        seen: list[automation.ResourcePreEvent | None] = []
        with self._files.untouched(self._name):
            planned = self._configure()
            with self._commands(), self._borrowed() as stack:
                stack.preview(color="never", on_event=lambda event: seen.append(event.resource_pre_event))
        # What a new resource gets from another new one is not known yet to Pulumi, but our plan knows it.
        known = {one.key: one for one in planned.resources}
        return [
            of_change(_ACTIONS[step.op.value], known.get(one.key, one), _details(step))
            for step, one in ((event.metadata, _resource(event.metadata)) for event in seen if event)
            if step.op.value in _ACTIONS and step.type.startswith("gcp:")
        ]

    def drift(self) -> list[Drift]:
        """Return what a refresh would find changed, what is half done, and grants that others added."""
        seen: list[automation.ResOutputsEvent | None] = []
        with self._files.untouched(self._name), self._commands():
            stack = self._pulumi.find(self._name)
            if stack is None:
                return []
            planned = self._configure()
            deployment = _deployment(stack)
            # Only after a step does Pulumi know what the refresh found.
            stack.preview_refresh(
                color="never",
                show_secrets=False,
                on_event=lambda event: seen.append(event.res_outputs_event),
                **self._moving,
            )
        steps = [event.metadata for event in seen if event]
        # Where the program runs along, the stack, its components and the provider count as updated, too.
        ours = [step for step in steps if step.type.startswith("gcp:")]
        changed = [step for step in ours if step.op.value in ("update", "delete")]
        found = [Drift(_resource(step).title, _details(step) or ("it is gone",)) for step in changed]
        for operation in deployment.get("pending_operations") or []:
            doing = f"an update was ended while {operation['type']} it: scripts/up continues"
            found.append(Drift(_declared(operation["resource"]).title, (doing,)))
        records = _records(deployment)
        found += never_made(records, planned)
        return found + list(added_grants(self._api, ((one.type, one.inputs) for one in records.values())))

    def destroy(self) -> list[str]:
        """Destroy what the stack holds; the stack itself stays until it is forgotten."""
        with self._commands():
            stack = self._pulumi.find(self._name)
            if stack is None:
                return []
            self._refuse_protected()
            self._configure()
            return self._unlocked(stack, lambda: self._tear_down(stack))

    def forget(self) -> None:
        """Remove the stack with its settings; a second call finds nothing to do."""
        with self._commands():
            if self._pulumi.find(self._name) is not None:
                self._refuse_protected()
                self._pulumi.remove(self._name)
        if self._endpoints:
            # Settings that did not go with their stack; on Google Cloud they may be for a new one.
            self._files.remove(self._name)

    def leftovers(self) -> list[str]:
        """Ask the emulators, or Google Cloud."""
        settings = self._settings
        location = settings.get("taxiway:location", "US")

        def where(component: str, place: str) -> str:
            return place if settings.get(f"taxiway:{component}", "").lower() == "true" else ""

        return leftovers(
            self._api,
            project_of(settings),
            self._name,
            composer=where("composer", region(location)),
            bucket=settings.get("taxiway:bucket", ""),
            runner=where("runner", zone(location)),
        )

    @cached_property
    def _pulumi(self) -> Workspace:
        if self._given_pulumi:
            return self._given_pulumi
        keys = self._files.has_secrets_provider(self._name)
        on_emulators = self._endpoints is not None
        variables = backend.environment(self._folder, on_emulators=on_emulators, key_service=keys)
        return Workspace(variables | (self._endpoints.secrets() if self._endpoints else {}))

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

    def _created(self) -> automation.Stack:
        if self._endpoints:
            # Left by an environment that was deleted by hand: it names ports and a passphrase that are gone.
            self._files.remove(self._name)
            self._files.write(self._name, self._config)
        return self._pulumi.make(self._name)

    @contextmanager
    def _borrowed(self) -> Iterator[automation.Stack]:
        """Yield the stack; one that does not exist is made for as long as it takes: a preview needs one."""
        existing = self._pulumi.find(self._name)
        try:
            yield existing or self._created()
        finally:
            if not existing:
                self._pulumi.remove(self._name)

    def _configure(self) -> Plan:
        """Write the settings that were given; refuse wrong ones, and broken rules, before Pulumi starts."""
        known = self._files.read(self._name)
        # Who creates a stack on Google Cloud is its owner, unless its settings name somebody.
        owner = "" if self._endpoints or known.get("taxiway:owner") else environment.developer()
        given = {**({"taxiway:owner": owner} if owner else {}), **self._config}
        planned = self._planned({**known, **given})
        # Written when these emulators asked for no token: it would be sent instead of theirs.
        stale = PLACEHOLDER if self._endpoints and self._endpoints.token else ""
        self._files.write(self._name, given, without=stale)
        return planned

    def _planned(self, settings: Mapping[str, str]) -> Plan:
        try:
            return plan(self._name.rsplit("/", 1)[-1], settings)
        except EngineError as error:
            remedy = error.remedy or f"The stack's settings are in {self._files.path_of(self._name)}."
            raise EngineError(str(error), remedy) from None

    def _update(self, stack: automation.Stack) -> None:
        self._settle(stack)
        # Pulumi compares with its state alone: what others changed would stay changed without a refresh.
        stack.up(**_QUIET, **self._moving, refresh=True)

    def _tear_down(self, stack: automation.Stack) -> list[str]:
        # The provider reads its teardown flags from the state: they must be there first.
        records = _records(self._settle(stack)).values()
        guards = (
            (one.protect, one.inputs.get("deletionPolicy"), one.inputs.get("forceDestroy")) for one in records
        )
        if any(protect or policy == "PREVENT" or force is False for protect, policy, force in guards):
            stack.up(**_QUIET)
            records = _records(_deployment(stack)).values()
        # The provider cannot empty a bucket that somebody has deleted. `destroy --refresh` would not run the
        # program, and ask at the old ports.
        stack.refresh(**_QUIET, **self._moving)
        stack.destroy(**_QUIET, **self._moving)
        return [one.title for one in reversed(records) if one.type in TYPES and not one.retain_on_delete]

    def _settle(self, stack: automation.Stack) -> Mapping[str, Any]:
        """Finish what a killed `pulumi` left open, resources that it was creating; return the deployment.

        What was created is taken into the state, what never came to be is forgotten. Otherwise the next
        update would create it again and be refused: it exists already. Pulumi's own
        `refresh --import-pending-creates` forgets what it should import.
        """
        exported = stack.export_stack()
        deployment = exported.deployment or {}
        operations, resources = deployment.get("pending_operations") or [], deployment.get("resources", [])
        kept = [one for one in resources if one["type"] != _REPLACED_BY_ACCESS]
        if not operations and len(kept) == len(resources):
            return deployment
        creating = [operation["resource"] for operation in operations if operation["type"] == "creating"]
        found = [adopted for resource in creating if (adopted := self._adopted(resource))]
        settled = {**deployment, "resources": [*kept, *found]}
        settled.pop("pending_operations", None)
        stack.import_stack(automation.Deployment(version=exported.version, deployment=settled))
        if operations:
            stack.refresh(**_QUIET, **self._moving)
        return _deployment(stack)

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
    # Also the managed constraint, iam.managed.disableServiceAccountKeyCreation.
    "disableServiceAccountKeyCreation": (
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


def _deployment(stack: automation.Stack) -> dict[str, Any]:
    """Return the stack's state: its resources in order of creation, secrets still encrypted."""
    return dict(stack.export_stack().deployment or {})


def _records(deployment: Mapping[str, Any]) -> dict[str, Declared]:
    """Return the resources of a state that are Google's, by their keys."""
    found = [_declared(one) for one in deployment.get("resources", []) if one["type"].startswith("gcp:")]
    return {record.key: record for record in found}


def _declared(resource: Mapping[str, Any]) -> Declared:
    return Declared(
        resource["type"],
        resource["urn"].rsplit("::", 1)[-1],
        resource.get("inputs", {}),
        bool(resource.get("protect")),
        bool(resource.get("retainOnDelete")),
    )


def _resource(step: automation.StepEventMetadata) -> Declared:
    state = step.old or step.new
    return Declared(step.type, step.urn.rsplit("::", 1)[-1], dict((state.inputs if state else None) or {}))


def _details(step: automation.StepEventMetadata) -> tuple[str, ...]:
    """Return the properties that differ, without the provider's copies of the labels; of access, who."""
    paths = step.detailed_diff or dict.fromkeys(step.diffs or ())
    found = {path for path in paths if not path.startswith(("effectiveLabels", "pulumiLabels", "accesses"))}
    if any(path.startswith("accesses") for path in paths):
        old, new = (
            roles_by_member(((state and state.inputs) or {}).get("accesses") or ())
            for state in (step.old, step.new)
        )
        found |= set(differences(old, new, "access")) or {"access"}
    return tuple(sorted(found))
