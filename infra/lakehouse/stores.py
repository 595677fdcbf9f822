"""Where the data is: the lake (a bucket), the warehouse (a dataset), and the accounts' right to each."""

from typing import Any, Final

import pulumi
import pulumi_gcp as gcp

from lakehouse.access import restored
from lakehouse.context import Context
from lakehouse.identity import Identity
from lakehouse.settings import Settings

OBJECT_ROLE: Final = "roles/storage.objectAdmin"
# It has storage.buckets.get, which BigQuery asks of who loads from a bucket.
READER_ROLE: Final = "roles/storage.legacyBucketReader"
VIEWER_ROLE: Final = "roles/storage.objectViewer"
# Of tasks on other hosts; those on this machine go as early.
LOG_DAYS: Final = 30
_DAY_SECONDS: Final = 86_400


class Lake(pulumi.ComponentResource):
    """A private bucket; `name` resolves once the pipelines may use it, and a `reader` may read it."""

    name: pulumi.Output[str]
    project_number: pulumi.Output[int]

    def __init__(
        self, context: Context, identity: Identity, reader: Identity | None, opts: pulumi.ResourceOptions
    ) -> None:
        super().__init__("taxiway:infra:Lake", "lake", None, opts)
        settings = context.settings
        granted = [("lake-pipelines", OBJECT_ROLE, identity), ("lake-reader", READER_ROLE, identity)]
        granted += [("reader-lake", VIEWER_ROLE, reader)] if reader else []
        # Deleted objects cost as much as others; an ephemeral lake is to be empty once it is gone.
        kept = 0 if settings.ephemeral else settings.retention_days
        bucket = private_bucket(
            context,
            "lake",
            context.names.bucket,
            kept,
            lifecycle_rules=lifecycle(settings),
            encryption={"default_kms_key_name": settings.kms_key} if settings.kms_key else None,
            opts=pulumi.ResourceOptions(parent=self, delete_before_replace=True),
        )
        grants = [
            gcp.storage.BucketIAMMember(
                name,
                bucket=bucket.name,
                role=role,
                member=who.member,
                # Made first, a replacement would be the same grant, and would go with the old one.
                opts=pulumi.ResourceOptions(parent=self, delete_before_replace=True),
            )
            for name, role, who in granted
        ]
        # Waits for the grants: whoever has the name may write.
        ready = pulumi.Output.all(bucket.name, *(grant.id for grant in grants))
        self.name = ready.apply(lambda values: str(values[0]))
        self.project_number = bucket.project_number
        self.register_outputs({"name": self.name})


def private_bucket(
    context: Context, resource: str, name: str, kept_days: int, **more: Any
) -> gcp.storage.Bucket:
    """Declare a bucket of the stack's own; what is deleted or replaced in it is kept for so many days."""
    settings = context.settings
    return gcp.storage.Bucket(
        resource,
        name=name,
        # Without it the provider asks the Compute API for the project.
        project=settings.project,
        # The API answers in capitals: anything else would be a change at every update.
        location=settings.location.upper(),
        labels=context.labels,
        uniform_bucket_level_access=True,
        public_access_prevention="enforced",
        force_destroy=settings.ephemeral,
        deletion_policy=context.deletion_policy,
        versioning={"enabled": kept_days > 0},
        soft_delete_policy={"retention_duration_seconds": kept_days * _DAY_SECONDS},
        **more,
    )


class Warehouse(pulumi.ComponentResource):
    """A dataset in the lake's location that its project's owners, its own owner and the pipelines may use.

    A `reader` may read it.
    """

    dataset_id: pulumi.Output[str]

    def __init__(
        self, context: Context, identity: Identity, reader: Identity | None, opts: pulumi.ResourceOptions
    ) -> None:
        super().__init__("taxiway:infra:Warehouse", "warehouse", None, opts)
        settings = context.settings
        # The whole list: an additive IAM member would be gone after the first change of a label
        # (lakehouse.access). Roles have their basic names, because the API answers with those.
        accesses: list[gcp.bigquery.DatasetAccessArgsDict] = [
            {"role": "OWNER", "special_group": "projectOwners"},
            {"role": "WRITER", "user_by_email": identity.email},
        ]
        if reader:
            accesses.append({"role": "READER", "user_by_email": reader.email})
        kind, _, address = settings.owner_member.lower().partition(":")
        if address:
            field = "group_by_email" if kind == "group" else "user_by_email"
            accesses.append({"role": "OWNER", field: address})  # type: ignore[misc]
        self.dataset_id = gcp.bigquery.Dataset(
            "warehouse",
            dataset_id=context.names.dataset,
            description="Tables of the taxiway pipelines. Managed by Pulumi.",
            project=settings.project,
            # Not in capitals, as the bucket: BigQuery answers a region in lower case.
            location=settings.location,
            labels=context.labels,
            accesses=accesses,
            delete_contents_on_destroy=settings.ephemeral,
            deletion_policy=context.deletion_policy,
            default_table_expiration_ms=table_expiry_ms(settings),
            default_encryption_configuration={"kms_key_name": settings.kms_key} if settings.kms_key else None,
            # Its name stays, so another dataset of that name cannot be made beside it.
            opts=pulumi.ResourceOptions(
                parent=self, delete_before_replace=True, hooks=restored(settings.bigquery_emulator)
            ),
        ).dataset_id
        self.register_outputs({"dataset_id": self.dataset_id})


def lifecycle(settings: Settings) -> list[gcp.storage.BucketLifecycleRuleArgsDict]:
    """Return the bucket's rules: an ephemeral lake forgets, a protected one moves to cheaper storage.

    Of the rules for one object Cloud Storage prefers the one that deletes it.
    """
    rules: list[gcp.storage.BucketLifecycleRuleArgsDict] = [
        {"action": {"type": "Delete"}, "condition": {"age": LOG_DAYS, "matches_prefixes": ["logs/"]}}
    ]
    if settings.lifecycle_days:
        action: gcp.storage.BucketLifecycleRuleActionArgsDict = {"type": "Delete"}
        if not settings.ephemeral:
            action = {"type": "SetStorageClass", "storage_class": "NEARLINE"}
        rules.append({"action": action, "condition": {"age": settings.lifecycle_days}})
    if settings.retention_days and not settings.ephemeral:
        # Versions keep what is overwritten, soft delete what is deleted; this rule ends the first.
        old: gcp.storage.BucketLifecycleRuleConditionArgsDict = {
            "days_since_noncurrent_time": settings.retention_days,
            "with_state": "ARCHIVED",
        }
        rules.append({"action": {"type": "Delete"}, "condition": old})
    return rules


def table_expiry_ms(settings: Settings) -> int | None:
    """Return the age in milliseconds at which tables go, None where they stay."""
    # Never a *partition* expiry: it counts from the month in the data, and 2019 would vanish on arrival.
    days = settings.dataset_expiry_days if settings.ephemeral else 0
    return days * _DAY_SECONDS * 1000 or None
