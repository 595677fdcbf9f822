"""`airflow api-server` on a port that is held for it; a new database is migrated beside its start.

While a crashed API server is started again, tasks would show their tokens, good for every connection's
password, to whoever took its port meanwhile.
"""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path
from typing import Any

import uvicorn

from taxiway.embedded.components import FAILED
from taxiway.environment.ports import listen


def run(app: str, *, host: str, port: int, **options: Any) -> None:
    """`uvicorn.run` on a socket of ours, which has no option for it."""
    with listen(host, port) as listener:
        uvicorn.Server(uvicorn.Config(app, host, port, **options)).run([listener])


def main() -> None:
    """Airflow's own command line, after the file that says that the database is migrated."""
    # First: a fork imports nothing again.
    from airflow.__main__ import main as airflow

    done = Path(sys.argv.pop(1))
    if not done.exists():
        if (child := os.fork()) == 0:
            migrate(done, airflow)
            return
        threading.Thread(target=os.waitpid, args=(child, 0), daemon=True).start()
    uvicorn.run = run  # type: ignore[assignment]
    airflow()  # type: ignore[no-untyped-call]


def migrate(done: Path, airflow: Any) -> None:
    """`airflow db migrate`. The server reads no table before its first request, which comes later."""
    sys.argv[1:] = ["db", "migrate"]
    try:
        airflow()
        done.touch()
    except BaseException:
        done.with_name(FAILED).touch()
        raise


if __name__ == "__main__":
    main()
