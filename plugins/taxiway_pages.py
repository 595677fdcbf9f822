"""The pages of `elt.orchestration.pages`, as a plugin of Airflow's own kind.

Every Airflow process imports this file, tasks too, so it imports next to nothing. The API server has the
pages made when the first of them is asked for: Airflow starts whatever may keep them from being made.
"""

import asyncio
import json
import logging
import os
from collections.abc import Awaitable, Callable, MutableMapping
from functools import cache
from typing import Any
from urllib.parse import urlsplit

from airflow.sdk.plugins_manager import AirflowPlugin

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


def _make() -> Any:
    from elt.orchestration.pages.airflow import app

    return app()


class Pages:
    """An ASGI app that `make` makes when it is first called."""

    def __init__(self, make: Callable[[], Any] = _make) -> None:
        self._make = cache(make)

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer a request, 503 if there is no app."""
        try:
            app = await asyncio.to_thread(self._make)
        except Exception:
            logging.getLogger(__name__).exception("the pages cannot be made")
            body = json.dumps({"detail": "the pages cannot be made. The API server's log says why."}).encode()
            headers = [(b"content-type", b"application/json")]
            await send({"type": "http.response.start", "status": 503, "headers": headers})
            await send({"type": "http.response.body", "body": body})
            return
        await app(scope, receive, send)


# Airflow's own variable: its configuration would be an import.
_ROOT = urlsplit(os.environ.get("AIRFLOW__API__BASE_URL", "")).path.rstrip("/")
_COVERAGE = f"{_ROOT}/taxiway/coverage"


class TaxiwayPages(AirflowPlugin):
    """Coverage, dataset and mart pages below /taxiway."""

    name = "taxiway_pages"
    fastapi_apps = [{"app": Pages(), "url_prefix": "/taxiway", "name": "taxiway pages"}]  # noqa: RUF012 - Airflow sets the type
    external_views = [  # noqa: RUF012
        {
            "name": "Coverage",
            "href": _COVERAGE,
            "url_route": "coverage",
            "destination": "nav",
            "icon": f"{_COVERAGE}.svg",
            "icon_dark_mode": f"{_COVERAGE}-dark.svg",
        }
    ]
