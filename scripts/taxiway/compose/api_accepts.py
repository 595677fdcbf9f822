#!/usr/bin/env python3
"""Wait for the API server at the execution URL, and ask whether it accepts a token signed here.

Part of the image: `api-accepts SERVICE` ends with 0, or with the reason. The variables are Airflow's own.
A worker has no JWT secret, because it is handed its tokens; it waits for the server alone.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request

URL = "AIRFLOW__CORE__EXECUTION_API_SERVER_URL"
SECRET = "AIRFLOW__API_AUTH__JWT_SECRET"  # noqa: S105 - its name
REFUSED = (401, 403)


def main(service: str) -> int:
    """Say what is wrong, if anything is."""
    url = os.environ[URL].rstrip("/")
    patience = float(os.environ.get("TAXIWAY_API_SECONDS", "240"))
    trouble = wait(url, patience, service) or refusal(url)
    if trouble:
        sys.stderr.write(f"{service}: {trouble}\n")
    return 1 if trouble else 0


def wait(url: str, patience: float, service: str) -> str:
    """Nothing once the server answers; a sentence where it does not within `patience` seconds."""
    begun = told = time.monotonic()
    while (answer := status(f"{url}/health")) != 200:
        now = time.monotonic()
        if now - begun > patience:
            return (
                f"no Airflow API server answers at {URL}={url}/ ({answer}), so no task could start. "
                "It has to be the address of airflow-api-server with /execution/ at its end."
            )
        if now - told > 20:
            sys.stderr.write(f"{service}: waiting for the API server at {url}/ ({answer})\n")
            told = now
        time.sleep(0.3)
    return ""


def refusal(url: str) -> str:
    """A sentence where the server does not accept what this service's secret signs."""
    key = secret()
    if not key or status(f"{url}/variables/taxiway", token(key)) not in REFUSED:
        return ""
    return (
        f"the API server at {url}/ refuses the tokens of this service (Invalid auth token): "
        f"{SECRET} is not the same here as in airflow-api-server. Give both the same."
    )


def status(url: str, bearer: str = "") -> int | str:
    """HTTP status of a GET; the error where there is no answer."""
    headers = {"Authorization": f"Bearer {bearer}"} if bearer else {}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=10) as answer:  # noqa: S310
            code: int = answer.status
            return code
    except urllib.error.HTTPError as error:
        return error.code
    except (OSError, ValueError) as error:
        return str(getattr(error, "reason", error))


def secret() -> str:
    """The secret that Airflow would use in this service; empty where it has none."""
    command = os.environ.get(f"{SECRET}_CMD", "")
    if SECRET in os.environ or not command:
        return os.environ.get(SECRET, "")
    return subprocess.run(command.split(), capture_output=True, text=True, check=True).stdout.strip()


def token(key: str) -> str:
    """A token as the scheduler makes them for tasks, for a task that does not exist; valid for a minute."""
    now = int(time.time())
    times = {"iat": now, "nbf": now, "exp": now + 60}
    claims = {"sub": "00000000-0000-7000-8000-000000000000", "aud": "urn:airflow.apache.org:task", **times}
    parts = [{"alg": "HS512", "typ": "JWT", "kid": "not-used"}, {**claims, "scope": "execution"}]
    body = b".".join(_encoded(json.dumps(part).encode()) for part in parts)
    return (body + b"." + _encoded(hmac.digest(key.encode(), body, hashlib.sha512))).decode()


def _encoded(part: bytes) -> bytes:
    return base64.urlsafe_b64encode(part).rstrip(b"=")


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
