"""Run a service and keep all that it is asked and answers: `python recorded.py FILE MODULE OPTIONS...`.

`faults_in(FILE)` then says what of it is not as Google's discovery documents say. It sees also what
subprocesses, Airflow's tasks and Google's own clients exchange.
"""

from __future__ import annotations

import json
import runpy
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

BODY_BYTES = 1 << 20
# The paths of each API, and the document that describes it.
ROOTS = {
    "http://gcs/": ("storage", "/"),
    "http://bigquery/": ("bigquery", "/"),
    "http://control-plane/iam/": ("iam", "/"),
    "http://control-plane/crm/": ("crm", "/"),
    "http://control-plane/su/": ("su", "/"),
    "http://control-plane/compute/beta/": ("compute", "/compute/beta/"),
    "http://control-plane/compute/v1/": ("compute-v1", "/compute/v1/"),
    **{
        f"http://control-plane/{api}/": (api, "/")
        for api in ("secretmanager", "artifactregistry", "osconfig", "iap")
    },
}
# Paths that no document has: our own, and one that Pulumi's provider ends with a slash.
OTHERS = ("/healthz", "/token", "/anywhereCaches/?")


class Recorder:
    """ASGI middleware that appends a line for each exchange to a file."""

    def __init__(self, app: Any, name: str, file: Path) -> None:
        self._app, self._name, self._file = app, name, file

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        sent, answered, head = bytearray(), bytearray(), {}

        async def receiving() -> Any:
            message = await receive()
            sent.extend(message.get("body", b"")[: BODY_BYTES + 1 - len(sent)])
            return message

        async def sending(message: Any) -> None:
            if message["type"] == "http.response.start":
                head.update(message)
            else:
                answered.extend(message["body"][: BODY_BYTES + 1 - len(answered)])
                if not message.get("more_body"):
                    self._keep(scope, head, sent, answered)
            await send(message)

        await self._app(scope, receiving, sending)

    def _keep(self, scope: Any, head: Any, sent: bytearray, answered: bytearray) -> None:
        headers = dict(scope["headers"])
        line = {
            "method": headers.get(b"x-http-method-override", scope["method"].encode()).decode("latin-1"),
            "url": f"http://{self._name}{scope['raw_path'].decode()}?{scope['query_string'].decode()}",
            "status": head["status"],
            "sent": json_text(headers, sent),
            "answered": json_text(dict(head["headers"]), answered),
        }
        with self._file.open("a") as lines:
            lines.write(json.dumps(line) + "\n")


def json_text(headers: dict[bytes, bytes], content: bytearray) -> str:
    """The body if it is JSON of moderate size, else nothing."""
    is_json = b"json" in headers.get(b"content-type", b"") and b"content-encoding" not in headers
    return content.decode() if is_json and len(content) <= BODY_BYTES else ""


def faults_in(file: Path) -> list[str]:
    """What in the exchanges kept in `file` is not as documented, each fault once."""
    import requests  # half a second, which a service that is recorded does not need
    from discovery import Judge

    judge = Judge(ROOTS)
    for line in file.read_text().splitlines() if file.exists() else []:
        kept = json.loads(line)
        of_an_api = kept["url"].startswith(tuple(ROOTS)) or kept["status"] < 400
        if any(part in kept["url"] for part in OTHERS) or "//sample-source/" in kept["url"] or not of_an_api:
            continue
        request = requests.Request(kept["method"], kept["url"], data=kept["sent"] or None).prepare()
        request.url = kept["url"].rstrip("?")  # as it was sent
        request.headers["Content-Type"] = "application/json"
        response = requests.Response()
        response.status_code, response.request = kept["status"], request
        response.headers["Content-Type"] = "application/json" if kept["answered"] else ""
        response._content = kept["answered"].encode()
        judge.check(response)
    return list(dict.fromkeys(judge.faults))


def main(file: Path, module: str, options: list[str]) -> None:
    """Run the module as Python would, with a recorder around its application."""
    from taxiway.emulators import serving

    really = serving.serve

    def serve(name: str, chosen: Any, open_app: Any, open_paths: tuple[str, ...] = ()) -> int:
        @asynccontextmanager
        async def recorded() -> AsyncIterator[Any]:
            async with open_app() as app:
                yield Recorder(app, name, file)

        return really(name, chosen, recorded, open_paths)

    serving.serve = serve
    sys.argv = [module, *options]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3:])
