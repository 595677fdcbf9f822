"""The stack's settings: read and validated once, trusted everywhere else."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Final, NoReturn
from urllib.parse import urlsplit

NAMESPACE: Final = "taxiway"
CREDENTIALS: Final = ("anonymous", "impersonation", "workload-identity", "key")

_PROJECT = re.compile(r"([a-z0-9.-]+:)?[a-z][a-z0-9-]{4,28}[a-z0-9]")
_REGION = re.compile(r"[a-z]+-[a-z]+[0-9]{1,2}")
_EMAIL = r"[^@\s:]+@[^@\s:]+\.[^@\s:]+"
_OWNER = re.compile(rf"((user|group|serviceAccount):)?{_EMAIL}")
_KMS_KEY = re.compile(r"projects/[^/]+/locations/([^/]+)/keyRings/[^/]+/cryptoKeys/[^/]+")
_POOL = r"projects/[0-9]+/locations/global/workloadIdentityPools/[a-z0-9-]+"
_PROVIDER = re.compile(rf"{_POOL}/providers/[a-z0-9-]+")
_PRINCIPAL = re.compile(r"(subject|attribute\.[A-Za-z0-9_]+)/\S+")
_BILLING_ACCOUNT = re.compile(r"[0-9A-F]{6}-[0-9A-F]{6}-[0-9A-F]{6}")
_IMAGE = re.compile(r"composer-3-airflow-3[A-Za-z0-9.-]*")


class SettingsError(ValueError):
    """A setting is missing or wrong; the message says what is valid and how to set it."""


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
    kms_key: str = ""
    retention_days: int = 7
    lifecycle_days: int = 60
    dataset_expiry_days: int = 60
    composer: bool = False
    composer_image: str = "composer-3-airflow-3"
    budget: int = 0
    billing_account: str = ""
    storage_emulator: str = ""
    bigquery_emulator: str = ""

    @classmethod
    def from_config(cls, config: Mapping[str, str]) -> "Settings":
        """Return the settings of a stack's whole configuration, keys with their namespaces.

        Raises SettingsError where a key is unknown, a value is invalid, or values do not go together.
        """
        _refuse_unknown(config)
        read: dict[str, Any] = {name: _read(config, name, key) for name, key in KEYS.items()}
        settings = cls(**{name: value for name, value in read.items() if value is not None})
        _check_together(settings)
        return settings

    @property
    def owner_member(self) -> str:
        """The owner as an IAM member; empty where none is set."""
        return self.owner if not self.owner or ":" in self.owner else f"user:{self.owner}"

    @property
    def on_emulators(self) -> bool:
        """Whether this stack lives on emulators."""
        return bool(self.storage_emulator)


KEYS: Final[Mapping[str, str]] = {
    field.name: re.sub(r"_(.)", lambda match: match[1].upper(), field.name) for field in fields(Settings)
}


def _read(config: Mapping[str, str], name: str, key: str) -> str | int | bool | None:
    """Return a key's checked value, None where the default holds."""
    value = config.get(f"{NAMESPACE}:{key}", "")
    if not value and name in _INSTEAD:
        value = _INSTEAD[name](config)
    if not value:
        return _refuse(key, "", "a project's id", "my-project") if name == "project" else None
    return _CHECKS[name](key, value)


def _refuse_unknown(config: Mapping[str, str]) -> None:
    ours = {f"{NAMESPACE}:{key}" for key in KEYS.values()}
    for key in sorted(config):
        if key.startswith(f"{NAMESPACE}:") and key not in ours:
            raise SettingsError(
                f"{key} is not a setting. Valid: {', '.join(sorted(ours))}. "
                f"Remove it with: pulumi config rm {key}"
            )


def _refuse(key: str, value: str, valid: str, example: str) -> NoReturn:
    said = f"is {value!r}" if value else "is not set"
    raise SettingsError(
        f"{NAMESPACE}:{key} {said}; valid is {valid}. "
        f"Set it with: pulumi config set {NAMESPACE}:{key} {example}"
    )


def _matching(pattern: re.Pattern[str], valid: str, example: str) -> Callable[[str, str], str]:
    def check(key: str, value: str) -> str:
        return value if pattern.fullmatch(value) else _refuse(key, value, valid, example)

    return check


def _location(key: str, value: str) -> str:
    if value.upper() in ("US", "EU"):
        return value.upper()
    if _REGION.fullmatch(value.lower()):
        return value.lower()
    return _refuse(key, value, "US, EU or a region such as europe-west4", "EU")


def _boolean(key: str, value: str) -> bool:
    if value.lower() in ("true", "false"):
        return value.lower() == "true"
    return _refuse(key, value, "true or false", "true")


def _credentials(key: str, value: str) -> str:
    return (
        value
        if value in CREDENTIALS
        else _refuse(key, value, f"one of {', '.join(CREDENTIALS)}", "impersonation")
    )


def _number(valid: str, example: str, allowed: Callable[[int], bool]) -> Callable[[str, str], int]:
    def check(key: str, value: str) -> int:
        number = int(value) if re.fullmatch(r"[0-9]{1,9}", value) else -1
        return number if allowed(number) else _refuse(key, value, valid, example)

    return check


def _path(key: str, value: str) -> str:
    return value if value.startswith("/") else _refuse(key, value, "an absolute path", "/var/run/token")


def _origin(key: str, value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme == "http" and parts.netloc and parts.path in ("", "/"):
        return f"http://{parts.netloc}"
    return _refuse(key, value, "a URL such as http://HOST:PORT", "http://127.0.0.1:9023")


def _plain_http_origin(key: str) -> Callable[[Mapping[str, str]], str]:
    """Google answers on https alone: an endpoint on plain http is an emulator."""

    def read(config: Mapping[str, str]) -> str:
        parts = urlsplit(config.get(key, ""))
        return f"http://{parts.netloc}" if parts.scheme == "http" else ""

    return read


def _check_together(settings: Settings) -> None:
    _check_emulators(settings)
    _check_credentials(settings)
    if settings.kms_key:
        _check_key_location(settings)
    if settings.kms_key and settings.composer:
        _refuse(
            "composer",
            "true",
            "false, because kmsKey is set and Composer's database would not use it",
            "false",
        )
    if settings.budget and not settings.billing_account:
        _refuse("billingAccount", "", "the account the budget watches", "012345-6789AB-CDEF01")


def _check_emulators(settings: Settings) -> None:
    if bool(settings.storage_emulator) != bool(settings.bigquery_emulator):
        missing = "bigqueryEmulator" if settings.storage_emulator else "storageEmulator"
        _refuse(missing, "", "a URL, because the other emulator is set", "http://127.0.0.1:9050")
    if settings.on_emulators and settings.composer:
        _refuse("composer", "true", "false, because this stack lives on emulators", "false")
    if settings.on_emulators and settings.budget:
        _refuse("budget", str(settings.budget), "0, because this stack lives on emulators", "0")


def _check_credentials(settings: Settings) -> None:
    mode = settings.credentials
    if mode == "anonymous" and not settings.on_emulators:
        _refuse(
            "credentials", mode, "impersonation, workload-identity or key on Google Cloud", "impersonation"
        )
    if mode == "impersonation" and not settings.owner:
        _refuse("owner", "", "the address of whoever may act as the pipelines' account", "you@example.com")
    if mode == "workload-identity" and not settings.workload_identity_provider:
        _refuse("workloadIdentityProvider", "", _PROVIDER_VALID, _PROVIDER_EXAMPLE)
    if mode == "workload-identity" and not settings.workload_identity_principal:
        _refuse("workloadIdentityPrincipal", "", _PRINCIPAL_VALID, _PRINCIPAL_EXAMPLE)


def _check_key_location(settings: Settings) -> None:
    match = _KMS_KEY.fullmatch(settings.kms_key)
    wanted = {"US": "us", "EU": "europe"}.get(settings.location, settings.location)
    if match and match[1] != wanted:
        _refuse(
            "kmsKey",
            settings.kms_key,
            f"a key in {wanted}, because the data is in {settings.location}",
            _KMS_EXAMPLE,
        )


_OWNER_VALID = "an e-mail address, group:ADDRESS or serviceAccount:ADDRESS"
_PROVIDER_VALID = "projects/NUMBER/locations/global/workloadIdentityPools/POOL/providers/PROVIDER"
_PROVIDER_EXAMPLE = "projects/123456789012/locations/global/workloadIdentityPools/ci/providers/github"
_PRINCIPAL_VALID = "subject/SUBJECT or attribute.NAME/VALUE"
_PRINCIPAL_EXAMPLE = "attribute.repository/acme/taxiway"
_KMS_VALID = "projects/P/locations/L/keyRings/R/cryptoKeys/K"
_KMS_EXAMPLE = "projects/acme/locations/us/keyRings/data/cryptoKeys/lake"

_days = _number("a number of days from 0 to 3650", "60", lambda days: 0 <= days <= 3650)

_CHECKS: Final[Mapping[str, Callable[[str, str], str | int | bool]]] = {
    "project": _matching(_PROJECT, "a project's id (6 to 30 of a-z, 0-9 and -)", "my-project"),
    "location": _location,
    "ephemeral": _boolean,
    "owner": _matching(
        _OWNER, "an e-mail address, group:ADDRESS or serviceAccount:ADDRESS", "you@example.com"
    ),
    "credentials": _credentials,
    "workload_identity_provider": _matching(_PROVIDER, _PROVIDER_VALID, _PROVIDER_EXAMPLE),
    "workload_identity_principal": _matching(_PRINCIPAL, _PRINCIPAL_VALID, _PRINCIPAL_EXAMPLE),
    "workload_identity_token_file": _path,
    "kms_key": _matching(_KMS_KEY, _KMS_VALID, _KMS_EXAMPLE),
    "retention_days": _number("0 or 7 to 90 days", "7", lambda days: days == 0 or 7 <= days <= 90),
    "lifecycle_days": _days,
    "dataset_expiry_days": _days,
    "composer": _boolean,
    "composer_image": _matching(_IMAGE, "a Composer 3 image with Airflow 3", "composer-3-airflow-3"),
    "budget": _number("a whole amount, 0 for none", "100", lambda amount: amount >= 0),
    "billing_account": _matching(
        _BILLING_ACCOUNT, "an id such as 012345-6789AB-CDEF01", "012345-6789AB-CDEF01"
    ),
    "storage_emulator": _origin,
    "bigquery_emulator": _origin,
}

_INSTEAD: Final[Mapping[str, Callable[[Mapping[str, str]], str]]] = {
    "project": lambda config: config.get("gcp:project", ""),
    "storage_emulator": _plain_http_origin("gcp:storageCustomEndpoint"),
    "bigquery_emulator": _plain_http_origin("gcp:bigQueryCustomEndpoint"),
}
