"""The token server in a thread of the test, so that it has the test's clock and the test's Google."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import uvicorn

from taxiway.emulators.guard import Guard
from taxiway.infrastructure import environment
from taxiway.token_server import EXCHANGE, Minter, application

SECRET = "what-tasks-show"


@contextmanager
def served(own: Path, folder: Path) -> Iterator[Path]:
    """Mint tokens by the credential file `own`; yields that of tasks."""
    secret, tasks = folder / "secret", folder / "tasks.json"
    secret.write_text(SECRET)
    app = Guard(application(Minter(own, {SECRET: own})), tokens=[SECRET], open_paths=[EXCHANGE])
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="off"))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        content = environment.tasks_credentials(json.loads(own.read_text()), address, secret)
        tasks.write_text(json.dumps(content))
        thread = Thread(target=lambda: asyncio.run(server.serve([listener])), daemon=True)
        thread.start()
        try:
            yield tasks
        finally:
            server.should_exit = True
            thread.join(20)
