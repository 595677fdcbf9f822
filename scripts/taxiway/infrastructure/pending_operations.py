"""What an interrupted update left open: resources that were being created when `pulumi` was killed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pulumi import automation

from taxiway.infrastructure.api import Api
from taxiway.infrastructure.resources import KINDS


def resources(stack: automation.Stack) -> list[dict[str, Any]]:
    """Return the resources of the stack's state in order of creation, secrets still encrypted."""
    return list((stack.export_stack().deployment or {}).get("resources", []))


def settle(stack: automation.Stack, api: Callable[[], Api]) -> None:
    """Take what was created but not recorded into the state, and forget what never came to be.

    Without it the next update would create it again and be refused: it exists already. Pulumi's own
    `refresh --import-pending-creates` forgets what it should import.
    """
    exported = stack.export_stack()
    deployment = exported.deployment or {}
    operations = deployment.get("pending_operations") or []
    if not operations:
        return
    creating = [operation["resource"] for operation in operations if operation["type"] == "creating"]
    found = [adopted for resource in creating if (adopted := _adopted(resource, api()))]
    settled = {**deployment, "resources": [*deployment.get("resources", []), *found]}
    settled.pop("pending_operations")
    stack.import_stack(automation.Deployment(version=exported.version, deployment=settled))
    stack.refresh(color="never", show_secrets=False, suppress_progress=True)


def _adopted(resource: dict[str, Any], api: Api) -> dict[str, Any] | None:
    """Return the resource as the state has it once it exists, None where it does not.

    A key is not adopted: its private half was in the answer that never arrived. It goes with its account.
    """
    kind, inputs = KINDS.get(resource["type"]), resource.get("inputs", {})
    if kind is None or resource["type"].endswith(":Key") or kind.observe(api, inputs, {}) is None:
        return None
    return {**resource, "id": kind.outputs(inputs)[0], "outputs": dict(inputs)}
