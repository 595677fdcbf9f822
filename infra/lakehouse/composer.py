"""Cloud Composer 3: the same DAGs and library on Google's own Airflow.

Off by default: it costs several hundred dollars a month.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import pulumi
import pulumi_gcp as gcp

from lakehouse.context import Context
from lakehouse.identity import PipelineIdentity
from lakehouse.names import region
from lakehouse.stores import OBJECT_ROLE

WORKER_ROLE: Final = "roles/composer.worker"
_REPOSITORY: Final = Path(__file__).resolve().parents[2]
_FOLDERS: Final = ("dags", "plugins")


class Composer(pulumi.ComponentResource):
    """An environment that acts as the pipelines' account; `airflow_uri` is where its Airflow answers."""

    airflow_uri: pulumi.Output[str]

    def __init__(
        self,
        context: Context,
        identity: PipelineIdentity,
        variables: Mapping[str, pulumi.Input[str]],
        opts: pulumi.ResourceOptions,
    ) -> None:
        super().__init__("taxiway:infra:Composer", "composer", None, opts)
        settings, child = context.settings, pulumi.ResourceOptions(parent=self)
        # Not the lake: its objects age and go, and DAGs must not.
        bucket = gcp.storage.Bucket(
            "composer",
            name=context.names.dags_bucket,
            project=settings.project,
            location=settings.location.upper(),
            labels=context.labels,
            uniform_bucket_level_access=True,
            public_access_prevention="enforced",
            force_destroy=settings.ephemeral,
            deletion_policy=context.deletion_policy,
            versioning={"enabled": False},
            soft_delete_policy={"retention_duration_seconds": 0},
            opts=child,
        )
        worker = gcp.projects.IAMMember(
            "composer-worker",
            project=settings.project,
            role=WORKER_ROLE,
            member=identity.member,
            opts=child,
        )
        files = gcp.storage.BucketIAMMember(
            "composer-files", bucket=bucket.name, role=OBJECT_ROLE, member=identity.member, opts=child
        )
        for name in sources():
            # A file that goes from the repository goes from a protected stack too: it is no data.
            gcp.storage.BucketObject(
                f"composer/{name}",
                bucket=bucket.name,
                name=name,
                source=pulumi.FileAsset(str(_REPOSITORY / name)),
                opts=pulumi.ResourceOptions(parent=self, protect=False),
            )
        environment = gcp.composer.Environment(
            "composer",
            # What is valid as an account's id is valid here too.
            name=context.names.account,
            project=settings.project,
            region=region(settings.location),
            labels=context.labels,
            deletion_policy=context.deletion_policy,
            storage_config={"bucket": bucket.name},
            config={
                "environment_size": "ENVIRONMENT_SIZE_SMALL",
                "node_config": {"service_account": identity.email},
                "software_config": {"image_version": settings.composer_image, "env_variables": variables},
            },
            opts=pulumi.ResourceOptions(parent=self, depends_on=[worker, files]),
        )
        self.airflow_uri = environment.config.airflow_uri
        self.register_outputs({"airflow_uri": self.airflow_uri})


def sources() -> Iterator[str]:
    """Yield the files that Composer gets, as paths from the repository's root."""
    for folder in _FOLDERS:
        for path in sorted((_REPOSITORY / folder).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                yield path.relative_to(_REPOSITORY).as_posix()
