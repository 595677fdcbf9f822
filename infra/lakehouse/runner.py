"""The runner: one small machine that runs this repository's compose file day and night. Off by default.

Debian, because it has Compose as a package and gets its patches from OS Config; Container-Optimized OS has
neither. What is on the machine's second disk (Docker's volumes, the checkout) outlives the machine.
"""

import base64
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pulumi
import pulumi_gcp as gcp

from lakehouse.context import Context
from lakehouse.guardrails import IAP
from lakehouse.identity import PipelineIdentity
from lakehouse.names import image, region, zone

SYSTEM: Final = "projects/debian-cloud/global/images/family/debian-13"
DISK_GB: Final = 50
SYSTEM_GB: Final = 10
READ_SECRET: Final = "roles/secretmanager.secretAccessor"  # noqa: S105 - a role
READ_IMAGES: Final = "roles/artifactregistry.reader"
# For the stack's owner: through IAP to this machine, there as root, and as the account that it acts as.
TUNNEL: Final = "roles/iap.tunnelResourceAccessor"
LOG_IN: Final = "roles/compute.osAdminLogin"
ACT_AS: Final = "roles/iam.serviceAccountUser"


class Runner(pulumi.ComponentResource):
    """A machine without a public address that acts as the pipelines' account: no key, no credential file."""

    def __init__(
        self,
        context: Context,
        identity: PipelineIdentity,
        variables: Mapping[str, pulumi.Input[str]],
        opts: pulumi.ResourceOptions,
    ) -> None:
        super().__init__("taxiway:infra:Runner", "runner", None, opts)
        self._context, self._identity, self._settings = context, identity, context.settings
        # What is valid as an account's id is valid for all of these; none can be made beside its namesake.
        self._name, self._project = context.names.account, context.settings.project
        self._region, self._zone = region(self._settings.location), zone(self._settings.location)
        self._child = pulumi.ResourceOptions(parent=self, delete_before_replace=True)
        subnetwork, way_out = self._network()
        needed = [way_out, *self._secrets(), self._images()]
        machine = self._machine(subnetwork, self._disk(), variables, needed)
        if self._settings.owner:
            self._people(machine)
        gcp.osconfig.PatchDeployment(
            "runner",
            patch_deployment_id=self._name,
            project=self._project,
            instance_filter={"group_labels": [{"labels": {"taxiway-stack": context.names.label}}]},
            patch_config={"apt": {"type": "DIST"}, "reboot_config": "DEFAULT"},
            recurring_schedule={
                "time_zone": {"id": "Etc/UTC"},
                "time_of_day": {"hours": 3},
                "weekly": {"day_of_week": "SUNDAY"},
            },
            opts=self._child,
        )
        self.register_outputs({})

    def _network(self) -> tuple[pulumi.Output[str], pulumi.Resource]:
        """A network of its own: Google's APIs privately, others through NAT, in by IAP to SSH alone."""
        network = gcp.compute.Network(
            "runner", name=self._name, project=self._project, auto_create_subnetworks=False, opts=self._child
        )
        subnetwork = gcp.compute.Subnetwork(
            "runner",
            name=self._name,
            project=self._project,
            region=self._region,
            network=network.self_link,
            ip_cidr_range="10.10.0.0/28",
            private_ip_google_access=True,
            opts=self._child,
        )
        router = gcp.compute.Router(
            "runner",
            name=self._name,
            project=self._project,
            region=self._region,
            network=network.self_link,
            opts=self._child,
        )
        nat = gcp.compute.RouterNat(
            "runner",
            name=self._name,
            project=self._project,
            region=self._region,
            router=router.name,
            nat_ip_allocate_option="AUTO_ONLY",
            source_subnetwork_ip_ranges_to_nat="LIST_OF_SUBNETWORKS",
            subnetworks=[{"name": subnetwork.self_link, "source_ip_ranges_to_nats": ["ALL_IP_RANGES"]}],
            opts=self._child,
        )
        gcp.compute.Firewall(
            "runner",
            name=self._name,
            project=self._project,
            network=network.self_link,
            direction="INGRESS",
            source_ranges=[IAP],
            target_service_accounts=[self._identity.email],
            allows=[{"protocol": "tcp", "ports": ["22"]}],
            opts=self._child,
        )
        return subnetwork.self_link, nat

    def _secrets(self) -> list[pulumi.Resource]:
        """What outlives the disk: the password of Airflow's user admin, and the key of its connections."""
        made: list[pulumi.Resource] = []
        # New at each evaluation, and ignored but at the first: no other provider is needed for a random text.
        once = pulumi.ResourceOptions(parent=self, delete_before_replace=True, ignore_changes=["secret_data"])
        fernet = base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()
        for name, text in (("admin-password", secrets.token_urlsafe(24)), ("fernet-key", fernet)):
            secret = gcp.secretmanager.Secret(
                f"runner-{name}",
                secret_id=self._context.names.part(name),
                project=self._project,
                labels=self._context.labels,
                # An organization that restricts locations forbids automatic replication.
                replication={"user_managed": {"replicas": [{"location": self._region}]}},
                opts=self._child,
            )
            made.append(
                gcp.secretmanager.SecretVersion(
                    f"runner-{name}", secret=secret.id, secret_data=pulumi.Output.secret(text), opts=once
                )
            )
            made.append(
                gcp.secretmanager.SecretIamMember(
                    f"runner-{name}",
                    project=self._project,
                    secret_id=secret.secret_id,
                    role=READ_SECRET,
                    member=self._identity.member,
                    opts=self._child,
                )
            )
        return made

    def _images(self) -> pulumi.Resource:
        repository = gcp.artifactregistry.Repository(
            "runner",
            repository_id=self._name,
            project=self._project,
            location=self._region,
            format="DOCKER",
            labels=self._context.labels,
            # A pushed image takes the tag; the ones before it lose it, and go.
            cleanup_policies=[
                {
                    "id": "replaced",
                    "action": "DELETE",
                    "condition": {"tag_state": "UNTAGGED", "older_than": "604800s"},
                }
            ],
            opts=self._child,
        )
        return gcp.artifactregistry.RepositoryIamMember(
            "runner",
            project=self._project,
            location=self._region,
            repository=repository.repository_id,
            role=READ_IMAGES,
            member=self._identity.member,
            opts=self._child,
        )

    def _disk(self) -> pulumi.Output[str]:
        disk = gcp.compute.Disk(
            "runner",
            name=self._context.names.part("data"),
            project=self._project,
            zone=self._zone,
            type="pd-balanced",
            size=DISK_GB,
            labels=self._context.labels,
            opts=self._child,
        )
        # As for the lake: an ephemeral stack is to leave nothing, and snapshots outlive their disk. The
        # schedule is no data, so not protected: it goes when the stack is made ephemeral, before that goes.
        bare = pulumi.ResourceOptions(parent=self, delete_before_replace=True, protect=False)
        if not self._settings.ephemeral and self._settings.retention_days:
            schedule = gcp.compute.ResourcePolicy(
                "runner",
                name=self._name,
                project=self._project,
                region=self._region,
                snapshot_schedule_policy={
                    "schedule": {"daily_schedule": {"days_in_cycle": 1, "start_time": "02:00"}},
                    "retention_policy": {
                        "max_retention_days": self._settings.retention_days,
                        "on_source_disk_delete": "APPLY_RETENTION_POLICY",
                    },
                    "snapshot_properties": {
                        "labels": self._context.labels,
                        "storage_locations": self._region,
                    },
                },
                opts=bare,
            )
            gcp.compute.DiskResourcePolicyAttachment(
                "runner",
                name=schedule.name,
                disk=disk.name,
                project=self._project,
                zone=self._zone,
                opts=bare,
            )
        return disk.self_link

    def _machine(
        self,
        subnetwork: pulumi.Output[str],
        disk: pulumi.Output[str],
        variables: Mapping[str, pulumi.Input[str]],
        needed: list[pulumi.Resource],
    ) -> gcp.compute.Instance:
        environment = pulumi.Output.all(**variables).apply(
            lambda found: "".join(f"{name}='{found[name]}'\n" for name in sorted(found))
        )
        return gcp.compute.Instance(
            "runner",
            name=self._name,
            project=self._project,
            zone=self._zone,
            machine_type=self._settings.runner_machine,
            # Another machine type is a restart, not another machine.
            allow_stopping_for_update=True,
            deletion_protection=not self._settings.ephemeral,
            labels=self._context.labels,
            boot_disk={
                "initialize_params": {
                    "image": SYSTEM,
                    "size": SYSTEM_GB,
                    "type": "pd-balanced",
                }
            },
            attached_disks=[{"source": disk, "device_name": "data"}],
            # No access_configs: no public address.
            network_interfaces=[{"subnetwork": subnetwork}],
            # The account's roles decide; scopes are what was there before them.
            service_account={"email": self._identity.email, "scopes": ["cloud-platform"]},
            shielded_instance_config={
                "enable_secure_boot": True,
                "enable_vtpm": True,
                "enable_integrity_monitoring": True,
            },
            scheduling={"automatic_restart": True, "on_host_maintenance": "MIGRATE"},
            metadata={
                "enable-oslogin": "TRUE",
                "enable-osconfig": "TRUE",
                "block-project-ssh-keys": "TRUE",
                "startup-script": Path(__file__).with_name("runner.sh").read_text(),
                "taxiway-environment": environment,
                "taxiway-image": image(self._project, self._settings.location, self._name),
                "taxiway-name": self._name,
            },
            opts=pulumi.ResourceOptions(parent=self, delete_before_replace=True, depends_on=needed),
        )

    def _people(self, machine: gcp.compute.Instance) -> None:
        where: dict[str, Any] = {
            "project": self._project,
            "zone": self._zone,
            "member": self._settings.owner_member,
        }
        gcp.iap.TunnelInstanceIAMMember(
            "runner-owner", instance=machine.name, role=TUNNEL, **where, opts=self._child
        )
        gcp.compute.InstanceIAMMember(
            "runner-owner", instance_name=machine.name, role=LOG_IN, **where, opts=self._child
        )
        gcp.serviceaccount.IAMMember(
            "runner-owner",
            service_account_id=self._identity.account,
            role=ACT_AS,
            member=self._settings.owner_member,
            opts=self._child,
        )
