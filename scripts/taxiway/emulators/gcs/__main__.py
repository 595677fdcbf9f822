"""Run the storage service: `python -m taxiway.emulators.gcs --port 9023 --data DIR`."""

import sys
from pathlib import Path

from taxiway.emulators.gcs.server import create_server
from taxiway.emulators.serving import arguments, serve


def main(argv: list[str] | None = None) -> int:
    """Serve until told to stop."""
    parser = arguments("The storage service of the emulated cloud.", port=9023)
    parser.add_argument("--data", type=Path, required=True, help="folder for buckets and objects")
    options = parser.parse_args(argv)
    return serve(lambda: create_server(options.host, options.port, options.data.resolve()), "gcs")


if __name__ == "__main__":
    sys.exit(main())
