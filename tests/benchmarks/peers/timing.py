"""How long the work takes, without the imports, as the last line of the output."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def timed() -> Iterator[None]:
    """Print the seconds that the block takes as a JSON object."""
    started = time.monotonic()
    yield
    print("\n" + json.dumps({"seconds": time.monotonic() - started}))  # noqa: T201
