"""The accounts of a stack, that of pipelines and that of who only reads, and the ways to become each."""

import base64
import json
from typing import Any, Final

import pulumi
import pulumi_gcp as gcp

from lakehouse.context import Context
from lakehouse.settings import Settings

JOB_ROLE: Final = "roles/bigquery.jobUser"
# By credential mode: who somebody is, and the role that lets them use this one account, no other.
_USERS: Final = {
    "impersonation": ("owner", "roles/iam.serviceAccountTokenCreator"),
    "workload-identity": ("platform", "roles/iam.workloadIdentityUser"),
}
_IAM_CREDENTIALS: Final = "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts"


class Identity(pulumi.ComponentResource):
    """A service account that may run BigQuery jobs; lake and warehouse grant it their own roles.

    `credentials` is the content of the credential file, None where the mode needs none. With
    impersonation its `source_credentials` are empty: they are the developer's own, added on their machine.
    """

    account: pulumi.Output[str]
    email: pulumi.Output[str]
    member: pulumi.Output[str]
    credentials: pulumi.Output[str] | None = None

    def __init__(
        self,
        context: Context,
        opts: pulumi.ResourceOptions,
        name: str,
        account_id: str,
        does: str,
        existing: str = "",
    ) -> None:
        super().__init__(f"taxiway:infra:{type(self).__name__}", name, None, opts)
        settings, child = context.settings, pulumi.ResourceOptions(parent=self)
        # Replaced, a grant is deleted first: the new one may be the same, and would go with the old.
        grants = pulumi.ResourceOptions(parent=self, delete_before_replace=True)
        if existing:
            email = pulumi.Output.from_input(existing)
            account = pulumi.Output.from_input(f"projects/-/serviceAccounts/{existing}")
            self.member = pulumi.Output.from_input(f"serviceAccount:{existing}")
        else:
            made = gcp.serviceaccount.Account(
                name,
                account_id=account_id,
                project=settings.project,
                display_name=f"Taxiway {name} of {context.labels['taxiway-stack']}",
                description=f"{does} Managed by Pulumi.",
                opts=child,
            )
            email, account, self.member = made.email, made.name, made.member
        self.account = account
        jobs = gcp.projects.IAMMember(
            f"{name}-jobs", project=settings.project, role=JOB_ROLE, member=self.member, opts=grants
        )
        # Waits for the grant: whoever has the address may run jobs.
        self.email = pulumi.Output.all(email, jobs.id).apply(lambda values: str(values[0]))
        if settings.credentials in _USERS:
            who, role = _USERS[settings.credentials]
            impersonated = settings.credentials == "impersonation"
            user = settings.owner_member if impersonated else federated_member(settings)
            grant = gcp.serviceaccount.IAMMember(
                f"{name}-{who}", service_account_id=account, role=role, member=user, opts=grants
            )
            self.credentials = pulumi.Output.all(email, grant.id).apply(
                lambda values: (
                    impersonation_file(values[0]) if impersonated else federation_file(settings, values[0])
                )
            )
        elif settings.credentials == "key":
            # The organization may forbid keys (disableServiceAccountKeyCreation); then only this mode fails.
            key = gcp.serviceaccount.Key(f"{name}-key", service_account_id=account, opts=child)
            content = key.private_key.apply(lambda encoded: base64.b64decode(encoded).decode())
            self.credentials = pulumi.Output.secret(content)
        self.register_outputs({"email": self.email})


class PipelineIdentity(Identity):
    """What the pipelines act as: a service account of the stack's own, or one that exists."""

    def __init__(self, context: Context, opts: pulumi.ResourceOptions) -> None:
        does, existing = "Runs the pipelines of one stack.", context.settings.service_account
        super().__init__(context, opts, "pipelines", context.names.account, does, existing)


class ReaderIdentity(Identity):
    """What the API server shows logs and tables as: it serves browsers, and is to change nothing."""

    def __init__(self, context: Context, opts: pulumi.ResourceOptions) -> None:
        super().__init__(context, opts, "reader", context.names.reader, "Reads the data of one stack.")


def federated_member(settings: Settings) -> str:
    """Return the IAM member of identities that the platform's pool vouches for."""
    pool = settings.workload_identity_provider.rsplit("/providers/", 1)[0]
    kind = "principal" if settings.workload_identity_principal.startswith("subject/") else "principalSet"
    return f"{kind}://iam.googleapis.com/{pool}/{settings.workload_identity_principal}"


# Both files are what Google's libraries read as GOOGLE_APPLICATION_CREDENTIALS; their formats are Google's.
def impersonation_file(email: str) -> str:
    """Return a credential file that acts as the account; the developer's own credentials go into it later."""
    content: dict[str, Any] = {
        "type": "impersonated_service_account",
        "service_account_impersonation_url": f"{_IAM_CREDENTIALS}/{email}:generateAccessToken",
        "delegates": [],
        "source_credentials": {},
    }
    return json.dumps(content, sort_keys=True)


def federation_file(settings: Settings, email: str) -> str:
    """Return a credential file that trades the platform's token for the account's; it holds no secret."""
    content = {
        "type": "external_account",
        "audience": f"//iam.googleapis.com/{settings.workload_identity_provider}",
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": "https://sts.googleapis.com/v1/token",
        "service_account_impersonation_url": f"{_IAM_CREDENTIALS}/{email}:generateAccessToken",
        "credential_source": {"file": settings.workload_identity_token_file},
    }
    return json.dumps(content, sort_keys=True)
