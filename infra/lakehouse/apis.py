"""The APIs that a stack calls, enabled once per project and left enabled."""

import pulumi
import pulumi_gcp as gcp

from lakehouse.context import Context
from lakehouse.settings import Settings

_ALWAYS = ("bigquery", "bigquerystorage", "cloudresourcemanager", "iam", "storage")
_CREDENTIALS = {
    "impersonation": ("iamcredentials",),
    "workload-identity": ("iamcredentials", "sts"),
}


def required(settings: Settings) -> list[str]:
    """Return the host names of the APIs that a stack with these settings needs."""
    apis = [*_ALWAYS, *_CREDENTIALS.get(settings.credentials, ())]
    apis += ["cloudkms"] * bool(settings.kms_key)
    apis += ["composer"] * settings.composer
    apis += ["billingbudgets"] * bool(settings.budget)
    return sorted(f"{api}.googleapis.com" for api in apis)


class Apis(pulumi.ComponentResource):
    """Enables what the stack calls. Other stacks of the project share it, so no teardown disables it."""

    def __init__(self, context: Context) -> None:
        super().__init__("taxiway:infra:Apis", "apis")
        options = pulumi.ResourceOptions(parent=self, retain_on_delete=True)
        for api in required(context.settings):
            gcp.projects.Service(
                api.split(".")[0],
                project=context.settings.project,
                service=api,
                disable_on_destroy=False,
                opts=options,
            )
        self.register_outputs({})
