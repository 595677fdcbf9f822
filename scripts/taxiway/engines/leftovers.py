"""Proof of teardown: ask the cloud itself what is left of a stack, by label and by name."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lakehouse.names import Names
from taxiway.engines.api import Api, segment


def leftovers(api: Api, project: str, stack: str) -> list[str]:
    """Return what exists of a stack, soft-deleted buckets and grants to deleted accounts included."""
    names = Names.of(project, stack)
    found = [*_buckets(api, project, names), *_datasets(api, project, names), *_accounts(api, project, names)]
    return sorted(set(found))


def _buckets(api: Api, project: str, names: Names) -> Iterator[str]:
    for bucket in api.pages(f"{api.storage}/b", "items", project=project):
        if _ours(bucket, bucket["name"] == names.bucket, names):
            yield f"bucket {bucket['name']}"
    for bucket in api.pages(f"{api.storage}/b", "items", project=project, softDeleted="true"):
        if "softDeleteTime" in bucket and _ours(bucket, bucket["name"] == names.bucket, names):
            yield f"soft-deleted bucket {bucket['name']}, kept until {bucket.get('hardDeleteTime')}"


def _datasets(api: Api, project: str, names: Names) -> Iterator[str]:
    url = f"{api.bigquery}/projects/{segment(project)}/datasets"
    for dataset in api.pages(url, "datasets", all="true"):
        name = dataset["datasetReference"]["datasetId"]
        if _ours(dataset, name == names.dataset, names):
            yield f"dataset {name}"


def _accounts(api: Api, project: str, names: Names) -> Iterator[str]:
    email = f"{names.account}@{project}.iam.gserviceaccount.com"
    account = api.get(f"{api.iam}/projects/{segment(project)}/serviceAccounts/{email}")
    if account is not None:
        yield f"service account {email}"
    policy = api.send("POST", f"{api.resource_manager}/projects/{segment(project)}:getIamPolicy", {})
    for binding in policy.get("bindings", []):
        if any(f":{email}" in member for member in binding["members"]):
            yield f"{binding['role']} on {project} for {email}"


def _ours(resource: dict[str, Any], named: bool, names: Names) -> bool:
    return named or resource.get("labels", {}).get("taxiway-stack") == names.label
