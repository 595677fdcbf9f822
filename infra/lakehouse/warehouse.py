"""The warehouse: one dataset, and the pipelines' right to its tables."""

from typing import Final

import pulumi
import pulumi_gcp as gcp

from lakehouse.context import Context
from lakehouse.settings import Settings

ROLE: Final = "roles/bigquery.dataEditor"
_DAY_MS: Final = 86_400_000


class Warehouse(pulumi.ComponentResource):
    """A dataset in the lake's location; `dataset_id` resolves once the pipelines may use it."""

    dataset_id: pulumi.Output[str]

    def __init__(self, context: Context, member: pulumi.Input[str], opts: pulumi.ResourceOptions) -> None:
        super().__init__("taxiway:infra:Warehouse", "warehouse", None, opts)
        dataset = self._dataset(context)
        # An additive member; the dataset itself names no access list, so its updates leave this one alone.
        grant = gcp.bigquery.DatasetIamMember(
            "warehouse-pipelines",
            project=context.settings.project,
            dataset_id=dataset.dataset_id,
            role=ROLE,
            member=member,
            opts=pulumi.ResourceOptions(parent=self),
        )
        # Waits for the grant: whoever has the id may write.
        self.dataset_id = pulumi.Output.all(dataset.dataset_id, grant.id).apply(lambda values: str(values[0]))
        self.register_outputs({"dataset_id": self.dataset_id})

    def _dataset(self, context: Context) -> gcp.bigquery.Dataset:
        settings = context.settings
        return gcp.bigquery.Dataset(
            "warehouse",
            dataset_id=context.names.dataset,
            description="Tables of the taxiway pipelines. Managed by Pulumi.",
            project=settings.project,
            # Not in capitals, as the bucket: BigQuery answers a region in lower case.
            location=settings.location,
            labels=context.labels,
            delete_contents_on_destroy=settings.ephemeral,
            deletion_policy=context.deletion_policy,
            default_table_expiration_ms=table_expiry_ms(settings),
            default_encryption_configuration={"kms_key_name": settings.kms_key} if settings.kms_key else None,
            opts=context.protection(self),
        )


def table_expiry_ms(settings: Settings) -> int | None:
    """Return the age in milliseconds at which tables go, None where they stay."""
    # Never a *partition* expiry: it counts from the month in the data, and 2019 would vanish on arrival.
    days = settings.dataset_expiry_days if settings.ephemeral else 0
    return days * _DAY_MS or None
