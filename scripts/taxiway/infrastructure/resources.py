"""What the engines know about each resource type: what people call it, its outputs, how to see and change it.

The storage and the BigQuery emulator *hold* buckets, datasets and the grants on them: the in-process engine
creates, compares and deletes those. Nothing here enforces the rest (accounts, their grants, enabled
APIs), so that engine only records it; `--engine cli` creates it on the control plane.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from taxiway.infrastructure.api import Api, segment
from taxiway.infrastructure.engine import EngineError

Inputs = Mapping[str, Any]
"""Inputs of a resource, with the provider's own (camelCase) names."""
Body = dict[str, Any]
"""A resource as Google's API shows it, or the outputs that the provider would give."""
Pairs = set[tuple[str, str]]
"""Grants, as (role, member)."""


@dataclass(frozen=True)
class ResourceType:
    """One type of resource; texts are templates over its inputs, for all its names follow from those."""

    title_template: str
    id_template: str
    # Inputs that cannot change without a new resource.
    fixed: tuple[str, ...]
    output_templates: Mapping[str, str] = field(default_factory=dict)
    # Of a grant: the id of the resource that it is on.
    on: str = ""
    # Left out where creating it again does no harm.
    probe: Callable[[Api, Inputs], bool] | None = None

    def title(self, inputs: Inputs) -> str:
        """Return what people call it, such as `bucket acme-lake`."""
        return self.title_template.format(**inputs)

    def outputs(self, inputs: Inputs) -> tuple[str, Body]:
        """Return the id and outputs that the provider would give."""
        more = {name: template.format(**inputs) for name, template in self.output_templates.items()}
        return self.id_template.format(**inputs), {**inputs, **more}

    def exists(self, api: Api, inputs: Inputs) -> bool:
        """Tell whether the API has it already, so that creating it would fail, or leave something behind."""
        return bool(self.probe and self.probe(api, inputs))


class Held(ResourceType, ABC):
    """A type that the emulators hold."""

    def exists(self, api: Api, inputs: Inputs) -> bool:
        """Tell whether the API has it already."""
        return self.observe(api, inputs) is not None

    @abstractmethod
    def desired(self, inputs: Inputs) -> Body:
        """Return the part of the API's representation that the inputs decide."""

    @abstractmethod
    def observe(self, api: Api, inputs: Inputs) -> Body | None:
        """Return what is there now, in the form of `desired`; None where nothing is."""

    @abstractmethod
    def apply(self, api: Api, inputs: Inputs) -> None:
        """Create or update it; applying it again changes nothing."""

    @abstractmethod
    def delete(self, api: Api, inputs: Inputs) -> None:
        """Remove it, with its content where the inputs allow that; nothing happens where it is gone."""

    @abstractmethod
    def grants(self, api: Api, inputs: Inputs) -> Pairs:
        """Return who has which role on it, Google's defaults left out; of a grant: on the same resource."""

    def pair(self, inputs: Inputs) -> tuple[str, str]:
        """Return a grant as `grants` names it."""
        return inputs["role"], inputs["member"]


class _Bucket(Held):
    def desired(self, inputs: Inputs) -> Body:
        seconds = inputs["softDeletePolicy"]["retentionDurationSeconds"]
        body: Body = {
            "location": inputs["location"],
            "labels": dict(inputs.get("labels", {})),
            "iamConfiguration": {
                "uniformBucketLevelAccess": {"enabled": inputs["uniformBucketLevelAccess"]},
                "publicAccessPrevention": inputs["publicAccessPrevention"],
            },
            "versioning": {"enabled": inputs["versioning"]["enabled"]},
            "softDeletePolicy": {"retentionDurationSeconds": str(seconds)},
            "lifecycle": {"rule": [_lifecycle_rule(rule) for rule in inputs.get("lifecycleRules", [])]},
        }
        return {**body, **_copied(inputs, "encryption")}

    def observe(self, api: Api, inputs: Inputs) -> Body | None:
        return api.get(_bucket_url(api, inputs["name"]))

    def apply(self, api: Api, inputs: Inputs) -> None:
        body, present = self.desired(inputs), self.observe(api, inputs)
        if present is None:
            api.send("POST", f"{api.storage}/b", {"name": inputs["name"], **body}, project=inputs["project"])
        else:
            patch = _merge_patch(present, body, ("encryption",))
            api.send("PATCH", _bucket_url(api, inputs["name"]), patch)

    def delete(self, api: Api, inputs: Inputs) -> None:
        url = _bucket_url(api, inputs["name"])
        if self.observe(api, inputs) is None:
            return
        if inputs.get("forceDestroy"):
            # Listed in full first: a listing that shrinks under its page tokens would skip some.
            for item in list(api.pages(f"{url}/o", "items", versions="true")):
                api.delete(f"{url}/o/{segment(item['name'])}", generation=str(item["generation"]))
        api.delete(url)

    def grants(self, api: Api, inputs: Inputs) -> Pairs:
        return _pairs(api.get(f"{_bucket_url(api, inputs['name'])}/iam", **_POLICY_VERSION))


class _BucketGrant(Held):
    def title(self, inputs: Inputs) -> str:
        # A refresh of the real provider writes the prefix into the input.
        return super().title({**inputs, "bucket": inputs["bucket"].removeprefix("b/")})

    def desired(self, inputs: Inputs) -> Body:
        return {"role": inputs["role"], "member": inputs["member"]}

    def observe(self, api: Api, inputs: Inputs) -> Body | None:
        return self.desired(inputs) if self.pair(inputs) in self.grants(api, inputs) else None

    def apply(self, api: Api, inputs: Inputs) -> None:
        policy = api.get(self._url(api, inputs), **_POLICY_VERSION)
        if policy is None:
            raise EngineError(f"{self.title(inputs)} cannot be granted: there is no such bucket.")
        if self.pair(inputs) not in _pairs(policy):
            bindings = policy.setdefault("bindings", [])
            # A binding with a condition is another grant.
            same = [b for b in bindings if b["role"] == inputs["role"] and "condition" not in b]
            if not same:
                same = [{"role": inputs["role"], "members": []}]
                bindings += same
            same[0]["members"].append(inputs["member"])
            api.send("PUT", self._url(api, inputs), policy)

    def delete(self, api: Api, inputs: Inputs) -> None:
        policy = api.get(self._url(api, inputs), **_POLICY_VERSION)
        if policy is None or self.pair(inputs) not in _pairs(policy):
            return
        for binding in policy["bindings"]:
            if binding["role"] == inputs["role"] and inputs["member"] in binding["members"]:
                binding["members"].remove(inputs["member"])
        policy["bindings"] = [binding for binding in policy["bindings"] if binding["members"]]
        api.send("PUT", self._url(api, inputs), policy)

    def grants(self, api: Api, inputs: Inputs) -> Pairs:
        return _pairs(api.get(self._url(api, inputs), **_POLICY_VERSION))

    def _url(self, api: Api, inputs: Inputs) -> str:
        return f"{_bucket_url(api, inputs['bucket'].removeprefix('b/'))}/iam"


class _Dataset(Held):
    _optional = ("defaultEncryptionConfiguration", "defaultTableExpirationMs")

    def desired(self, inputs: Inputs) -> Body:
        body: Body = {
            "location": inputs["location"],
            "labels": dict(inputs.get("labels", {})),
            "description": inputs.get("description", ""),
        }
        if "defaultTableExpirationMs" in inputs:
            body["defaultTableExpirationMs"] = str(inputs["defaultTableExpirationMs"])
        return {**body, **_copied(inputs, "defaultEncryptionConfiguration")}

    def observe(self, api: Api, inputs: Inputs) -> Body | None:
        return api.get(_dataset_url(api, inputs))

    def apply(self, api: Api, inputs: Inputs) -> None:
        body, present = self.desired(inputs), self.observe(api, inputs)
        if present is None:
            reference = {"projectId": inputs["project"], "datasetId": inputs["datasetId"]}
            collection = f"{api.bigquery}/projects/{segment(inputs['project'])}/datasets"
            api.send("POST", collection, {"datasetReference": reference, **body})
        else:
            api.send("PATCH", _dataset_url(api, inputs), _merge_patch(present, body, self._optional))

    def delete(self, api: Api, inputs: Inputs) -> None:
        contents = "true" if inputs.get("deleteContentsOnDestroy") else "false"
        api.delete(_dataset_url(api, inputs), deleteContents=contents)

    def grants(self, api: Api, inputs: Inputs) -> Pairs:
        return {_of_entry(entry) for entry in _access(api, inputs) if _is_granted(entry)}


class _DatasetGrant(Held):
    """An entry of the dataset's access list, which does not say of an address whose it is."""

    def pair(self, inputs: Inputs) -> tuple[str, str]:
        return inputs["role"], inputs["member"].split(":", 1)[1]

    def desired(self, inputs: Inputs) -> Body:
        return {"role": inputs["role"], "member": inputs["member"]}

    def observe(self, api: Api, inputs: Inputs) -> Body | None:
        return self.desired(inputs) if self.pair(inputs) in self.grants(api, inputs) else None

    def apply(self, api: Api, inputs: Inputs) -> None:
        access, (role, email) = _access(api, inputs), self.pair(inputs)
        if (role, email) not in map(_of_entry, access):
            self._write(api, inputs, [*access, {"role": role, "userByEmail": email}])

    def delete(self, api: Api, inputs: Inputs) -> None:
        access = _access(api, inputs)
        kept = [entry for entry in access if _of_entry(entry) != self.pair(inputs)]
        if kept != access:
            self._write(api, inputs, kept)

    def grants(self, api: Api, inputs: Inputs) -> Pairs:
        return {_of_entry(entry) for entry in _access(api, inputs)}

    def _write(self, api: Api, inputs: Inputs, access: list[Body]) -> None:
        api.send("PATCH", _dataset_url(api, inputs), {"access": access}, accessPolicyVersion="3")


def _account_exists(api: Api, inputs: Inputs) -> bool:
    return api.get(f"{api.iam}/{_ACCOUNT_NAME.format(**inputs)}") is not None


def _project_grant_exists(api: Api, inputs: Inputs) -> bool:
    # Granting it twice does no harm, but a grant that no state has would outlive the stack.
    url = f"{api.resource_manager}/projects/{segment(inputs['project'])}:getIamPolicy"
    policy = api.send("POST", url, {"options": {"requestedPolicyVersion": 3}})
    return (inputs["role"], inputs["member"]) in _pairs(policy)


def _lifecycle_rule(rule: Body) -> Body:
    """Return a lifecycle rule as the API writes it: `isLive` where the provider has `withState`."""
    condition = dict(rule["condition"])
    if (state := condition.pop("withState", "ANY")) != "ANY":
        condition["isLive"] = state == "LIVE"
    return {"action": rule["action"], "condition": condition}


def _copied(inputs: Inputs, name: str) -> Body:
    return {name: dict(inputs[name])} if name in inputs else {}


def _merge_patch(present: Body, body: Body, optional: Iterable[str]) -> Body:
    """Return the body that also takes out labels and optional parts which are no longer wanted."""
    gone = {name: None for name in optional if name in present and name not in body}
    labels = {name: None for name in present.get("labels", {}) if name not in body["labels"]}
    return {**body, **gone, "labels": {**labels, **body["labels"]}}


def _bucket_url(api: Api, name: str) -> str:
    return f"{api.storage}/b/{segment(name)}"


def _dataset_url(api: Api, inputs: Inputs) -> str:
    return f"{api.bigquery}/projects/{segment(inputs['project'])}/datasets/{segment(inputs['datasetId'])}"


def _pairs(policy: Body | None) -> Pairs:
    """Return an IAM policy as pairs, without the project's own owners, editors and viewers."""
    bindings = (policy or {}).get("bindings", [])
    found = {(binding["role"], member) for binding in bindings for member in binding["members"]}
    return {pair for pair in found if not pair[1].startswith(_OWN_PREFIXES)}


def _access(api: Api, inputs: Inputs) -> list[Body]:
    dataset = api.get(_dataset_url(api, inputs), accessPolicyVersion="3") or {}
    return list(dataset.get("access", []))


def _of_entry(entry: Body) -> tuple[str, str]:
    """Return an entry of a dataset's access list as (role, whom)."""
    role = str(entry.get("role", ""))
    whom = next((str(value) for name, value in entry.items() if name not in ("role", "condition")), "")
    return _BASIC_ROLES.get(role, role), whom


def _is_granted(entry: Body) -> bool:
    """Tell whether somebody granted an entry; views have no role, and a project's groups are always there."""
    return "role" in entry and entry.get("specialGroup") not in _OWN_GROUPS


# Google gives every new bucket and dataset to the project's own owners, editors and viewers.
_OWN_PREFIXES: Final = ("projectOwner:", "projectEditor:", "projectViewer:")
_OWN_GROUPS: Final = ("projectOwners", "projectWriters", "projectReaders")
_POLICY_VERSION: Final = {"optionsRequestedPolicyVersion": "3"}
# The API answers a dataset's basic roles with the names they had before IAM.
_BASIC_ROLES: Final = {
    "READER": "roles/bigquery.dataViewer",
    "WRITER": "roles/bigquery.dataEditor",
    "OWNER": "roles/bigquery.dataOwner",
}
_ACCOUNT_EMAIL: Final = "{accountId}@{project}.iam.gserviceaccount.com"
_ACCOUNT_NAME: Final = "projects/{project}/serviceAccounts/" + _ACCOUNT_EMAIL
_DATASET_PATH: Final = "projects/{project}/datasets/{datasetId}"


def _grant(
    cls: type[ResourceType], on: str, probe: Callable[[Api, Inputs], bool] | None = None
) -> ResourceType:
    """Return the type of a (role, member) in a policy that others share: all others stay as they are."""
    fixed = ("role", "member", "bucket", "datasetId", "project", "serviceAccountId")
    return cls("{role} on " + on + " for {member}", on + "/{role}/{member}", fixed, on=on, probe=probe)


TYPES: Final[Mapping[str, ResourceType]] = {
    "gcp:storage/bucket:Bucket": _Bucket(
        "bucket {name}",
        "{name}",
        ("name", "location", "project"),
        {
            "url": "gs://{name}",
            "selfLink": "https://www.googleapis.com/storage/v1/b/{name}",
            "storageClass": "STANDARD",
        },
    ),
    "gcp:storage/bucketIAMMember:BucketIAMMember": _grant(_BucketGrant, "b/{bucket}"),
    "gcp:bigquery/dataset:Dataset": _Dataset(
        "dataset {datasetId}",
        _DATASET_PATH,
        ("datasetId", "location", "project"),
        {"selfLink": "https://bigquery.googleapis.com/bigquery/v2/" + _DATASET_PATH},
    ),
    "gcp:bigquery/datasetIamMember:DatasetIamMember": _grant(_DatasetGrant, _DATASET_PATH),
    "gcp:serviceaccount/account:Account": ResourceType(
        "service account {accountId}",
        _ACCOUNT_NAME,
        ("accountId", "project"),
        {"name": _ACCOUNT_NAME, "email": _ACCOUNT_EMAIL, "member": "serviceAccount:" + _ACCOUNT_EMAIL},
        probe=_account_exists,
    ),
    # It goes with its account, and so does the key.
    "gcp:serviceaccount/iAMMember:IAMMember": _grant(ResourceType, "{serviceAccountId}"),
    "gcp:serviceaccount/key:Key": ResourceType(
        "key of {serviceAccountId}",
        "{serviceAccountId}/keys/planned",
        ("serviceAccountId",),
        # What stands for a key that does not exist yet: base64 of an empty JSON object.
        {"name": "{serviceAccountId}/keys/planned", "privateKey": "e30="},
    ),
    "gcp:projects/iAMMember:IAMMember": _grant(ResourceType, "{project}", _project_grant_exists),
    "gcp:projects/service:Service": ResourceType(
        "API {service}", "{project}/{service}", ("project", "service")
    ),
}
