"""Run the control plane: `python -m taxiway.emulators.iam --data DIR`."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from taxiway.emulators.answers import Application
from taxiway.emulators.iam import accounts, resources, state
from taxiway.emulators.serving import parser, serve, token_in

APIS = (accounts, resources)  # importing one registers its routes


def main(argv: list[str] | None = None) -> int:
    """Serve until told to stop."""
    options = parser("IAM, Resource Manager and Service Usage of the emulated cloud.", "control-plane")
    options.add_argument("--data", type=Path, required=True, help="folder for the state")
    chosen = options.parse_args(argv)

    @asynccontextmanager
    async def open_app() -> AsyncIterator[Application]:
        kept = state.State(chosen.data.resolve() / "control-plane.json", token_in(chosen.token_file))
        yield Application("control-plane", state.ROUTES, kept)

    return serve("control-plane", chosen, open_app, open_paths=(state.TOKEN,))


if __name__ == "__main__":
    sys.exit(main())
