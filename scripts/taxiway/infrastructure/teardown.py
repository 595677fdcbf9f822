"""Taking a stack down, and asking the cloud itself what is left of it, by label and by name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from lakehouse.names import Names
from taxiway.infrastructure.engine import Engine, StackNotRemovedError

if TYPE_CHECKING:
    from taxiway.infrastructure.api import Api


def destroy(engine: Engine) -> list[str]:
    """Remove the stack and return what is gone; StackNotRemovedError lists what is left."""
    gone = engine.destroy()
    verify(engine)
    # Not before: whoever calls again after an interruption must not read that nothing was ever there.
    engine.forget()
    return gone


def verify(engine: Engine) -> None:
    """Raise StackNotRemovedError with the list of what is left of a stack."""
    if left := engine.leftovers():
        raise StackNotRemovedError(
            f"the stack left something behind: {', '.join(left)}", "Call scripts/down again."
        )


def leftovers(
    api: Api, project: str, stack: str, composer: str = "", bucket: str = "", runner: str = ""
) -> list[str]:
    """Return what exists of a stack, soft-deleted buckets and grants to deleted accounts included.

    `composer` is the region of its Composer environment; without one that API may not even be enabled.
    `runner` likewise: the zone of its machine. `bucket` is the name that its owner chose for the lake.
    """
    names, place = Names.of(project, stack, bucket), f"projects/{quote(project, safe='')}"
    buckets = [
        one
        # Soft delete keeps the objects of a stack inside its bucket: no deleted object outlives that.
        for query in ({}, {"softDeleted": "true"})
        for one in api.pages(f"{api.storage}/b", "items", project=project, **query)
        if "softDeleteTime" in one or not query
    ]
    # What each list has, how people call one, and the names that the stack's own have.
    lake, warehouse, account = {names.bucket, names.dags_bucket}, {names.dataset}, {names.account}
    listed = [(one, _title(one), lake) for one in buckets]
    for one in api.pages(f"{api.bigquery}/{place}/datasets", "datasets", all="true"):
        name = one["datasetReference"]["datasetId"]
        listed.append(({**one, "name": name}, f"dataset {name}", warehouse))
    url = f"{api.composer}/{place}/locations/{composer}/environments"
    for one in api.pages(url, "environments") if composer else ():
        name = one["name"].rsplit("/", 1)[-1]
        listed.append(({**one, "name": name}, f"Composer environment {name}", account))
    for one, title in _of_runner(api, place, runner):
        # The disk, its snapshots and the secrets have names that begin with the stack's.
        own = one["name"].startswith(names.part(""))
        listed.append((one, title, {one["name"]} if own else account))
    found = {
        title
        for one, title, known in listed
        if one["name"] in known or one.get("labels", {}).get("taxiway-stack") == names.label
    }
    return sorted(found.union(_of_accounts(api, place, project, names) if api.iam else ()))


def _of_runner(api: Api, place: str, zone: str) -> Iterator[tuple[dict[str, Any], str]]:
    """Yield what a project has of all that a runner is made of, each with its bare name."""
    if not (zone and api.compute):
        return
    region, compute = zone.rpartition("-")[0], f"{api.compute}/{place}"
    for kind, url, items in (
        ("machine", f"{compute}/zones/{zone}/instances", "items"),
        ("disk", f"{compute}/zones/{zone}/disks", "items"),
        ("snapshot", f"{compute}/global/snapshots", "items"),
        ("snapshot schedule", f"{compute}/regions/{region}/resourcePolicies", "items"),
        ("router", f"{compute}/regions/{region}/routers", "items"),
        ("subnetwork", f"{compute}/regions/{region}/subnetworks", "items"),
        ("firewall", f"{compute}/global/firewalls", "items"),
        ("network", f"{compute}/global/networks", "items"),
        ("secret", f"{api.secret_manager}/{place}/secrets", "secrets"),
        (
            "image repository",
            f"{api.artifact_registry}/{place}/locations/{region}/repositories",
            "repositories",
        ),
        ("patches of", f"{api.os_config}/{place}/patchDeployments", "patchDeployments"),
    ):
        for one in api.pages(url, items):
            name = one["name"].rsplit("/", 1)[-1]
            yield {**one, "name": name}, f"{kind} {name}"


def _title(bucket: Mapping[str, Any]) -> str:
    if "softDeleteTime" not in bucket:
        return f"bucket {bucket['name']}"
    until = bucket.get("hardDeleteTime")
    return f"soft-deleted bucket {bucket['name']} with its objects, kept until {until}"


def _of_accounts(api: Api, place: str, project: str, names: Names) -> Iterator[str]:
    # The project of a domain, example.com:acme, is turned round in an address.
    domain, _, name = project.rpartition(":")
    host = f"{name}{'.' * bool(domain)}{domain}.iam.gserviceaccount.com"
    emails = [f"{account}@{host}" for account in (names.account, names.reader)]
    for email in emails:
        if api.get(f"{api.iam}/{place}/serviceAccounts/{email}") is not None:
            yield f"service account {email}"
    policy = api.send("POST", f"{api.resource_manager}/{place}:getIamPolicy", {})
    for binding in policy.get("bindings", []):
        # A grant to a deleted account stays in the policy, as `deleted:serviceAccount:...?uid=...`.
        for email in emails:
            if any(f":{email}" in member for member in binding["members"]):
                yield f"{binding['role']} on {project} for {email}"
