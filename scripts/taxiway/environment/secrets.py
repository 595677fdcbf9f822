"""Secrets of a local environment: generated once, one file each, readable by their owner alone."""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path

from taxiway.environment.home import write_atomically

# A server that asks for the password itself, or for none, is not ours: libpq then sends nothing.
REQUIRE_AUTH = "scram-sha-256"
# The credential file of the connection to the emulators.
EMULATOR_CREDENTIALS = "emulator_credentials.json"
TOKEN_SECRET = "google_tokens_secret"  # noqa: S105 - its name
READER_SECRET = "google_reader_secret"  # noqa: S105 - its name


def _token() -> str:
    return secrets.token_urlsafe(24)


GENERATORS: Mapping[str, Callable[[], str]] = {
    "admin_password": _token,
    "airflow_database_password": _token,
    "taxi_database_password": _token,
    "postgres_password": _token,
    "supervisor_password": _token,
    # What clients of the emulators carry as bearer token.
    "emulator_token": _token,
    # What tasks, and what the API server, show the token server on Google Cloud.
    TOKEN_SECRET: _token,
    READER_SECRET: _token,
    # Airflow signs task tokens with HS512, which wants 64 bytes.
    "jwt_secret": lambda: secrets.token_urlsafe(64),
    "api_secret": lambda: secrets.token_urlsafe(32),
    "fernet_key": lambda: base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
}


def generate(folder: Path) -> None:
    """Create what is missing below `folder`; what exists stays as it is."""
    # Airflow's metadata are encrypted with them: new ones would make old connections unreadable.
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for name, generator in GENERATORS.items():
        if not (folder / name).exists():
            write_atomically(folder / name, generator())


def emulator_credentials(token: str) -> str:
    """The credential file that a connection to guarded emulators names as `credential_config_file`.

    It has the form of a signed-in user's: of all that Google's libraries read, it alone holds an access
    token, and nobody is asked for another one before that expires. By its `client_id` the library knows that
    it is an emulator's (`elt.connections.EMULATOR`, which is not there where containers are prepared).
    """
    unused = dict.fromkeys(("client_id", "client_secret", "refresh_token"), "emulator")
    content = {"type": "authorized_user", **unused, "token": token, "expiry": "9999-01-01T00:00:00Z"}
    return json.dumps(content) + "\n"


def derive(folder: Path, postgres_port: int) -> None:
    """Write the forms in which Airflow, libpq and Google's libraries want the passwords and the token."""
    token = (folder / "emulator_token").read_text()
    airflow = (folder / "airflow_database_password").read_text()
    taxi = (folder / "taxi_database_password").read_text()
    address = f"127.0.0.1:{postgres_port}"
    forms = {
        "metadata_dsn": f"postgresql+psycopg2://airflow:{airflow}@{address}/airflow?require_auth={REQUIRE_AUTH}",
        "pgpass": f"{address}:taxi:taxi:{taxi}\n{address}:airflow:airflow:{airflow}\n",
        EMULATOR_CREDENTIALS: emulator_credentials(token),
        "simple_auth_passwords.json": json.dumps({"admin": (folder / "admin_password").read_text()}) + "\n",
    }
    for name, text in forms.items():
        write_atomically(folder / name, text)
