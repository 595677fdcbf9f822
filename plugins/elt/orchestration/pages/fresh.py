"""The catalogue as its files are now: the API server lives for weeks, and is asked minutes after an edit."""

import importlib
import sys
from contextlib import suppress
from pathlib import Path
from threading import Lock

from elt.catalogue import checks, registry
from elt.warehouse import sql


class Fresh:
    """Called before an answer: reads the catalogue anew if a file of a package has changed since."""

    def __init__(self) -> None:
        self._folder = checks.LIBRARY.parent
        self._lock = Lock()
        self._seen = self._files()

    def __call__(self) -> None:
        """Read it anew, if need be."""
        with self._lock:
            if (now := self._files()) != self._seen:
                packages = {path.relative_to(self._folder).parts[0] for path in {*now, *self._seen}}
                for module in [name for name in sys.modules if name.partition(".")[0] in packages]:
                    del sys.modules[module]
                importlib.invalidate_caches()
                checks.forget()
                sql.forget()
                registry.refresh()
                self._seen = now

    def _files(self) -> dict[Path, tuple[int, int]]:
        """Entries, marts and statements, with what an edit changes of them."""
        found = {}
        for package in checks.Packages(self._folder).names:
            for path in (self._folder / package).rglob("*"):
                if path.suffix in (".py", ".sql"):
                    with suppress(FileNotFoundError):
                        found[path] = ((stat := path.stat()).st_mtime_ns, stat.st_size)
        return found
