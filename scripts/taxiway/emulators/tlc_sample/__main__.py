"""Run the sample source: `python -m taxiway.emulators.tlc_sample --cache DIR`."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime
from pathlib import Path

from taxiway.emulators.answers import Application
from taxiway.emulators.serving import parser, serve
from taxiway.emulators.tlc_sample.source import Store, application, later, parse_month, write_elsewhere

PUBLICATION_LAG = 2  # months


def main(argv: list[str] | None = None) -> int:
    """Serve until told to stop."""
    options = parser("A deterministic source of TLC-like months.", "sample-source", public=True)
    published = later(datetime.now(UTC).date(), -PUBLICATION_LAG)
    options.add_argument("--rows", type=_rows, default=20_000, help="rows a month (default %(default)s)")
    for name, default in (("first", date(2009, 1, 1)), ("last", published)):
        text = f"{name} month (default {default:%Y-%m})"
        options.add_argument(f"--{name}", type=_month, default=default, help=text)
    cache_help = "folder that keeps generated months (default: none is kept)"
    options.add_argument("--cache", type=Path, help=cache_help)
    chosen = options.parse_args(argv)

    @asynccontextmanager
    async def open_app() -> AsyncIterator[Application]:
        with tempfile.TemporaryDirectory(prefix="taxiway-source-") as folder:
            cache = (chosen.cache or Path(folder)).resolve()
            store = Store(cache, chosen.rows, chosen.first, chosen.last, write_elsewhere)
            yield application(store)

    return serve("sample-source", chosen, open_app)


def _month(text: str) -> date:
    try:
        return parse_month(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _rows(text: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= 20_000_000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of rows from 1 to 20000000")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
