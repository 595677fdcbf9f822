"""Enabled APIs."""

# ruff: noqa: ARG002 - all resource types share one signature.
from __future__ import annotations

from taxiway.infrastructure.api import Api, segment
from taxiway.infrastructure.resources.base import Inputs, Kind, Outputs


class Service(Kind):
    """`gcp:projects/service:Service`."""

    fixed = ("project", "service")

    def title(self, inputs: Inputs) -> str:
        """Return its host name."""
        return f"API {inputs['service']}"

    def outputs(self, inputs: Inputs) -> tuple[str, Outputs]:
        """Return its id."""
        return f"{inputs['project']}/{inputs['service']}", dict(inputs)

    def desired(self, inputs: Inputs) -> Outputs:
        """Return that it is on."""
        return {"state": "ENABLED"}

    def apply(self, api: Api, inputs: Inputs, known: Outputs) -> Outputs:
        """Enable it; enabling what is enabled changes nothing."""
        url = f"{self._url(api, inputs)}/{segment(inputs['service'])}:enable"
        api.send("POST", url, {})
        return {}

    def observe(self, api: Api, inputs: Inputs, known: Outputs) -> Outputs | None:
        """Return its state if it is on."""
        enabled = api.pages(self._url(api, inputs), "services", filter="state:ENABLED")
        names = {service["name"].rsplit("/", 1)[-1] for service in enabled}
        return self.desired(inputs) if inputs["service"] in names else None

    def delete(self, api: Api, inputs: Inputs, known: Outputs) -> None:
        """Leave it on: other stacks of the project use it."""

    def _url(self, api: Api, inputs: Inputs) -> str:
        return f"{api.service_usage}/projects/{segment(inputs['project'])}/services"
