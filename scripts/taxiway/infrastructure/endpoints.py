"""Where the APIs are: Google's own, or the emulators of one environment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit

# Accounts and keys, Resource Manager, Service Usage, Compute: one small service, a prefix for each.
_CONTROL_PLANE = {
    "gcp:iamBetaCustomEndpoint": "/iam/v1/",
    "gcp:resourceManagerCustomEndpoint": "/crm/v1/",
    "gcp:serviceUsageCustomEndpoint": "/su/v1/",
    "gcp:computeCustomEndpoint": "/compute/v1/",
}


@dataclass(frozen=True)
class Endpoints:
    """Origins of the emulators, such as `http://127.0.0.1:9023`."""

    storage: str
    bigquery: str
    control_plane: str

    @classmethod
    def of_config(cls, config: Mapping[str, str]) -> Self | None:
        """Return the endpoints of a stack's settings; None where they are Google's own."""
        keys = ("gcp:storageCustomEndpoint", "gcp:bigQueryCustomEndpoint", "gcp:iamBetaCustomEndpoint")
        parts = [urlsplit(config.get(key, "")) for key in keys]
        # Google answers on https alone.
        if any(part.scheme != "http" for part in parts):
            return None
        return cls(*[f"http://{part.netloc}" for part in parts])

    def config(self) -> dict[str, str]:
        """Return the stack configuration that points Pulumi's provider at the emulators."""
        control_plane = {key: self.control_plane + path for key, path in _CONTROL_PLANE.items()}
        return {
            "gcp:accessToken": "emulator",
            # Without it every enabled API waits for others to be enabled with: nine seconds.
            "gcp:batching": '{"enableBatching": false, "sendAfter": "0s"}',
            "gcp:storageCustomEndpoint": f"{self.storage}/storage/v1/",
            "gcp:bigQueryCustomEndpoint": f"{self.bigquery}/bigquery/v2/",
            **control_plane,
        }
