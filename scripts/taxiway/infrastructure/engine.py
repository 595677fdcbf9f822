"""What the commands may ask of an engine, whichever it is, and what it may fail with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Protocol, Self

from lakehouse.settings import emulator_of
from taxiway.errors import TaxiwayError

Action = Literal["create", "update", "replace", "delete"]

# All but storage and BigQuery: one small service, a prefix for each API.
_CONTROL_PLANE: Final = {
    "gcp:iamBetaCustomEndpoint": "/iam/v1/",
    "gcp:resourceManagerCustomEndpoint": "/crm/v1/",
    "gcp:serviceUsageCustomEndpoint": "/su/v1/",
    "gcp:computeCustomEndpoint": "/compute/beta/",
    "gcp:secretManagerCustomEndpoint": "/secretmanager/v1/",
    "gcp:artifactRegistryCustomEndpoint": "/artifactregistry/v1/",
    "gcp:osConfigCustomEndpoint": "/osconfig/v1/",
    "gcp:iapCustomEndpoint": "/iap/v1/",
}


# The access token in the settings of a stack on emulators that ask for none: the provider insists on one.
PLACEHOLDER: Final = "gcp:accessToken"


class EngineError(TaxiwayError):
    """Infrastructure could not be brought to what the program declares."""


class StackNotRemovedError(EngineError):
    """The stack could not be (completely) removed: it is protected, locked, or has leftovers."""


@dataclass(frozen=True)
class Endpoints:
    """Origins of the emulators, such as `http://127.0.0.1:9023`; empty where no control plane runs.

    `token`: the bearer token that they ask for; empty where they ask for none.
    """

    storage: str
    bigquery: str
    control_plane: str = ""
    token: str = field(default="", repr=False)

    @classmethod
    def of_config(cls, config: Mapping[str, str]) -> Self | None:
        """Return the endpoints that a stack's settings name; None where they are Google's own."""
        storage = emulator_of(config, "gcp:storageCustomEndpoint")
        bigquery = emulator_of(config, "gcp:bigQueryCustomEndpoint")
        control_plane = emulator_of(config, "gcp:iamBetaCustomEndpoint")
        return cls(storage, bigquery, control_plane) if storage and bigquery else None

    def config(self) -> dict[str, str]:
        """Return the stack configuration that points Pulumi's provider at the emulators.

        The token is not in it: a stack's settings are a file that others may read. See `secrets`.
        """
        paths = _CONTROL_PLANE.items() if self.control_plane else ()
        return {
            # The provider prefers it to the variable that holds the token.
            **({} if self.token else {PLACEHOLDER: "emulator"}),
            # Without it every enabled API waits for others to be enabled with: nine seconds.
            "gcp:batching": '{"enableBatching": false, "sendAfter": "0s"}',
            "gcp:storageCustomEndpoint": f"{self.storage}/storage/v1/",
            "gcp:bigQueryCustomEndpoint": f"{self.bigquery}/bigquery/v2/",
            **{key: self.control_plane + path for key, path in paths},
        }

    def secrets(self) -> dict[str, str]:
        """Return the variables of `pulumi` by which its provider carries the token."""
        return {"GOOGLE_OAUTH_ACCESS_TOKEN": self.token} if self.token else {}


@dataclass(frozen=True)
class Change:
    """What an `up` would do to one resource; details name the inputs that differ."""

    action: Action
    title: str
    details: tuple[str, ...] = ()


@dataclass(frozen=True)
class Drift:
    """One resource that is not as `up` left it; details name what differs. What `stays`, no `up` takes."""

    title: str
    details: tuple[str, ...]
    stays: bool = False


@dataclass(frozen=True)
class StackInfo:
    """One environment. Times are ISO 8601 in UTC, empty where nothing is known; dollars are for a month."""

    name: str
    owner: str
    target: Literal["emulators", "google-cloud"]
    created: str
    updated: str
    resources: int
    dollars: float | None


class Engine(Protocol):
    """Brings one stack to what the program declares, and takes it down again.

    Killed at any moment, the next `up` or `destroy` continues. Outputs have secrets in the clear.
    """

    def exists(self) -> bool:
        """Tell whether there is such a stack, be it half made."""
        ...

    def up(self) -> dict[str, Any]:
        """Create or update everything; return the stack's outputs.

        Raises StackNotRemovedError before anything is touched where that would take something of a protected
        stack away.
        """
        ...

    def outputs(self) -> dict[str, Any]:
        """Return the outputs of the last `up`; empty before the first."""
        ...

    def preview(self) -> list[Change]:
        """Return what an `up` would change; nothing is changed."""
        ...

    def drift(self) -> list[Drift]:
        """Return what differs from the last `up`, grants that others added included; nothing is changed."""
        ...

    def destroy(self) -> list[str]:
        """Remove everything and return it; StackNotRemovedError where it is protected or locked."""
        ...

    def forget(self) -> None:
        """Forget the stack with its settings; StackNotRemovedError where it is protected."""
        ...

    def leftovers(self) -> list[str]:
        """Ask the cloud, by label and by name, what is left of the stack."""
        ...
