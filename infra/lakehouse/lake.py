"""The lake: one bucket, and the pipelines' right to its objects."""

from typing import Final

import pulumi
import pulumi_gcp as gcp

from lakehouse.context import Context
from lakehouse.settings import Settings

ROLE: Final = "roles/storage.objectAdmin"
_DAY_SECONDS: Final = 86_400


class Lake(pulumi.ComponentResource):
    """A private bucket; `name` resolves once the pipelines may use it."""

    name: pulumi.Output[str]

    def __init__(self, context: Context, member: pulumi.Input[str], opts: pulumi.ResourceOptions) -> None:
        super().__init__("taxiway:infra:Lake", "lake", None, opts)
        bucket = self._bucket(context)
        grant = gcp.storage.BucketIAMMember(
            "lake-pipelines",
            bucket=bucket.name,
            role=ROLE,
            member=member,
            opts=pulumi.ResourceOptions(parent=self),
        )
        # Waits for the grant: whoever has the name may write.
        self.name = pulumi.Output.all(bucket.name, grant.id).apply(lambda values: str(values[0]))
        self.register_outputs({"name": self.name})

    def _bucket(self, context: Context) -> gcp.storage.Bucket:
        settings = context.settings
        # Deleted objects cost as much as others; an ephemeral lake is to be empty once it is gone.
        kept = 0 if settings.ephemeral else settings.retention_days
        return gcp.storage.Bucket(
            "lake",
            name=context.names.bucket,
            # Without it the provider asks the Compute API for the project.
            project=settings.project,
            # The API answers in capitals: anything else would be a change at every update.
            location=settings.location.upper(),
            labels=context.labels,
            uniform_bucket_level_access=True,
            public_access_prevention="enforced",
            force_destroy=settings.ephemeral,
            deletion_policy=context.deletion_policy,
            versioning={"enabled": kept > 0},
            soft_delete_policy={"retention_duration_seconds": kept * _DAY_SECONDS},
            lifecycle_rules=lifecycle(settings),
            encryption={"default_kms_key_name": settings.kms_key} if settings.kms_key else None,
            opts=context.protection(self),
        )


def lifecycle(settings: Settings) -> list[gcp.storage.BucketLifecycleRuleArgsDict]:
    """Return the bucket's rules: an ephemeral lake forgets, a protected one moves to cheaper storage."""
    rules: list[gcp.storage.BucketLifecycleRuleArgsDict] = []
    if settings.lifecycle_days and settings.ephemeral:
        rules.append({"action": {"type": "Delete"}, "condition": {"age": settings.lifecycle_days}})
    elif settings.lifecycle_days:
        nearline: gcp.storage.BucketLifecycleRuleActionArgsDict = {
            "type": "SetStorageClass",
            "storage_class": "NEARLINE",
        }
        rules.append({"action": nearline, "condition": {"age": settings.lifecycle_days}})
    if settings.retention_days and not settings.ephemeral:
        # Versions keep what is overwritten, soft delete what is deleted; this rule ends the first.
        old: gcp.storage.BucketLifecycleRuleConditionArgsDict = {
            "days_since_noncurrent_time": settings.retention_days,
            "with_state": "ARCHIVED",
        }
        rules.append({"action": {"type": "Delete"}, "condition": old})
    return rules
