#!/usr/bin/env python3
"""Wait for the API server at the execution URL, and ask whether it accepts a token signed here.

Part of the image: `api-accepts SERVICE` ends with 0, or with the reason. The variables are Airflow's own.
A worker has no JWT secret, because it is handed its tokens; it waits for the server alone.
"""

from __future__ import annotations

import os
import sys
import time
import urllib.error
import urllib.request

URL = "AIRFLOW__CORE__EXECUTION_API_SERVER_URL"
SECRET = "AIRFLOW__API_AUTH__JWT_SECRET"  # noqa: S105 - its name


def complaint(service: str, patience: float) -> str:
    """What is wrong, empty if nothing is; it waits at most `patience` seconds for the server."""
    url = os.environ[URL].rstrip("/")
    # Before the wait: the import takes two seconds, in which the server is not up anyway.
    bearer = token() if SECRET in os.environ or f"{SECRET}_CMD" in os.environ else ""
    begun = reported = time.monotonic()
    while (answer := status(f"{url}/health")) != 200:
        now = time.monotonic()
        if now - begun > patience:
            return (
                f"no Airflow API server answers at {URL}={url}/ ({answer}), so no task could start. "
                "It has to be the address of airflow-api-server with /execution/ at its end."
            )
        if now - reported > 20:
            sys.stderr.write(f"{service}: waiting for the API server at {url}/ ({answer})\n")
            reported = now
        time.sleep(0.3)
    if bearer and status(f"{url}/variables/taxiway", bearer) in (401, 403):
        return (
            f"the API server at {url}/ refuses the tokens of this service (Invalid auth token): "
            f"{SECRET} is not the same here as in airflow-api-server. Give both the same."
        )
    return ""


def token() -> str:
    """A token such as the scheduler makes for tasks, for a task that does not exist; valid for ten minutes.

    Like Airflow's executors make theirs, so that whatever Airflow is configured to sign with is tried.
    """
    from airflow.api_fastapi.auth.tokens import JWTGenerator, get_signing_args
    from airflow.configuration import conf

    generator = JWTGenerator(
        valid_for=600,
        audience=conf.get_mandatory_list_value("execution_api", "jwt_audience")[0],
        **get_signing_args(make_secret_key_if_needed=False),
    )
    return generator.generate({"sub": "00000000-0000-7000-8000-000000000000", "scope": "execution"})


def status(url: str, bearer: str = "") -> int | str:
    """HTTP status of a GET; the error if there is no answer."""
    headers = {"Authorization": f"Bearer {bearer}"} if bearer else {}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=10) as answer:  # noqa: S310
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except (OSError, ValueError) as error:
        return str(getattr(error, "reason", error))


if __name__ == "__main__":
    name = sys.argv[1]
    if wrong := complaint(name, float(os.environ.get("TAXIWAY_API_SECONDS", "240"))):
        sys.exit(f"{name}: {wrong}")
