"""What pyproject.toml leaves out of the install says so when it is imported.

The modules beside this one have the names of those that are missing; an installed one goes before them.
"""

from __future__ import annotations

from airflow.sdk.exceptions import AirflowOptionalProviderFeatureException


class LeftOutError(AirflowOptionalProviderFeatureException, ImportError):
    """`distribution` is not installed. Airflow takes what needs it for an optional feature, and goes on."""

    def __init__(self, distribution: str) -> None:
        super().__init__(
            f"{distribution} is left out of this install. To have it: delete its line in pyproject.toml "
            "(exclude-dependencies), then .tools/uv/bin/uv lock, and scripts/up again."
        )
