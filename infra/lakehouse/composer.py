"""Cloud Composer 3: the same DAGs and library on Google's own Airflow.

Off by default: it costs several hundred dollars a month.

Composer 3 copies `plugins/` neither to the scheduler nor to the triggerer, which runs triggers of the
library's. So the library goes where local Python packages go, beside the DAGs.
https://cloud.google.com/composer/docs/composer-3/install-plugins
"""

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pulumi
import pulumi_gcp as gcp

from lakehouse.context import Context
from lakehouse.identity import PipelineIdentity
from lakehouse.names import region
from lakehouse.stores import OBJECT_ROLE, private_bucket

WORKER_ROLE: Final = "roles/composer.worker"
_REPOSITORY: Final = Path(__file__).resolve().parents[2]
# Where Composer mounts the DAGs, in every component. An Airflow of its own adds a bundle's folder to Python's
# path only where DAGs are parsed and tasks run, and not in the triggerer.
_MOUNTED: Final = "/home/airflow/gcs/dags"
# What the library imports and Google's image lacks.
_MISSING: Final = ("isal", "orjson")


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
        bucket = private_bucket(context, "composer", context.names.dags_bucket, 0, opts=child)
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
        for name, source in uploads().items():
            asset = pulumi.StringAsset(source) if isinstance(source, str) else pulumi.FileAsset(str(source))
            # A file that goes from the repository goes from a protected stack too: it is no data.
            gcp.storage.BucketObject(
                f"composer/{name}",
                bucket=bucket.name,
                name=name,
                source=asset,
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
                "software_config": {
                    "image_version": settings.composer_image,
                    "env_variables": {**variables, "PYTHONPATH": _MOUNTED},
                    "pypi_packages": requirements(),
                },
            },
            opts=pulumi.ResourceOptions(parent=self, depends_on=[worker, files]),
        )
        self.airflow_uri = environment.config.airflow_uri
        self.register_outputs({"airflow_uri": self.airflow_uri})


def uploads() -> dict[str, Path | str]:
    """Return the objects that Composer gets, by their names: a file each, or a text."""
    packages = sorted(init.parent for init in (_REPOSITORY / "plugins").glob("*/__init__.py"))
    found: dict[str, Path | str] = {
        f"dags/{path.relative_to(folder.parent).as_posix()}": path
        for folder in packages
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }
    found |= {f"dags/{path.name}": path for path in sorted((_REPOSITORY / "dags").glob("*.py"))}
    # Airflow would look for DAGs in each of the packages' files.
    return {**found, "dags/.airflowignore": "".join(f"{folder.name}/\n" for folder in packages)}


def requirements() -> dict[str, str]:
    """Return the packages that Composer installs, in every component, with the library's own bounds."""
    declared = tomllib.loads((_REPOSITORY / "plugins" / "pyproject.toml").read_text())["project"]
    found = (re.match(r"([a-z0-9-]+)(.*)", one) for one in declared["dependencies"])
    return {match[1]: match[2] for match in found if match and match[1] in _MISSING}
