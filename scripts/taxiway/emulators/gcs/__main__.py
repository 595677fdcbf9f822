"""Run the storage service: `python -m taxiway.emulators.gcs --data DIR`."""

from __future__ import annotations

import sys
from pathlib import Path

from taxiway.emulators.gcs.service import open_app
from taxiway.emulators.serving import parser, serve


def main(argv: list[str] | None = None) -> int:
    """Serve until told to stop."""
    options = parser("The storage service of the emulated cloud.", "gcs")
    options.add_argument("--data", type=Path, required=True, help="folder for buckets and objects")
    chosen = options.parse_args(argv)
    return serve("gcs", chosen, lambda: open_app(chosen.data.resolve()))


if __name__ == "__main__":
    sys.exit(main())
