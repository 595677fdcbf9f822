"""Run the sample source: `python -m taxiway.emulators.tlc_sample --port 9070 --cache DIR`."""

import argparse
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from taxiway.emulators.serving import HttpServer, arguments, serve
from taxiway.emulators.tlc_sample.months import Month
from taxiway.emulators.tlc_sample.server import create_server
from taxiway.emulators.tlc_sample.store import Store

PUBLICATION_LAG = 2  # months


def main(argv: list[str] | None = None) -> int:
    """Serve until told to stop."""
    options = _parser().parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="taxiway-source-") as folder:
        cache = (options.cache or Path(folder)).resolve()

        def create() -> HttpServer:
            store = Store(cache, options.rows, options.first, options.last)
            return create_server(options.host, options.port, store)

        return serve(create, "sample-source")


def _parser() -> argparse.ArgumentParser:
    parser = arguments("A deterministic source of TLC-like months.", port=9070)
    published = Month.of(datetime.now(UTC).date()).plus(-PUBLICATION_LAG)
    parser.add_argument("--rows", type=_rows, default=20_000, help="rows a month (default %(default)s)")
    parser.add_argument(
        "--first", type=_month, default=Month(2009, 1), help="first month (default %(default)s)"
    )
    parser.add_argument("--last", type=_month, default=published, help="last month (default %(default)s)")
    parser.add_argument(
        "--cache", type=Path, help="folder that keeps generated months (default: none is kept)"
    )
    return parser


def _month(text: str) -> Month:
    try:
        return Month.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _rows(text: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= 20_000_000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of rows from 1 to 20000000")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
