"""What the engines know about each resource type: what people call it, its outputs, how to see and change it.

The storage and the BigQuery emulator *hold* buckets, datasets and the grants on them: the in-process engine
creates, compares and deletes those. Nothing here enforces the rest (accounts, their grants, enabled
APIs), so that engine only records it; `--engine cli` creates it on the control plane.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from taxiway.infrastructure.api import Api, segment
from taxiway.infrastructure.engine import Drift, EngineError

Inputs = Mapping[str, Any]
"""Inputs of a resource, with the provider's own (camelCase) names."""
Body = dict[str, Any]
"""A resource as Google's API shows it, or the outputs that the provider would give."""


@dataclass(frozen=True)
class ResourceType:
    """One type of resource; texts are templates over its inputs, for all its names follow from those."""

    title_template: str
    id_template: str
    # Inputs that cannot change without a new resource.
    fixed: tuple[str, ...]
    output_templates: Mapping[str, str] = field(default_factory=dict)
    is_grant: bool = False
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
    """A type that the emulators hold, at one URL below its collection."""

    def exists(self, api: Api, inputs: Inputs) -> bool:
        """Tell whether the API has it already."""
        return self.observe(api, inputs) is not None

    @abstractmethod
    def urls(self, api: Api, inputs: Inputs) -> tuple[str, str]:
        """Return the URLs of the collection and of the resource itself."""

    def reference(self, inputs: Inputs) -> Body:
        """Return what names a new one in the request."""
        return {"name": inputs["name"]}

    @abstractmethod
    def desired(self, inputs: Inputs) -> Body:
        """Return the part of the API's representation that the inputs decide."""

    def comparable(self, body: Body) -> Body:
        """Return a body, wanted or observed, in the form in which two are compared."""
        return body

    def observe(self, api: Api, inputs: Inputs) -> Body | None:
        """Return what is there now, None where nothing is."""
        return api.get(self.urls(api, inputs)[1])

    def apply(self, api: Api, inputs: Inputs) -> None:
        """Create or update it; applying it again changes nothing."""
        collection, url = self.urls(api, inputs)
        body, present = self.desired(inputs), self.observe(api, inputs)
        if present is None:
            api.send("POST", collection, {**self.reference(inputs), **body})
            return
        # A merge patch: labels and optional parts that are no longer wanted have to be named.
        optional = ("encryption", "defaultEncryptionConfiguration", "defaultTableExpirationMs")
        gone = {name: None for name in optional if name in present and name not in body}
        labels = {**dict.fromkeys(present.get("labels", {})), **body["labels"]}
        api.send("PATCH", url, {**body, **gone, "labels": labels})

    @abstractmethod
    def delete(self, api: Api, inputs: Inputs) -> None:
        """Remove it, with its content where the inputs allow that; nothing happens where it is gone."""


class _Bucket(Held):
    def urls(self, api: Api, inputs: Inputs) -> tuple[str, str]:
        return f"{api.storage}/b?project={inputs['project']}", f"{api.storage}/b/{segment(inputs['name'])}"

    def desired(self, inputs: Inputs) -> Body:
        seconds = inputs["softDeletePolicy"]["retentionDurationSeconds"]
        rules = []
        for rule in inputs.get("lifecycleRules", []):
            condition = dict(rule["condition"])
            # The API has `isLive` where the provider has `withState`, and another plural.
            if (state := condition.pop("withState", "ANY")) != "ANY":
                condition["isLive"] = state == "LIVE"
            if prefixes := condition.pop("matchesPrefixes", None):
                condition["matchesPrefix"] = prefixes
            rules.append({"action": rule["action"], "condition": condition})
        return {
            "location": inputs["location"],
            "labels": dict(inputs.get("labels", {})),
            "iamConfiguration": {
                "uniformBucketLevelAccess": {"enabled": inputs["uniformBucketLevelAccess"]},
                "publicAccessPrevention": inputs["publicAccessPrevention"],
            },
            "versioning": {"enabled": inputs["versioning"]["enabled"]},
            "softDeletePolicy": {"retentionDurationSeconds": str(seconds)},
            "lifecycle": {"rule": rules},
            **_copied(inputs, "encryption"),
        }

    def delete(self, api: Api, inputs: Inputs) -> None:
        url = self.urls(api, inputs)[1]
        if self.observe(api, inputs) is None:
            return
        if inputs.get("forceDestroy"):
            # Listed in full first: a listing that shrinks under its page tokens would skip some.
            for item in list(api.pages(f"{url}/o", "items", versions="true")):
                api.delete(f"{url}/o/{segment(item['name'])}", generation=str(item["generation"]))
        api.delete(url)


class _Dataset(Held):
    def urls(self, api: Api, inputs: Inputs) -> tuple[str, str]:
        collection = f"{api.bigquery}/projects/{segment(inputs['project'])}/datasets"
        return collection, f"{collection}/{segment(inputs['datasetId'])}"

    def reference(self, inputs: Inputs) -> Body:
        return {"datasetReference": {"projectId": inputs["project"], "datasetId": inputs["datasetId"]}}

    def desired(self, inputs: Inputs) -> Body:
        body: Body = {
            "location": inputs["location"],
            "labels": dict(inputs.get("labels", {})),
            "description": inputs.get("description", ""),
        }
        if "defaultTableExpirationMs" in inputs:
            body["defaultTableExpirationMs"] = str(inputs["defaultTableExpirationMs"])
        # A stack of an earlier release declared no access list.
        if "accesses" in inputs:
            body["access"] = [dict(entry) for entry in inputs["accesses"]]
        return {**body, **_copied(inputs, "defaultEncryptionConfiguration")}

    def observe(self, api: Api, inputs: Inputs) -> Body | None:
        present = super().observe(api, inputs)
        return None if present is None else {"access": [], **present}

    def comparable(self, body: Body) -> Body:
        return {**body, "access": roles_by_member(body["access"])} if "access" in body else body

    def delete(self, api: Api, inputs: Inputs) -> None:
        contents = "true" if inputs.get("deleteContentsOnDestroy") else "false"
        api.delete(self.urls(api, inputs)[1], deleteContents=contents)


class _BucketGrant(Held):
    def title(self, inputs: Inputs) -> str:
        return super().title({**inputs, "bucket": plain(inputs["bucket"])})

    def urls(self, api: Api, inputs: Inputs) -> tuple[str, str]:
        bucket = f"{api.storage}/b/{segment(plain(inputs['bucket']))}"
        return bucket, f"{bucket}/iam"

    def desired(self, inputs: Inputs) -> Body:
        return {"role": inputs["role"], "member": inputs["member"]}

    def observe(self, api: Api, inputs: Inputs) -> Body | None:
        policy = api.get(self.urls(api, inputs)[1], **_POLICY_VERSION)
        return self.desired(inputs) if (inputs["role"], inputs["member"]) in pairs(policy) else None

    def apply(self, api: Api, inputs: Inputs) -> None:
        self._change(api, inputs, granted=True)

    def delete(self, api: Api, inputs: Inputs) -> None:
        self._change(api, inputs, granted=False)

    def _change(self, api: Api, inputs: Inputs, *, granted: bool) -> None:
        url, role, member = self.urls(api, inputs)[1], inputs["role"], inputs["member"]
        policy = api.get(url, **_POLICY_VERSION)
        if policy is None and granted:
            raise EngineError(f"{self.title(inputs)} cannot be granted: there is no such bucket.")
        if policy is None or ((role, member) in pairs(policy)) == granted:
            return
        bindings = policy.setdefault("bindings", [])
        if granted:
            bindings.append({"role": role, "members": [member]})
        for binding in bindings:
            # A binding with a condition is another grant.
            if not granted and binding["role"] == role and "condition" not in binding:
                binding["members"] = [other for other in binding["members"] if other != member]
        api.send("PUT", url, {**policy, "bindings": [one for one in bindings if one["members"]]})


# --- Who may do what ---------------------------------------------------------------------------------------

# Google gives every new bucket to the project's own owners, editors and viewers.
_OWN_PREFIXES: Final = ("projectOwner:", "projectEditor:", "projectViewer:")
_POLICY_VERSION: Final = {"optionsRequestedPolicyVersion": "3"}


def pairs(policy: Body | None) -> set[tuple[str, str]]:
    """Return an IAM policy as pairs of role and member, without the project's own groups.

    A grant with a condition is not the stack's, whoever it is for; its role ends in " (conditional)".
    """
    return {
        (binding["role"] + " (conditional)" * ("condition" in binding), member)
        for binding in (policy or {}).get("bindings", [])
        for member in binding["members"]
        if not member.startswith(_OWN_PREFIXES)
    }


def roles_by_member(access: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Return a dataset's access list as roles by member, be it the API's or the provider's inputs."""
    found: dict[str, str] = {}
    for entry in access:
        role, condition = str(entry.get("role", "")), " (conditional)" * bool(entry.get("condition"))
        whom = next((str(v) for k, v in sorted(entry.items()) if v and k not in ("role", "condition")), "")
        found[whom] = ", ".join(sorted(filter(None, (found.get(whom), role + condition))))
    return found


def added_grants(api: Api, held: Iterable[tuple[str, Inputs]]) -> Iterator[Drift]:
    """Yield the grants beside those of the stack: on its bucket, on its account, and for its account.

    `held` are its resources, as type and inputs. What others hold on the whole project is not the stack's
    business. An addition on the dataset, whose access list is the stack's own, is a changed dataset.
    """
    known = list(held)
    # An account that was there before the stack has grants of its own.
    has_account = any(name.endswith(":Account") for name, _ in known)
    ours = {(_place(inputs), inputs["role"], inputs["member"]) for _, inputs in known if "member" in inputs}
    added: set[tuple[str, str, str]] = set()
    for name, inputs in known:
        found: set[tuple[str, str]] = set()
        if name.endswith(":Bucket"):
            found = pairs(api.get(f"{api.storage}/b/{segment(inputs['name'])}/iam", **_POLICY_VERSION))
        elif name.endswith(":Account") and api.iam and TYPES[name].exists(api, inputs):
            found = pairs(api.send("POST", f"{api.iam}/{_ACCOUNT_NAME.format(**inputs)}:getIamPolicy"))
        elif name.startswith("gcp:projects/iAM") and api.resource_manager and has_account:
            found = {pair for pair in _project_grants(api, inputs) if pair[1] == inputs["member"]}
        added |= {(_place(inputs), *pair) for pair in found} - ours
    for place, role, member in sorted(added):
        yield Drift(f"{role} on {place} for {member}", ("granted by somebody else",), stays=True)


def _place(inputs: Inputs) -> str:
    """Return what a grant, or the resource that has grants, is about."""
    if "accountId" in inputs:
        return f"service account {inputs['accountId']}"
    if "serviceAccountId" in inputs:
        return f"service account {inputs['serviceAccountId'].rsplit('/', 1)[1].split('@')[0]}"
    for part in ("secretId", "repository", "instanceName", "instance"):
        if part in inputs:
            return f"{part} {inputs[part]}"
    bucket = inputs.get("bucket") or inputs.get("name", "")
    return f"bucket {plain(bucket)}" if bucket else str(inputs["project"])


def plain(bucket: str) -> str:
    """Return a bucket's name; a refresh of the real provider writes a prefix into a grant's input."""
    return bucket.removeprefix("b/")


def _copied(inputs: Inputs, name: str) -> Body:
    return {name: dict(inputs[name])} if name in inputs else {}


def _project_grants(api: Api, inputs: Inputs) -> set[tuple[str, str]]:
    url = f"{api.resource_manager}/projects/{segment(inputs['project'])}:getIamPolicy"
    return pairs(api.send("POST", url, {"options": {"requestedPolicyVersion": 3}}))


def _project_grant_exists(api: Api, inputs: Inputs) -> bool:
    # Granting it twice does no harm, but a grant that no state has would outlive the stack.
    return (inputs["role"], inputs["member"]) in _project_grants(api, inputs)


# --- The types ---------------------------------------------------------------------------------------------

_ACCOUNT_EMAIL: Final = "{accountId}@{project}.iam.gserviceaccount.com"
_ACCOUNT_NAME: Final = "projects/{project}/serviceAccounts/" + _ACCOUNT_EMAIL
_DATASET_PATH: Final = "projects/{project}/datasets/{datasetId}"
_LINK: Final = "https://www.googleapis.com/compute/v1/"
_GLOBAL: Final = "projects/{project}/global/"
_REGIONAL: Final = "projects/{project}/regions/{region}/"
_ZONAL: Final = "projects/{project}/zones/{zone}/"
_SECRET: Final = "projects/{project}/secrets/{secretId}"  # noqa: S105 - a path
_REPOSITORY: Final = "projects/{project}/locations/{location}/repositories/{repositoryId}"
_PATCHES: Final = "projects/{project}/patchDeployments/{patchDeploymentId}"
_ENVIRONMENT: Final = "projects/{project}/locations/{region}/environments/{name}"


def _exists_at(template: str) -> Callable[[Api, Inputs], bool]:
    return lambda api, inputs: api.get(template.format(api=api, **inputs)) is not None


def _grant(
    cls: type[ResourceType], on: str, probe: Callable[[Api, Inputs], bool] | None = None
) -> ResourceType:
    """Return the type of a (role, member) in a policy that others share: all others stay as they are."""
    fixed = (
        "role",
        "member",
        "bucket",
        "project",
        "serviceAccountId",
        "secretId",
        "repository",
        "zone",
        "instance",
    )
    title = "{role} on " + on + " for {member}"
    return cls(title, on + "/{role}/{member}", fixed, is_grant=True, probe=probe)


def _compute(title: str, path: str, *fixed: str) -> ResourceType:
    """Return the type of one of Compute Engine's resources."""
    names, outputs = ("name", "project", *fixed), {"selfLink": _LINK + path}
    return ResourceType(title, path, names, outputs, probe=_exists_at("{api.compute}/" + path))


def _named(title: str, api: str, path: str, *fixed: str) -> ResourceType:
    """Return the type of a resource whose id is its full name, in an API of its own."""
    names = (*fixed, "project")
    return ResourceType(title, path, names, {"name": path}, probe=_exists_at(f"{{api.{api}}}/{path}"))


def _holds(path: str, entry: Callable[[Body, Inputs], bool]) -> Callable[[Api, Inputs], bool]:
    """Return the probe of what is a part of another resource of Compute Engine's."""

    def probe(api: Api, inputs: Inputs) -> bool:
        whole = api.get(f"{api.compute}/{path.format(**inputs)}")
        return whole is not None and entry(whole, inputs)

    return probe


TYPES: Final[Mapping[str, ResourceType]] = {
    "gcp:storage/bucket:Bucket": _Bucket(
        "bucket {name}",
        "{name}",
        ("name", "location", "project"),
        {
            "url": "gs://{name}",
            "selfLink": "https://www.googleapis.com/storage/v1/b/{name}",
            "storageClass": "STANDARD",
            # What stands for a number that only Google knows.
            "projectNumber": "0",
        },
    ),
    "gcp:storage/bucketIAMMember:BucketIAMMember": _grant(_BucketGrant, "b/{bucket}"),
    "gcp:bigquery/dataset:Dataset": _Dataset(
        "dataset {datasetId}",
        _DATASET_PATH,
        ("datasetId", "location", "project"),
        {"selfLink": "https://bigquery.googleapis.com/bigquery/v2/" + _DATASET_PATH},
    ),
    "gcp:serviceaccount/account:Account": ResourceType(
        "service account {accountId}",
        _ACCOUNT_NAME,
        ("accountId", "project"),
        {"name": _ACCOUNT_NAME, "email": _ACCOUNT_EMAIL, "member": "serviceAccount:" + _ACCOUNT_EMAIL},
        probe=_exists_at("{api.iam}/" + _ACCOUNT_NAME),
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
    # Half an hour in the making: killed meanwhile, it is found again. No emulator knows it.
    "gcp:composer/environment:Environment": ResourceType(
        "Composer {name}",
        _ENVIRONMENT,
        ("name", "project", "region"),
        probe=_exists_at("{api.composer}/" + _ENVIRONMENT),
    ),
    # The runner. No emulator enforces any of it; --engine cli makes it on the control plane.
    "gcp:compute/network:Network": _compute("network {name}", _GLOBAL + "networks/{name}"),
    "gcp:compute/firewall:Firewall": _compute("firewall {name}", _GLOBAL + "firewalls/{name}"),
    "gcp:compute/subnetwork:Subnetwork": _compute(
        "subnetwork {name}", _REGIONAL + "subnetworks/{name}", "region"
    ),
    "gcp:compute/router:Router": _compute("router {name}", _REGIONAL + "routers/{name}", "region"),
    "gcp:compute/routerNat:RouterNat": ResourceType(
        "NAT of the router {router}",
        "{project}/{region}/{router}/{name}",
        ("name", "project", "region", "router"),
        probe=_holds(
            _REGIONAL + "routers/{router}",
            lambda router, inputs: any(nat["name"] == inputs["name"] for nat in router.get("nats", [])),
        ),
    ),
    "gcp:compute/resourcePolicy:ResourcePolicy": _compute(
        "snapshot schedule {name}", _REGIONAL + "resourcePolicies/{name}", "region"
    ),
    "gcp:compute/disk:Disk": _compute("disk {name}", _ZONAL + "disks/{name}", "zone"),
    "gcp:compute/diskResourcePolicyAttachment:DiskResourcePolicyAttachment": ResourceType(
        "snapshot schedule {name} of the disk {disk}",
        "{project}/{zone}/{disk}/{name}",
        ("name", "project", "zone", "disk"),
        probe=_holds(
            _ZONAL + "disks/{disk}",
            lambda disk, inputs: any(
                one.endswith(f"/{inputs['name']}") for one in disk.get("resourcePolicies", [])
            ),
        ),
    ),
    "gcp:compute/instance:Instance": _compute("machine {name}", _ZONAL + "instances/{name}", "zone"),
    "gcp:compute/instanceIAMMember:InstanceIAMMember": _grant(ResourceType, "machine {instanceName}"),
    "gcp:iap/tunnelInstanceIAMMember:TunnelInstanceIAMMember": _grant(
        ResourceType, "the tunnel to {instance}"
    ),
    "gcp:secretmanager/secret:Secret": _named(
        "secret {secretId}", "secret_manager", _SECRET, "secretId", "replication"
    ),
    # One that was made and not recorded is only an older version beside the one that the next `up` makes.
    "gcp:secretmanager/secretVersion:SecretVersion": ResourceType(
        "version of {secret}", "{secret}/versions/1", ("secret",)
    ),
    "gcp:secretmanager/secretIamMember:SecretIamMember": _grant(ResourceType, "secret {secretId}"),
    "gcp:artifactregistry/repository:Repository": _named(
        "image repository {repositoryId}", "artifact_registry", _REPOSITORY, "repositoryId", "location"
    ),
    "gcp:artifactregistry/repositoryIamMember:RepositoryIamMember": _grant(
        ResourceType, "image repository {repository}"
    ),
    "gcp:osconfig/patchDeployment:PatchDeployment": _named(
        "patches of {patchDeploymentId}", "os_config", _PATCHES, "patchDeploymentId"
    ),
    "gcp:billing/budget:Budget": ResourceType("budget {displayName}", "budgets/planned", ("billingAccount",)),
}
