"""Run the warehouse service.

python -m taxiway.emulators.bigquery --port 9050 --data DIR --lake-root DIR
"""

import os
import sys
from pathlib import Path

from taxiway.emulators.serving import arguments


def main(argv: list[str] | None = None) -> int:
    """Serve until told to stop."""
    parser = arguments("The warehouse service of the emulated cloud.", port=9050)
    parser.add_argument(
        "--grpc-port", type=int, default=0, help="port of the Storage Read API (default: any free one)"
    )
    parser.add_argument("--data", type=Path, required=True, help="folder for the warehouse's files")
    parser.add_argument(
        "--lake-root", type=Path, required=True, help="folder in which gs://BUCKET/OBJECT are files"
    )
    options = parser.parse_args(argv)
    data = options.data.resolve()
    data.mkdir(parents=True, exist_ok=True)
    os.environ["HOME"] = str(
        data
    )  # DuckDB keeps its extensions under it; the user's own are not ours to touch

    from taxiway.emulators.bigquery.server import run  # DuckDB reads HOME when it is imported

    try:
        return run(options.host, options.port, options.grpc_port, data, options.lake_root.resolve())
    except OSError as error:
        print(f"bigquery cannot start: {error}", file=sys.stderr)  # noqa: T201 (its log)
        return 1


if __name__ == "__main__":
    sys.exit(main())
