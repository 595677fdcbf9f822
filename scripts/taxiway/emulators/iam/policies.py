"""Access policies: read, changed, written back under an entity tag."""

import base64
from typing import Any

from taxiway.emulators.iam.api import Json, Refused, State

CONCURRENT = (
    "There were concurrent policy changes. Please retry the whole read-modify-write with exponential backoff."
)


def read(state: State, resource: str) -> Json:
    """Return the policy of `resource`; one that nobody set has no bindings."""
    return state.policies.get(resource) or {"version": 1, "etag": tag(0), "bindings": []}


def write(state: State, resource: str, policy: Json) -> Json:
    """Replace the policy of `resource` and return it. Refuses with 409 one read before the last change."""
    present = read(state, resource)
    if policy.get("etag") not in (None, "", present["etag"]):
        raise Refused(409, CONCURRENT, "aborted", "ABORTED")
    bindings = [_binding(binding) for binding in policy.get("bindings") or []]
    state.policies[resource] = {
        "version": policy.get("version") or 1,
        "etag": tag(number(present["etag"]) + 1),
        "bindings": [binding for binding in bindings if binding["members"]],
    }
    state.commit()
    return state.policies[resource]


def _binding(binding: Any) -> Json:
    """Return a binding whose members are each there once. Refuses one without a role with 400."""
    role = binding.get("role")
    if not role:
        raise Refused(400, f"A binding needs a role: {binding!r}", "badRequest")
    for member in binding.get("members") or []:
        if ":" not in member and member not in ("allUsers", "allAuthenticatedUsers"):
            raise Refused(
                400, f"Invalid member {member!r}: give a type, such as user:, group: or serviceAccount:."
            )
    return dict(binding) | {"members": sorted(set(binding.get("members") or []))}


def tag(number_: int) -> str:
    """Return the entity tag of the `number_`th change."""
    return base64.b64encode(b"\x07" + number_.to_bytes(7, "big")).decode()


def number(etag: str) -> int:
    """Return how many changes there were at `etag`."""
    return int.from_bytes(base64.b64decode(etag)[1:], "big")
