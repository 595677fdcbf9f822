"""Taking a stack down, and asking the cloud itself what is left of it, by label and by name."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from lakehouse.names import Names
from taxiway.infrastructure.engine import Engine, StackNotRemovedError

if TYPE_CHECKING:
    from taxiway.infrastructure.api import Api


def destroy(engine: Engine) -> list[str]:
    """Remove the stack and return what is gone; StackNotRemovedError lists what is left."""
    gone, left = engine.destroy(), engine.leftovers()
    if left:
        raise StackNotRemovedError(
            f"the stack left something behind: {', '.join(left)}", "Call scripts/down again."
        )
    # Not before: whoever calls again after an interruption must not read that nothing was ever there.
    engine.forget()
    return gone


def leftovers(api: Api, project: str, stack: str, composer: str = "") -> list[str]:
    """Return what exists of a stack, soft-deleted buckets and grants to deleted accounts included.

    `composer` is the region of its Composer environment; without one that API may not even be enabled.
    """
    names = Names.of(project, stack)
    found = [*_buckets(api, project, names), *_datasets(api, project, names)]
    if api.iam:
        found += _accounts(api, project, names)
    if composer:
        found += _environments(api, f"projects/{quote(project, safe='')}/locations/{composer}", names)
    return sorted(set(found))


def _buckets(api: Api, project: str, names: Names) -> Iterator[str]:
    named = (names.bucket, names.dags_bucket)
    for bucket in api.pages(f"{api.storage}/b", "items", project=project):
        if _is_ours(bucket, bucket["name"] in named, names):
            yield f"bucket {bucket['name']}"
    # Soft delete keeps the objects of a stack inside its bucket: no deleted object outlives that.
    for bucket in api.pages(f"{api.storage}/b", "items", project=project, softDeleted="true"):
        if "softDeleteTime" in bucket and _is_ours(bucket, bucket["name"] in named, names):
            until = bucket.get("hardDeleteTime")
            yield f"soft-deleted bucket {bucket['name']} with its objects, kept until {until}"


def _datasets(api: Api, project: str, names: Names) -> Iterator[str]:
    url = f"{api.bigquery}/projects/{quote(project, safe='')}/datasets"
    for dataset in api.pages(url, "datasets", all="true"):
        name = dataset["datasetReference"]["datasetId"]
        if _is_ours(dataset, name == names.dataset, names):
            yield f"dataset {name}"


def _accounts(api: Api, project: str, names: Names) -> Iterator[str]:
    email = f"{names.account}@{project}.iam.gserviceaccount.com"
    account = api.get(f"{api.iam}/projects/{quote(project, safe='')}/serviceAccounts/{email}")
    if account is not None:
        yield f"service account {email}"
    policy = api.send("POST", f"{api.resource_manager}/projects/{quote(project, safe='')}:getIamPolicy", {})
    for binding in policy.get("bindings", []):
        # A grant to a deleted account stays in the policy, as `deleted:serviceAccount:...?uid=...`.
        if any(f":{email}" in member for member in binding["members"]):
            yield f"{binding['role']} on {project} for {email}"


def _environments(api: Api, place: str, names: Names) -> Iterator[str]:
    for environment in api.pages(f"{api.composer}/{place}/environments", "environments"):
        name = environment["name"].rsplit("/", 1)[-1]
        if _is_ours(environment, name == names.account, names):
            yield f"Composer environment {name}"


def _is_ours(resource: dict[str, Any], named: bool, names: Names) -> bool:
    return named or resource.get("labels", {}).get("taxiway-stack") == names.label
