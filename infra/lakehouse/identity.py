"""The account that pipelines act as, and the ways to become it."""

import base64
import json
from typing import Any, Final

import pulumi
import pulumi_gcp as gcp

from lakehouse.context import Context
from lakehouse.settings import Settings

JOB_ROLE: Final = "roles/bigquery.jobUser"
IMPERSONATION_ROLE: Final = "roles/iam.serviceAccountTokenCreator"
FEDERATION_ROLE: Final = "roles/iam.workloadIdentityUser"
_IAM_CREDENTIALS: Final = "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts"


class PipelineIdentity(pulumi.ComponentResource):
    """A service account that may run BigQuery jobs; lake and warehouse grant it their own roles.

    `credentials` is the content of the credential file, None where the mode needs none. With
    impersonation its `source_credentials` are empty: they are the developer's own, added on their machine.
    """

    email: pulumi.Output[str]
    member: pulumi.Output[str]
    credentials: pulumi.Output[str] | None

    def __init__(self, context: Context, opts: pulumi.ResourceOptions) -> None:
        super().__init__("taxiway:infra:PipelineIdentity", "pipelines", None, opts)
        settings = context.settings
        self._child = pulumi.ResourceOptions(parent=self)
        self._account = gcp.serviceaccount.Account(
            "pipelines",
            account_id=context.names.account,
            project=settings.project,
            display_name=f"Taxiway pipelines of {context.labels['taxiway-stack']}",
            description="Runs the pipelines of one stack. Managed by Pulumi.",
            opts=self._child,
        )
        self.member = self._account.member
        jobs = gcp.projects.IAMMember(
            "pipelines-jobs", project=settings.project, role=JOB_ROLE, member=self.member, opts=self._child
        )
        # Waits for the grant: whoever has the address may run jobs.
        self.email = pulumi.Output.all(self._account.email, jobs.id).apply(lambda values: str(values[0]))
        self.credentials = self._credentials(settings)
        self.register_outputs({"email": self.email})

    def _credentials(self, settings: Settings) -> pulumi.Output[str] | None:
        if settings.credentials == "impersonation":
            return self._impersonation(settings)
        if settings.credentials == "workload-identity":
            return self._workload_identity(settings)
        if settings.credentials == "key":
            return self._key()
        return None

    def _impersonation(self, settings: Settings) -> pulumi.Output[str]:
        grant = self._grant("pipelines-owner", IMPERSONATION_ROLE, settings.owner_member)
        ready = pulumi.Output.all(self._account.email, grant.id)
        return ready.apply(lambda values: impersonation_file(values[0]))

    def _workload_identity(self, settings: Settings) -> pulumi.Output[str]:
        grant = self._grant("pipelines-platform", FEDERATION_ROLE, federated_member(settings))
        ready = pulumi.Output.all(self._account.email, grant.id)
        return ready.apply(lambda values: federation_file(settings, values[0]))

    # The organization may forbid keys (iam.disableServiceAccountKeyCreation); then only this mode fails.
    def _key(self) -> pulumi.Output[str]:
        key = gcp.serviceaccount.Key("pipelines-key", service_account_id=self._account.name, opts=self._child)
        content = key.private_key.apply(lambda encoded: base64.b64decode(encoded).decode())
        return pulumi.Output.secret(content)

    def _grant(self, name: str, role: str, member: str) -> gcp.serviceaccount.IAMMember:
        """Let a member use this one account, no other."""
        return gcp.serviceaccount.IAMMember(
            name, service_account_id=self._account.name, role=role, member=member, opts=self._child
        )


def federated_member(settings: Settings) -> str:
    """Return the IAM member of identities that the platform's pool vouches for."""
    pool = settings.workload_identity_provider.rsplit("/providers/", 1)[0]
    kind = "principal" if settings.workload_identity_principal.startswith("subject/") else "principalSet"
    return f"{kind}://iam.googleapis.com/{pool}/{settings.workload_identity_principal}"


# Both files are what Google's libraries read as GOOGLE_APPLICATION_CREDENTIALS; their formats are Google's.
def impersonation_file(email: str) -> str:
    """Return a credential file that acts as the account; the developer's own credentials go into it later."""
    return _json(
        {
            "type": "impersonated_service_account",
            "service_account_impersonation_url": f"{_IAM_CREDENTIALS}/{email}:generateAccessToken",
            "delegates": [],
            "source_credentials": {},
        }
    )


def federation_file(settings: Settings, email: str) -> str:
    """Return a credential file that trades the platform's token for the account's; it holds no secret."""
    return _json(
        {
            "type": "external_account",
            "audience": f"//iam.googleapis.com/{settings.workload_identity_provider}",
            "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
            "token_url": "https://sts.googleapis.com/v1/token",
            "service_account_impersonation_url": f"{_IAM_CREDENTIALS}/{email}:generateAccessToken",
            "credential_source": {"file": settings.workload_identity_token_file},
        }
    )


def _json(content: dict[str, Any]) -> str:
    return json.dumps(content, sort_keys=True)
