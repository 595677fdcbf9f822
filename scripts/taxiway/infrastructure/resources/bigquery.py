"""Datasets."""

# ruff: noqa: ARG002 - all resource types share one signature.
from __future__ import annotations

from taxiway.infrastructure.api import Api, segment
from taxiway.infrastructure.resources.base import Inputs, Kind, Outputs, merge_patch

_OPTIONAL = ("defaultEncryptionConfiguration", "defaultTableExpirationMs")


class Dataset(Kind):
    """`gcp:bigquery/dataset:Dataset`."""

    fixed = ("datasetId", "location", "project")

    def title(self, inputs: Inputs) -> str:
        """Return its id."""
        return f"dataset {inputs['datasetId']}"

    def outputs(self, inputs: Inputs) -> tuple[str, Outputs]:
        """Return its links."""
        path = f"projects/{inputs['project']}/datasets/{inputs['datasetId']}"
        return path, {**inputs, "selfLink": f"https://bigquery.googleapis.com/bigquery/v2/{path}"}

    def desired(self, inputs: Inputs) -> Outputs:
        """Return the dataset as the API shows it."""
        body: Outputs = {
            "location": inputs["location"],
            "labels": dict(inputs.get("labels", {})),
            "description": inputs.get("description", ""),
        }
        if "defaultTableExpirationMs" in inputs:
            body["defaultTableExpirationMs"] = str(inputs["defaultTableExpirationMs"])
        if "defaultEncryptionConfiguration" in inputs:
            body["defaultEncryptionConfiguration"] = dict(inputs["defaultEncryptionConfiguration"])
        return body

    def apply(self, api: Api, inputs: Inputs, known: Outputs) -> Outputs:
        """Create or patch it."""
        reference = {"projectId": inputs["project"], "datasetId": inputs["datasetId"]}
        body = {"datasetReference": reference, **self.desired(inputs)}
        present = api.get(dataset_url(api, inputs))
        if present is None:
            api.send("POST", f"{api.bigquery}/projects/{segment(inputs['project'])}/datasets", body)
        else:
            api.send("PATCH", dataset_url(api, inputs), merge_patch(present, body, _OPTIONAL))
        return {}

    def observe(self, api: Api, inputs: Inputs, known: Outputs) -> Outputs | None:
        """Return the dataset's metadata."""
        return api.get(dataset_url(api, inputs))

    def delete(self, api: Api, inputs: Inputs, known: Outputs) -> None:
        """Remove it with its tables."""
        contents = "true" if inputs.get("deleteContentsOnDestroy") else "false"
        api.delete(dataset_url(api, inputs), deleteContents=contents)


def dataset_url(api: Api, inputs: Inputs) -> str:
    """Return where the API has the dataset of these inputs."""
    return f"{api.bigquery}/projects/{segment(inputs['project'])}/datasets/{segment(inputs['datasetId'])}"
