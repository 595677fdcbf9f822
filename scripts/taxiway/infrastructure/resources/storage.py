"""Buckets."""

# ruff: noqa: ARG002 - all resource types share one signature.
from __future__ import annotations

from typing import Any

from taxiway.infrastructure.api import Api, segment
from taxiway.infrastructure.resources.base import Inputs, Kind, Outputs, merge_patch


class Bucket(Kind):
    """`gcp:storage/bucket:Bucket`."""

    fixed = ("name", "location", "project")

    def title(self, inputs: Inputs) -> str:
        """Return its name."""
        return f"bucket {inputs['name']}"

    def outputs(self, inputs: Inputs) -> tuple[str, Outputs]:
        """Return its links."""
        name = inputs["name"]
        link = f"https://www.googleapis.com/storage/v1/b/{name}"
        return name, {**inputs, "url": f"gs://{name}", "selfLink": link, "storageClass": "STANDARD"}

    def desired(self, inputs: Inputs) -> Outputs:
        """Return the bucket as the JSON API shows it."""
        body: Outputs = {
            "location": inputs["location"],
            "labels": dict(inputs.get("labels", {})),
            "iamConfiguration": {
                "uniformBucketLevelAccess": {"enabled": inputs["uniformBucketLevelAccess"]},
                "publicAccessPrevention": inputs["publicAccessPrevention"],
            },
            "versioning": {"enabled": inputs["versioning"]["enabled"]},
            "softDeletePolicy": {
                "retentionDurationSeconds": str(inputs["softDeletePolicy"]["retentionDurationSeconds"])
            },
            "lifecycle": {"rule": [_rule(rule) for rule in inputs.get("lifecycleRules", [])]},
        }
        if "encryption" in inputs:
            body["encryption"] = dict(inputs["encryption"])
        return body

    def apply(self, api: Api, inputs: Inputs, known: Outputs) -> Outputs:
        """Create or patch it."""
        body = self.desired(inputs)
        present = api.get(self._url(api, inputs))
        if present is None:
            api.send("POST", f"{api.storage}/b", {"name": inputs["name"], **body}, project=inputs["project"])
        else:
            api.send("PATCH", self._url(api, inputs), merge_patch(present, body, ("encryption",)))
        return {}

    def observe(self, api: Api, inputs: Inputs, known: Outputs) -> Outputs | None:
        """Return the bucket's metadata."""
        return api.get(self._url(api, inputs))

    def delete(self, api: Api, inputs: Inputs, known: Outputs) -> None:
        """Remove all versions of all objects, then the bucket."""
        if api.get(self._url(api, inputs)) is None:
            return
        if inputs.get("forceDestroy"):
            # Listed in full first: a listing that shrinks under its page tokens would skip some.
            for item in list(api.pages(f"{self._url(api, inputs)}/o", "items", versions="true")):
                url = f"{self._url(api, inputs)}/o/{segment(item['name'])}"
                api.delete(url, generation=str(item["generation"]))
        api.delete(self._url(api, inputs))

    def _url(self, api: Api, inputs: Inputs) -> str:
        return f"{api.storage}/b/{segment(inputs['name'])}"


def _rule(rule: dict[str, Any]) -> dict[str, Any]:
    """Return a lifecycle rule in the API's words."""
    condition = dict(rule["condition"])
    if (state := condition.pop("withState", "ANY")) != "ANY":
        condition["isLive"] = state == "LIVE"
    return {"action": rule["action"], "condition": condition}
