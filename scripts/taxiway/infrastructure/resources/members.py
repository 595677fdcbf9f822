"""IAM members: one (role, member) in a policy that others share."""

# ruff: noqa: ARG002 - all resource types share one signature.
from __future__ import annotations

from abc import abstractmethod
from typing import Any

from taxiway.infrastructure.api import Api, segment
from taxiway.infrastructure.errors import EngineError
from taxiway.infrastructure.resources.base import Inputs, Kind, Outputs
from taxiway.infrastructure.resources.bigquery import dataset_url

# The API answers a dataset's basic roles with the names they had before IAM.
_BASIC_ROLES = {
    "READER": "roles/bigquery.dataViewer",
    "WRITER": "roles/bigquery.dataEditor",
    "OWNER": "roles/bigquery.dataOwner",
}


class Member(Kind):
    """A member of some resource's policy; subclasses say how that policy is read and written."""

    fixed = ("role", "member", "bucket", "datasetId", "project", "serviceAccountId")

    @abstractmethod
    def resource(self, inputs: Inputs) -> str:
        """Return the id of the resource whose policy it is."""

    @abstractmethod
    def read(self, api: Api, inputs: Inputs) -> dict[str, Any] | None:
        """Return the resource's policy, None where the resource is gone."""

    @abstractmethod
    def write(self, api: Api, inputs: Inputs, policy: dict[str, Any]) -> None:
        """Replace the resource's policy."""

    def title(self, inputs: Inputs) -> str:
        """Return who may do what where."""
        return f"{inputs['role']} on {self.resource(inputs)} for {inputs['member']}"

    def outputs(self, inputs: Inputs) -> tuple[str, Outputs]:
        """Return the triple that identifies it."""
        return f"{self.resource(inputs)}/{inputs['role']}/{inputs['member']}", dict(inputs)

    def desired(self, inputs: Inputs) -> Outputs:
        """Return the grant."""
        return {"role": inputs["role"], "member": inputs["member"]}

    def apply(self, api: Api, inputs: Inputs, known: Outputs) -> Outputs:
        """Add the member, leaving all others."""
        with api.policies:
            policy = self.read(api, inputs)
            if policy is None:
                raise EngineError(
                    f"{self.title(inputs)} cannot be granted: there is no {self.resource(inputs)}."
                )
            if not _has(policy, inputs):
                _members(policy, inputs["role"]).append(inputs["member"])
                self.write(api, inputs, policy)
        return {}

    def observe(self, api: Api, inputs: Inputs, known: Outputs) -> Outputs | None:
        """Return the grant if it holds."""
        policy = self.read(api, inputs)
        return self.desired(inputs) if policy and _has(policy, inputs) else None

    def delete(self, api: Api, inputs: Inputs, known: Outputs) -> None:
        """Take the member out, leaving all others."""
        with api.policies:
            policy = self.read(api, inputs)
            if policy and _has(policy, inputs):
                _members(policy, inputs["role"]).remove(inputs["member"])
                policy["bindings"] = [binding for binding in policy["bindings"] if binding["members"]]
                self.write(api, inputs, policy)


class BucketMember(Member):
    """`gcp:storage/bucketIAMMember:BucketIAMMember`."""

    def resource(self, inputs: Inputs) -> str:
        """Return the bucket."""
        # A refresh of the real provider writes the prefix into the input.
        return f"b/{inputs['bucket'].removeprefix('b/')}"

    def read(self, api: Api, inputs: Inputs) -> dict[str, Any] | None:
        """Return the bucket's policy."""
        return api.get(self._url(api, inputs), optionsRequestedPolicyVersion="3")

    def write(self, api: Api, inputs: Inputs, policy: dict[str, Any]) -> None:
        """Put the bucket's policy."""
        api.send("PUT", self._url(api, inputs), policy)

    def _url(self, api: Api, inputs: Inputs) -> str:
        return f"{api.storage}/b/{segment(inputs['bucket'].removeprefix('b/'))}/iam"


class ProjectMember(Member):
    """`gcp:projects/iAMMember:IAMMember`."""

    def resource(self, inputs: Inputs) -> str:
        """Return the project."""
        return str(inputs["project"])

    def read(self, api: Api, inputs: Inputs) -> dict[str, Any] | None:
        """Return the project's policy."""
        options = {"options": {"requestedPolicyVersion": 3}}
        return api.send("POST", f"{self._url(api, inputs)}:getIamPolicy", options)

    def write(self, api: Api, inputs: Inputs, policy: dict[str, Any]) -> None:
        """Set the project's policy."""
        api.send("POST", f"{self._url(api, inputs)}:setIamPolicy", {"policy": policy})

    def _url(self, api: Api, inputs: Inputs) -> str:
        return f"{api.resource_manager}/projects/{segment(inputs['project'])}"


class AccountMember(Member):
    """`gcp:serviceaccount/iAMMember:IAMMember`."""

    def resource(self, inputs: Inputs) -> str:
        """Return the account."""
        return str(inputs["serviceAccountId"])

    def read(self, api: Api, inputs: Inputs) -> dict[str, Any] | None:
        """Return the account's policy."""
        if api.get(self._url(api, inputs)) is None:
            return None
        return api.send("POST", f"{self._url(api, inputs)}:getIamPolicy")

    def write(self, api: Api, inputs: Inputs, policy: dict[str, Any]) -> None:
        """Set the account's policy."""
        api.send("POST", f"{self._url(api, inputs)}:setIamPolicy", {"policy": policy})

    def _url(self, api: Api, inputs: Inputs) -> str:
        return f"{api.iam}/{inputs['serviceAccountId']}"


class DatasetMember(Member):
    """`gcp:bigquery/datasetIamMember:DatasetIamMember`, an entry of the dataset's access list."""

    def resource(self, inputs: Inputs) -> str:
        """Return the dataset."""
        return f"projects/{inputs['project']}/datasets/{inputs['datasetId']}"

    def read(self, api: Api, inputs: Inputs) -> dict[str, Any] | None:
        """Return the access list with this one entry, if it is there, as a binding."""
        dataset = api.get(dataset_url(api, inputs), accessPolicyVersion="3")
        if dataset is None:
            return None
        access = dataset.get("access", [])
        bindings = [_binding(inputs)] if any(_is_entry(entry, inputs) for entry in access) else []
        return {"access": access, "bindings": bindings}

    def write(self, api: Api, inputs: Inputs, policy: dict[str, Any]) -> None:
        """Patch the access list."""
        access = [entry for entry in policy["access"] if not _is_entry(entry, inputs)]
        if policy["bindings"]:
            access.append({"role": inputs["role"], "userByEmail": _email(inputs)})
        api.send("PATCH", dataset_url(api, inputs), {"access": access}, accessPolicyVersion="3")


def _has(policy: dict[str, Any], inputs: Inputs) -> bool:
    bindings = policy.get("bindings", [])
    return any(b["role"] == inputs["role"] and inputs["member"] in b["members"] for b in bindings)


def _members(policy: dict[str, Any], role: str) -> list[str]:
    """Return the members of a role's unconditional binding, which is added where there is none."""
    bindings: list[dict[str, Any]] = policy.setdefault("bindings", [])
    for binding in bindings:
        if binding["role"] == role and "condition" not in binding:
            members: list[str] = binding["members"]
            return members
    bindings.append({"role": role, "members": []})
    return bindings[-1]["members"]  # type: ignore[no-any-return]


def _binding(inputs: Inputs) -> dict[str, Any]:
    return {"role": inputs["role"], "members": [inputs["member"]]}


def _is_entry(entry: dict[str, Any], inputs: Inputs) -> bool:
    role = entry.get("role", "")
    return _BASIC_ROLES.get(role, role) == inputs["role"] and entry.get("userByEmail") == _email(inputs)


def _email(inputs: Inputs) -> str:
    return str(inputs["member"]).split(":", 1)[1]
