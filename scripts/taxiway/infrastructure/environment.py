"""What a stack and its developer give to processes: variables, credential file, the developer's address."""

from __future__ import annotations

import configparser
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lakehouse.outputs import CREDENTIALS, PROJECT, READER_CREDENTIALS, VARIABLES
from taxiway.environment.home import OWN_CREDENTIALS, write_atomically
from taxiway.infrastructure.engine import EngineError

# All that google.auth.impersonated_credentials takes; any other fails in each task, at its first request.
_IMPERSONATORS = ("authorized_user", "external_account_authorized_user", "service_account")


def variables(outputs: Mapping[str, Any]) -> dict[str, str]:
    """Return the variables of the environment, in the order of their names; none of them is secret."""
    return {name: str(outputs[name]) for name in VARIABLES if name in outputs}


def masked(outputs: Mapping[str, Any]) -> dict[str, str]:
    """Return all outputs for people to see: the content of credential files is hidden."""
    files = (CREDENTIALS, READER_CREDENTIALS)
    return {**variables(outputs), **{name: "********" for name in files if name in outputs}}


def write_credentials(
    folder: Path, outputs: Mapping[str, Any], server: str, secret: str | Path, reader_secret: str | Path
) -> dict[str, Path]:
    """Write the stack's credential files into `folder`, remove others; return those there are, by name.

    CREDENTIALS is what tasks get, READER_CREDENTIALS what the API server gets. With impersonation both ask
    the token server at the URL `server`, each by the secret in its own file, and the developer's own
    credentials are in OWN_CREDENTIALS, for commands and for that server alone. Raises EngineError where there
    are none.
    """
    contents: dict[str, dict[str, Any]] = {}
    for name, file in ((CREDENTIALS, secret), (READER_CREDENTIALS, reader_secret)):
        exported = json.loads(outputs.get(name) or "{}")
        if exported.get("type") == "impersonated_service_account":
            if name == CREDENTIALS:
                contents[OWN_CREDENTIALS] = impersonating(exported, outputs[PROJECT])
            exported = tasks_credentials(exported, server, file)
        if exported:
            contents[name] = exported
    for name in {CREDENTIALS, READER_CREDENTIALS, OWN_CREDENTIALS} - contents.keys():
        (folder / name).unlink(missing_ok=True)
    for name, content in contents.items():
        write_atomically(folder / name, json.dumps(content, indent=2) + "\n")
    return {name: folder / name for name in contents}


def impersonating(exported: Mapping[str, Any], project: str) -> dict[str, Any]:
    """Return the exported credentials with the developer's own in them, asking on the stack's project."""
    own = {name: value for name, value in own_credentials().items() if name != "quota_project_id"}
    # Another project of the developer's may lack the API that tokens are asked of; a service account has
    # its own project for that.
    named = {} if own["type"] == "service_account" else {"quota_project_id": project}
    return {**exported, "source_credentials": {**own, **named}}


def tasks_credentials(exported: Mapping[str, Any], server: str, secret: str | Path) -> dict[str, Any]:
    """Return credentials for the same account that hold no secret: tokens are minted by the token server.

    `external_account` is the one form in which Google's libraries take the addresses of both requests from
    the file. An audience that names no project lets them ask for none.
    """
    method = exported["service_account_impersonation_url"].partition("/v1/")[2]
    return {
        "type": "external_account",
        "audience": "//taxiway/google-tokens",
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": f"{server}/v1/token",
        "service_account_impersonation_url": f"{server}/v1/{method}",
        "credential_source": {"file": str(secret)},
    }


def own_credentials() -> dict[str, Any]:
    """Return the developer's application default credentials; raises EngineError where there are none."""
    path, sign_in = own_credentials_path(), "gcloud auth application-default login"
    try:
        own: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError:
        raise EngineError(
            f"There are no credentials of your own at {path}.", f"Sign in with: {sign_in}"
        ) from None
    except ValueError:
        raise EngineError(f"{path} is not JSON.", f"Sign in again: {sign_in}") from None
    # Already impersonating somebody: what counts is who does.
    nested: dict[str, Any] = own.get("source_credentials", own)
    if nested.get("type") not in _IMPERSONATORS:
        raise EngineError(
            f"{path} is of the type {nested.get('type')}, with which Google's libraries impersonate nobody.",
            f"Sign in: {sign_in}   or let the stack take the token of the platform that you are on: "
            "taxiway:credentials workload-identity.",
        )
    return nested


def check_signed_in(*, impersonation: bool) -> None:
    """Raise EngineError where Google Cloud could not be asked; with impersonation it takes a file."""
    if impersonation:
        own_credentials()
        return
    import google.auth
    from google.auth.exceptions import DefaultCredentialsError

    try:
        google.auth.default()
    except DefaultCredentialsError as error:
        raise EngineError(str(error), "Sign in with: gcloud auth application-default login") from None


def own_credentials_path() -> Path:
    """Return where Google's tools keep the developer's application default credentials."""
    if named := os.environ.get("GOOGLE_APPLICATION_CREDENTIALS"):
        return Path(named)
    return _gcloud_folder() / "application_default_credentials.json"


def developer() -> str:
    """Return the e-mail address that `gcloud` is signed in with; empty where it is not."""
    if named := os.environ.get("CLOUDSDK_CORE_ACCOUNT"):
        return named
    folder, parser = _gcloud_folder(), configparser.ConfigParser(interpolation=None)
    try:
        active = (folder / "active_config").read_text().strip()
    except FileNotFoundError:
        active = "default"
    try:
        parser.read(folder / "configurations" / f"config_{active}")
    except configparser.Error:
        return ""
    return parser.get("core", "account", fallback="")


def _gcloud_folder() -> Path:
    return Path(os.environ.get("CLOUDSDK_CONFIG") or Path.home() / ".config" / "gcloud")
