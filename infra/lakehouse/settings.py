"""The stack's settings: read and validated once, trusted everywhere else."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NoReturn
from urllib.parse import urlsplit

NAMESPACE: Final = "taxiway"
CREDENTIALS: Final = ("anonymous", "impersonation", "workload-identity", "key")

Config = Mapping[str, str]
"""A stack's configuration, keys with their namespaces, such as `taxiway:location`."""


class SettingsError(ValueError):
    """A setting is missing or wrong; the message has the bad value, what is valid and how to set it."""


def project_of(config: Config) -> str:
    """Return the project of a stack, empty where none is set.

    The provider's own `gcp:project` counts too: it need not be set twice.
    """
    return config.get(f"{NAMESPACE}:project") or config.get("gcp:project", "")


def is_ephemeral(config: Config) -> bool:
    """Tell whether a stack's data may go with it, which is the default."""
    return config.get(f"{NAMESPACE}:ephemeral", "true").lower() == "true"


def emulator_of(config: Config, key: str) -> str:
    """Return the origin of an endpoint setting such as `gcp:storageCustomEndpoint`; empty: Google's own.

    Google answers on https alone, so an endpoint on plain http is an emulator.
    """
    parts = urlsplit(config.get(key, ""))
    return f"http://{parts.netloc}" if parts.scheme == "http" else ""


# --- Checks of one value: each takes (key, text) and returns the value, or refuses ---------------------

Check = Callable[[str, str], str | int | bool]


def _refuse(key: str, value: str, valid: str, example: str) -> NoReturn:
    found = f"is {value!r}" if value else "is not set"
    raise SettingsError(
        f"{NAMESPACE}:{key} {found}, but must be {valid}. "
        f"Set it with: pulumi config set {NAMESPACE}:{key} {example}"
    )


def _matching(pattern: str, valid: str, example: str) -> Callable[[str, str], str]:
    def check(key: str, value: str) -> str:
        return value if re.fullmatch(pattern, value) else _refuse(key, value, valid, example)

    return check


def _number(valid: str, example: str, allowed: Callable[[int], bool]) -> Callable[[str, str], int]:
    def check(key: str, value: str) -> int:
        number = int(value) if re.fullmatch(r"[0-9]{1,9}", value) else -1
        return number if allowed(number) else _refuse(key, value, valid, example)

    return check


def _boolean(key: str, value: str) -> bool:
    if value.lower() in ("true", "false"):
        return value.lower() == "true"
    return _refuse(key, value, "true or false", "true")


def _location(key: str, value: str) -> str:
    # Bucket and dataset share few locations: BigQuery has no dual-regions, and no ASIA.
    if value.upper() in ("US", "EU"):
        return value.upper()
    if re.fullmatch(r"[a-z]+-[a-z]+[0-9]{1,2}", value.lower()):
        return value.lower()
    return _refuse(key, value, "US, EU or a region such as europe-west4", "EU")


def _origin(key: str, value: str) -> str:
    if re.fullmatch(r"http://[^/?#\s]+/?", value):
        return value.rstrip("/")
    return _refuse(key, value, "a URL such as http://HOST:PORT", "http://127.0.0.1:9023")


# A bucket's name; Google's own names among them are refused by Google.
_BUCKET = r"[a-z0-9][a-z0-9_-]{1,61}[a-z0-9]"
_EMAIL = r"[^@\s:]+@[^@\s:]+\.[^@\s:]+"
_POOL = r"projects/[0-9]+/locations/global/workloadIdentityPools/[a-z0-9-]+"
_KMS_KEY = r"projects/[^/]+/locations/([^/]+)/keyRings/[^/]+/cryptoKeys/[^/]+"
# What is valid, and an example: also for the settings that another one makes necessary.
_PROJECT = ("a project's id (6 to 30 of a-z, 0-9 and -)", "my-project")
_OWNER = ("an e-mail address, group:ADDRESS or serviceAccount:ADDRESS", "you@example.com")
_PROVIDER = (
    "projects/NUMBER/locations/global/workloadIdentityPools/POOL/providers/PROVIDER",
    "projects/123456789012/locations/global/workloadIdentityPools/ci/providers/github",
)
_PRINCIPAL = ("subject/SUBJECT or attribute.NAME/VALUE", "attribute.repository/acme/taxiway")
_KMS_EXAMPLE = "projects/acme/locations/us/keyRings/data/cryptoKeys/lake"
_BILLING = ("an id such as 012345-6789AB-CDEF01", "012345-6789AB-CDEF01")
_days = _number("a number of days from 0 to 3650", "60", lambda days: 0 <= days <= 3650)

_CHECKS: Final[Mapping[str, Check]] = {
    "project": _matching(r"([a-z0-9.-]+:)?[a-z][a-z0-9-]{4,28}[a-z0-9]", *_PROJECT),
    "location": _location,
    "ephemeral": _boolean,
    "owner": _matching(rf"((user|group|serviceAccount):)?{_EMAIL}", *_OWNER),
    "credentials": _matching("|".join(CREDENTIALS), f"one of {', '.join(CREDENTIALS)}", "impersonation"),
    "workload_identity_provider": _matching(rf"{_POOL}/providers/[a-z0-9-]+", *_PROVIDER),
    "workload_identity_principal": _matching(r"(subject|attribute\.[A-Za-z0-9_]+)/\S+", *_PRINCIPAL),
    "workload_identity_token_file": _matching(r"/(?s:.*)", "an absolute path", "/var/run/token"),
    "service_account": _matching(
        rf"{_EMAIL}", "the address of an account that exists", "pipelines@my-project.iam.gserviceaccount.com"
    ),
    "bucket": _matching(_BUCKET, "a bucket's name (3 to 63 of a-z, 0-9, - and _)", "my-lake"),
    "kms_key": _matching(_KMS_KEY, "projects/P/locations/L/keyRings/R/cryptoKeys/K", _KMS_EXAMPLE),
    "retention_days": _number("0 or 7 to 90 days", "7", lambda days: days == 0 or 7 <= days <= 90),
    "lifecycle_days": _days,
    "dataset_expiry_days": _days,
    "composer": _boolean,
    "composer_image": _matching(
        r"composer-3-airflow-3[A-Za-z0-9.-]*", "a Composer 3 image with Airflow 3", "composer-3-airflow-3"
    ),
    "runner": _boolean,
    "runner_machine": _matching(
        r"e2-standard-(2|4|8|16|32)", "e2-standard-2, -4, -8, -16 or -32", "e2-standard-4"
    ),
    "budget": _number("a whole amount, 0 for none", "100", lambda amount: amount >= 0),
    "billing_account": _matching(r"[0-9A-F]{6}-[0-9A-F]{6}-[0-9A-F]{6}", *_BILLING),
    "storage_emulator": _origin,
    "bigquery_emulator": _origin,
}

KEYS: Final[Mapping[str, str]] = {
    name: re.sub(r"_(.)", lambda match: match[1].upper(), name) for name in _CHECKS
}
"""Key in the configuration, without its namespace, by field of `Settings`."""

# Settings that follow from the provider's own, where they are not set.
_INSTEAD: Final[Mapping[str, Callable[[Config], str]]] = {
    "project": project_of,
    "storage_emulator": lambda config: emulator_of(config, "gcp:storageCustomEndpoint"),
    "bigquery_emulator": lambda config: emulator_of(config, "gcp:bigQueryCustomEndpoint"),
}


# --- The settings, and what has to fit together --------------------------------------------------------


@dataclass(frozen=True)
class Settings:
    """What one stack is to be. Days are whole days, 0 means never; URLs have no slash at the end."""

    project: str
    location: str = "US"
    ephemeral: bool = True
    owner: str = ""
    credentials: str = "impersonation"
    workload_identity_provider: str = ""
    workload_identity_principal: str = ""
    workload_identity_token_file: str = "/var/run/secrets/taxiway/token"  # noqa: S105 a path, not a token
    service_account: str = ""
    bucket: str = ""
    kms_key: str = ""
    retention_days: int = 7
    lifecycle_days: int = 60
    dataset_expiry_days: int = 60
    composer: bool = False
    composer_image: str = "composer-3-airflow-3"
    runner: bool = False
    runner_machine: str = "e2-standard-2"
    budget: int = 0
    billing_account: str = ""
    storage_emulator: str = ""
    bigquery_emulator: str = ""

    @property
    def owner_member(self) -> str:
        """The owner as an IAM member such as `user:you@example.com`; empty where none is set."""
        return self.owner if not self.owner or ":" in self.owner else f"user:{self.owner}"

    @property
    def reader(self) -> bool:
        """Whether there is a second account, which only reads: on emulators nobody could act as it.

        Who names an account that exists may make none.
        """
        return self.credentials != "anonymous" and not self.service_account

    @property
    def on_emulators(self) -> bool:
        """Whether this stack lives on emulators."""
        return bool(self.storage_emulator)

    def check_together(self) -> None:
        """Raise SettingsError where values that are valid one by one exclude or need each other."""
        mode, federated = self.credentials, self.credentials == "workload-identity"
        if bool(self.storage_emulator) != bool(self.bigquery_emulator):
            missing = "bigqueryEmulator" if self.storage_emulator else "storageEmulator"
            _refuse(missing, "", "a URL, because the other emulator is set", "http://127.0.0.1:9050")
        self._check_extras()
        if mode == "anonymous" and not self.on_emulators:
            valid = "impersonation, workload-identity or key on Google Cloud"
            _refuse("credentials", mode, valid, "impersonation")
        if mode == "impersonation" and not self.owner:
            _refuse("owner", "", "the address of whoever may act as the pipelines' account", _OWNER[1])
        if federated and not self.workload_identity_provider:
            _refuse("workloadIdentityProvider", "", *_PROVIDER)
        if federated and not self.workload_identity_principal:
            _refuse("workloadIdentityPrincipal", "", *_PRINCIPAL)
        if self.budget and not self.billing_account:
            _refuse("billingAccount", "", "the account that the budget is for", _BILLING[1])
        if self.kms_key:
            self._check_key()

    def _check_extras(self) -> None:
        if self.on_emulators and self.composer:
            _refuse("composer", "true", "false, because this stack lives on emulators", "false")
        if self.on_emulators and self.budget:
            _refuse("budget", str(self.budget), "0, because this stack lives on emulators", "0")
        if self.runner and self.composer:
            _refuse("runner", "true", "false, because Composer would run the same DAGs", "false")

    def _check_key(self) -> None:
        match = re.fullmatch(_KMS_KEY, self.kms_key)
        wanted = {"US": "us", "EU": "europe"}.get(self.location, self.location)
        if match and match[1] != wanted:
            valid = f"a key in {wanted}, because the data is in {self.location}"
            _refuse("kmsKey", self.kms_key, valid, _KMS_EXAMPLE)
        if self.composer:
            valid = "false, because kmsKey is set and Composer's database would not use it"
            _refuse("composer", "true", valid, "false")
        if self.runner:
            valid = "false, because kmsKey is set and the runner's disks and secrets would not use it"
            _refuse("runner", "true", valid, "false")

    @classmethod
    def from_config(cls, config: Config) -> "Settings":
        """Return the settings of a stack's whole configuration.

        Raises SettingsError where a key is unknown, a value is invalid, or values do not go together.
        """
        refuse_unknown(config)
        found: dict[str, Any] = {}
        for name, key in KEYS.items():
            value = config.get(f"{NAMESPACE}:{key}", "")
            if not value and name in _INSTEAD:
                value = _INSTEAD[name](config)
            if value:
                found[name] = _CHECKS[name](key, value)
        if "project" not in found:
            _refuse("project", "", *_PROJECT)
        settings = cls(**found)
        settings.check_together()
        return settings


def refuse_unknown(config: Config) -> None:
    """Raise SettingsError for a key of ours that is no setting: a misspelt `ephemeral` must not pass."""
    ours = {f"{NAMESPACE}:{key}" for key in KEYS.values()}
    for key in sorted(config):
        if key.startswith(f"{NAMESPACE}:") and key not in ours:
            raise SettingsError(
                f"{key} is not a setting. Valid: {', '.join(sorted(ours))}. "
                f"Remove it with: pulumi config rm {key}"
            )
