"""Run the warehouse service: `python -m taxiway.emulators.bigquery --data DIR --lake-root DIR`."""

from __future__ import annotations

import gc
import sys
from pathlib import Path

from taxiway.emulators.serving import parser, serve, token_in


def main(argv: list[str] | None = None) -> int:
    """Serve until told to stop."""
    options = parser("The warehouse service of the emulated cloud.", "bigquery")
    options.add_argument(
        "--grpc-port",
        type=int,
        default=0,
        help="port of the Storage Read API (default: any free one)",
    )
    options.add_argument("--data", type=Path, required=True, help="folder for the warehouse's files")
    options.add_argument(
        "--lake-root", type=Path, required=True, help="the storage service's folder of objects"
    )
    chosen = options.parse_args(argv)

    from taxiway.emulators.bigquery.server import open_app  # two seconds: not for --help

    # Trees of SQL are much garbage, and the imports a large heap to search for it: a fifth of all CPU time.
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
    data, lake = chosen.data.resolve(), chosen.lake_root.resolve()
    grpc = chosen.host, chosen.grpc_port
    return serve("bigquery", chosen, lambda: open_app(data, lake, grpc, token_in(chosen.token_file)))


if __name__ == "__main__":
    sys.exit(main())
