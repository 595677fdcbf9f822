"""Mandatory rules, as functions over what a program declares; each names what is wrong in one sentence.

They run inside `pulumi up --policy-pack infra/policy` (policy_pack.py), and over every in-process evaluation.
A rule about one resource runs before that resource is created; a rule about the stack sees all resources.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from lakehouse.settings import Config, is_ephemeral

Properties = Mapping[str, Any]

BUCKET: Final = "gcp:storage/bucket:Bucket"
DATASET: Final = "gcp:bigquery/dataset:Dataset"
ENVIRONMENT: Final = "gcp:composer/environment:Environment"
INSTANCE: Final = "gcp:compute/instance:Instance"
DISK: Final = "gcp:compute/disk:Disk"
FIREWALL: Final = "gcp:compute/firewall:Firewall"
SECRET: Final = "gcp:secretmanager/secret:Secret"  # noqa: S105 - a type
IMAGES: Final = "gcp:artifactregistry/repository:Repository"
KEY: Final = "gcp:serviceaccount/key:Key"
HMAC_KEY: Final = "gcp:storage/hmacKey:HmacKey"
# The settings that rules depend on; a rule that reads another one adds it here.
SETTINGS: Final = ("credentials", "ephemeral", "location")
LABELLED: Final = (BUCKET, DATASET, ENVIRONMENT, INSTANCE, DISK, SECRET, IMAGES)
# Identity-Aware Proxy's: https://cloud.google.com/iap/docs/using-tcp-forwarding
IAP: Final = "35.235.240.0/20"
LABELS: Final = ("managed-by", "taxiway-owner", "taxiway-stack")
EVERYONE: Final = frozenset({"allUsers", "allAuthenticatedUsers"})

_ACCESS_LISTS = [
    f"{on}{kind}" for on in ("Bucket", "DefaultObject", "Object") for kind in ("ACL", "AccessControl")
]
_BASIC_ROLES = frozenset({"roles/owner", "roles/editor", "roles/viewer"})
_WIDE_MODULES = ("gcp:projects", "gcp:folder", "gcp:organizations")
# Whoever may act as any account of a project has the rights of all of them.
_DATA_ROLES = (
    "roles/storage.",
    "roles/secretmanager.",
    "roles/artifactregistry.",
    "roles/bigquery.",
    "roles/iam.serviceAccount",
    "roles/iam.workloadIdentityUser",
)
_ROLES_WITHOUT_DATA = frozenset({"roles/bigquery.jobUser", "roles/bigquery.resourceViewer"})


@dataclass(frozen=True)
class Resource:
    """One declared resource; properties have the provider's (camelCase) names."""

    type: str
    name: str
    properties: Properties = field(default_factory=dict)


@dataclass(frozen=True)
class Rule:
    """A mandatory rule. Exactly one of the two checks is set; it yields a sentence for each violation."""

    name: str
    description: str
    resource: Callable[[Resource, Config], Iterator[str]] | None = None
    stack: Callable[[Sequence[Resource], Config], Iterator[str]] | None = None


@dataclass(frozen=True)
class Violation:
    """A broken rule; `resource` is empty where the whole stack breaks it."""

    rule: str
    resource: str
    message: str


def check(resources: Sequence[Resource], config: Config) -> list[Violation]:
    """Return how the resources of a whole stack break the rules."""
    found: list[Violation] = []
    for rule in RULES:
        if one := rule.resource:
            found += [Violation(rule.name, r.name, text) for r in resources for text in one(r, config)]
        if whole := rule.stack:
            found += [Violation(rule.name, "", text) for text in whole(resources, config)]
    return found


def _no_public_bucket(resource: Resource, _config: Config) -> Iterator[str]:
    if resource.type == BUCKET and resource.properties.get("publicAccessPrevention") != "enforced":
        yield "The bucket can be made public: set public_access_prevention to 'enforced'."


def _uniform_access(resource: Resource, _config: Config) -> Iterator[str]:
    if resource.type == BUCKET and resource.properties.get("uniformBucketLevelAccess") is not True:
        yield "Objects can have access lists of their own: set uniform_bucket_level_access to True."
    if resource.type.startswith("gcp:storage/") and resource.type.rsplit(":", 1)[1] in _ACCESS_LISTS:
        yield "Access lists go past IAM: grant a role on the bucket instead."


def _no_public_access(resource: Resource, _config: Config) -> Iterator[str]:
    properties = resource.properties
    # IAM members, bindings and policies, and a dataset's access list.
    members = [
        *(properties.get("members") or ()),
        *re.findall(r'"(\w+)"', str(properties.get("policyData", ""))),
    ]
    for entry in (properties, *(properties.get("accesses") or ())):
        members += [entry[name] for name in ("member", "specialGroup", "iamMember") if name in entry]
    for member in members:
        if member in EVERYONE:
            yield f"{member} is granted access: name the users, groups or accounts."


def _keyless(resource: Resource, config: Config) -> Iterator[str]:
    if resource.type in (KEY, HMAC_KEY) and config.get("taxiway:credentials") != "key":
        yield "A service-account key, though taxiway:credentials does not ask for one."


def _labelled(resource: Resource, _config: Config) -> Iterator[str]:
    labels = resource.properties.get("labels") or {}
    missing = [name for name in LABELS if not labels.get(name)]
    if resource.type in LABELLED and missing:
        yield f"Labels are missing: {', '.join(missing)}."


def _no_project_data_roles(resource: Resource, _config: Config) -> Iterator[str]:
    module, _, kind = resource.type.partition("/")
    role = str(resource.properties.get("role", ""))
    if module not in _WIDE_MODULES:
        return
    if role in _BASIC_ROLES or (role.startswith(_DATA_ROLES) and role not in _ROLES_WITHOUT_DATA):
        yield f"{role} on the whole project: grant it on the bucket, the dataset or the account."
    if kind.startswith(("iAMBinding", "iAMPolicy")):
        yield "It replaces what others granted on the project: use an additive IAMMember."


def _protected_unless_ephemeral(resource: Resource, config: Config) -> Iterator[str]:
    if resource.type not in (BUCKET, DATASET, INSTANCE) or is_ephemeral(config):
        return
    if resource.type == INSTANCE:
        if not resource.properties.get("deletionProtection"):
            yield "The stack is not ephemeral: set deletion_protection to True."
        return
    if resource.properties.get("deletionPolicy") != "PREVENT":
        yield "The stack is not ephemeral: set deletion_policy to 'PREVENT'."
    for name in ("forceDestroy", "deleteContentsOnDestroy"):
        if resource.properties.get(name):
            yield f"The stack is not ephemeral, but {name} would delete its data."


def _no_way_in(resource: Resource, _config: Config) -> Iterator[str]:
    properties = resource.properties
    for interface in (properties.get("networkInterfaces") or ()) if resource.type == INSTANCE else ():
        if interface.get("accessConfigs") or interface.get("ipv6AccessConfigs"):
            yield "The machine has a public address: leave access_configs out."
    if resource.type == FIREWALL and properties.get("allows") and properties.get("direction") != "EGRESS":
        sources = properties.get("sourceRanges") or ["everybody"]
        if set(sources) != {IAP}:
            yield f"The firewall lets in {', '.join(sources)}: people come by IAP alone, {IAP}."


def _hardened(resource: Resource, _config: Config) -> Iterator[str]:
    if resource.type != INSTANCE:
        return
    shielded = resource.properties.get("shieldedInstanceConfig") or {}
    for name in ("enableSecureBoot", "enableVtpm", "enableIntegrityMonitoring"):
        if not shielded.get(name):
            yield f"The machine is no Shielded VM: {name} is not on."
    metadata = resource.properties.get("metadata") or {}
    for name in ("enable-oslogin", "block-project-ssh-keys"):
        if metadata.get(name) != "TRUE":
            yield f"SSH keys go past IAM: set the metadata {name} to TRUE."
    account = (resource.properties.get("serviceAccount") or {}).get("email", "")
    if not account or account.endswith("-compute@developer.gserviceaccount.com"):
        yield "The machine acts as the project's default account: give it one of its own."


def _one_location(resources: Sequence[Resource], config: Config) -> Iterator[str]:
    places = [r for r in resources if r.type in (BUCKET, DATASET) and r.properties.get("location")]
    found = {str(resource.properties["location"]).upper() for resource in places}
    wanted = config.get("taxiway:location", "").upper()
    if len(found | ({wanted} - {""})) > 1:
        where = ", ".join(f"{resource.name} in {resource.properties['location']}" for resource in places)
        yield f"Data is in several places: {where}{f', not {wanted}' if wanted else ''}."


_LIVES: Final = "Data of a stack that is not ephemeral cannot be deleted."
RULES: Final = (
    Rule("public-access-prevented", "No bucket can be made public.", _no_public_bucket),
    Rule("uniform-access", "Access to objects is decided by IAM on the bucket alone.", _uniform_access),
    Rule("no-public-access", "Nothing is granted to everybody.", _no_public_access),
    Rule("keyless", "No service-account key unless taxiway:credentials is key.", _keyless),
    Rule("labelled", "Everything that takes labels says whose it is.", _labelled),
    Rule("no-project-data-roles", "Data is granted on bucket and dataset alone.", _no_project_data_roles),
    Rule("no-way-in", "No machine has a public address; a firewall lets in IAP alone.", _no_way_in),
    Rule("hardened", "Machines are Shielded VMs with OS Login and an account of their own.", _hardened),
    Rule("protected-unless-ephemeral", _LIVES, _protected_unless_ephemeral),
    Rule("one-location", "Bucket and dataset are in one location.", stack=_one_location),
)
