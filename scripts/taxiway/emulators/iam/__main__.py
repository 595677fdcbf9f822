"""Run the control plane: `python -m taxiway.emulators.iam --port 9080 --data DIR`."""

import sys
from pathlib import Path

from taxiway.emulators.iam.server import create_server
from taxiway.emulators.serving import arguments, serve


def main(argv: list[str] | None = None) -> int:
    """Serve until told to stop."""
    parser = arguments("IAM, Resource Manager and Service Usage of the emulated cloud.", port=9080)
    parser.add_argument("--data", type=Path, required=True, help="folder for the state")
    options = parser.parse_args(argv)
    data = options.data.resolve()
    return serve(lambda: create_server(options.host, options.port, data), "control-plane")


if __name__ == "__main__":
    sys.exit(main())
