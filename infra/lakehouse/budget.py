"""An alert for what the project costs in a month."""

from typing import Final

import pulumi
import pulumi_gcp as gcp

from lakehouse.context import Context

THRESHOLDS: Final = (0.5, 0.9, 1.0)


class Budget(pulumi.ComponentResource):
    """A budget on the stack's project: Google mails the billing account's administrators, no more."""

    def __init__(self, context: Context, opts: pulumi.ResourceOptions) -> None:
        super().__init__("taxiway:infra:Budget", "budget", None, opts)
        settings = context.settings
        gcp.billing.Budget(
            "budget",
            billing_account=settings.billing_account,
            display_name=f"{settings.project} {context.names.label}",
            amount={"specified_amount": {"units": str(settings.budget)}},
            budget_filter={"projects": [f"projects/{settings.project}"]},
            threshold_rules=[{"threshold_percent": part} for part in THRESHOLDS],
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.register_outputs({})
