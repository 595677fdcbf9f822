"""What a stack changes on its project as a whole: enabled APIs, and on request a budget."""

from typing import Final

import pulumi
import pulumi_gcp as gcp

from lakehouse.context import Context
from lakehouse.settings import Settings

_ALWAYS: Final = ("bigquery", "cloudresourcemanager", "iam", "storage")
_CREDENTIALS: Final = {
    "impersonation": ("iamcredentials",),
    "workload-identity": ("iamcredentials", "sts"),
}
RUNNER_APIS: Final = ["artifactregistry", "compute", "iap", "osconfig", "oslogin", "secretmanager"]
# Parts of the budget at which Google sends a mail.
THRESHOLDS: Final = (0.5, 0.9, 1.0)


class Apis(pulumi.ComponentResource):
    """Enables the APIs that the stack calls, and never disables one: other stacks of the project use them."""

    def __init__(self, context: Context) -> None:
        super().__init__("taxiway:infra:Apis", "apis")
        # Pulumi never asks for their removal; disable_on_destroy holds for whoever takes that option out.
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


class Budget(pulumi.ComponentResource):
    """A budget on the stack's project: Google mails the billing administrators, and stops nothing."""

    def __init__(
        self, context: Context, project_number: pulumi.Input[int], opts: pulumi.ResourceOptions
    ) -> None:
        super().__init__("taxiway:infra:Budget", "budget", None, opts)
        settings = context.settings
        gcp.billing.Budget(
            "budget",
            billing_account=settings.billing_account,
            display_name=f"{settings.project} {context.names.label}",
            # Without a currency the amount is in the billing account's own; another one is refused.
            amount={"specified_amount": {"units": str(settings.budget)}},
            # By its number: the API answers with that, so the id would be a change at every update.
            budget_filter={"projects": [pulumi.Output.format("projects/{0}", project_number)]},
            threshold_rules=[{"threshold_percent": part} for part in THRESHOLDS],
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.register_outputs({})


def required(settings: Settings) -> list[str]:
    """Return the host names of the APIs that a stack needs, such as `iam.googleapis.com`."""
    apis = [*_ALWAYS, *_CREDENTIALS.get(settings.credentials, ())]
    apis += ["cloudkms"] * bool(settings.kms_key)
    apis += ["composer"] * settings.composer
    apis += RUNNER_APIS * settings.runner
    apis += ["billingbudgets"] * bool(settings.budget)
    return sorted(f"{api}.googleapis.com" for api in apis)
