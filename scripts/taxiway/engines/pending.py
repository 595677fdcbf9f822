"""What an interrupted update left open: resources that were being created when `pulumi` was killed."""

from __future__ import annotations

from typing import Any

from pulumi import automation

from taxiway.engines.api import Api
from taxiway.engines.kinds import KINDS


def resources(stack: automation.Stack) -> list[dict[str, Any]]:
    """Return the resources of the stack's state in order of creation, secrets still encrypted."""
    return list((stack.export_stack().deployment or {}).get("resources", []))


def settle(stack: automation.Stack, api: Api) -> None:
    """Take what was created but not recorded into the state, and forget what never came to be.

    Without it the next update would create it again and be refused: it exists already.
    """
    operations = (stack.export_stack().deployment or {}).get("pending_operations") or []
    creating = [operation["resource"] for operation in operations if operation["type"] == "creating"]
    if not operations:
        return
    arguments = ["refresh", "--yes", "--skip-preview", "--color=never", "--stack", stack.name]
    for resource in creating:
        if identifier := _identifier(resource, api):
            arguments += [f"--import-pending-creates={value}" for value in (resource["urn"], identifier)]
    workspace = stack.workspace
    run = workspace.pulumi_command.run
    run([*arguments, "--clear-pending-creates"], workspace.work_dir, dict(workspace.env_vars))


def _identifier(resource: dict[str, Any], api: Api) -> str:
    """Return the id of a resource if it exists, else nothing."""
    kind, inputs = KINDS.get(resource["type"]), resource.get("inputs", {})
    if kind is None or resource["type"].endswith(":Key") or kind.observe(api, inputs, {}) is None:
        return ""
    return kind.outputs(inputs)[0]
