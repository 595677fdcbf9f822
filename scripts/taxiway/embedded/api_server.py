"""`airflow api-server` on a port that is held for it.

While a crashed API server is started again, tasks would show their tokens, good for every connection's
password, to whoever took its port meanwhile.
"""

from __future__ import annotations

from typing import Any

import uvicorn

from taxiway.environment.ports import listen


def run(app: str, *, host: str, port: int, **options: Any) -> None:
    """`uvicorn.run` on a socket of ours, which has no option for it."""
    with listen(host, port) as listener:
        uvicorn.Server(uvicorn.Config(app, host, port, **options)).run([listener])


def main() -> None:
    """Airflow's own command line."""
    from airflow.__main__ import main as airflow

    uvicorn.run = run  # type: ignore[assignment]
    airflow()  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    main()
