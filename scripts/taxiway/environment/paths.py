"""Where an environment keeps its things: all of it below one ignored folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

REPOSITORY = Path(__file__).resolve().parents[3]
ENVIRONMENTS = REPOSITORY / ".taxiway"
DEFAULT_STACK = "local"


@dataclass(frozen=True)
class Home:
    """The folder of one stack's environment and the places in it."""

    root: Path

    @classmethod
    def of(cls, stack: str) -> Self:
        """The environment of `stack` in this checkout."""
        return cls(ENVIRONMENTS / stack)

    @property
    def state(self) -> Path:
        """What `up` decided: ports, source, schedule start."""
        return self.root / "state.json"

    @property
    def environment(self) -> Path:
        """The variables of the Airflow processes that parse, schedule and run DAGs."""
        return self.root / "environment.json"

    @property
    def api_environment(self) -> Path:
        """The variables of the API server: it runs no DAG, so it does not wait for the stack's outputs."""
        return self.root / "api-environment.json"

    @property
    def secrets(self) -> Path:
        """Generated once, each file 0600."""
        return self.root / "secrets"

    @property
    def credentials(self) -> Path:
        """What Google's libraries sign in with, where the stack is on Google Cloud."""
        return self.secrets / "google_credentials"

    @property
    def logs(self) -> Path:
        """`<component>.log` each, and Airflow's task logs below `tasks/`."""
        return self.root / "logs"

    @property
    def airflow(self) -> Path:
        """AIRFLOW_HOME."""
        return self.root / "airflow"

    @property
    def engine(self) -> Path:
        """What the infrastructure engines remember, of all stacks. No stack's name begins like this."""
        return self.root.parent / "_engine"

    def data(self, component: str) -> Path:
        """Data folder of a service."""
        return self.root / "data" / component
