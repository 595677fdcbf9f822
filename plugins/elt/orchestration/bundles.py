"""Where Airflow finds DAG files, and when it reads them again."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.dag_processing.bundles.local import LocalDagBundle
from sqlalchemy import select

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

_WATCHED = frozenset({".py", ".toml"})


class DagFolder(LocalDagBundle):
    """A folder of DAG files that are read again, too, when a source file below `packages` has changed.

    Airflow reads a DAG file again when it was edited itself, and all of them every few seconds lest it misses
    anything else: on a machine with nothing to do, that was half of what it did.
    """

    def __init__(self, *, packages: str, **more: Any) -> None:
        super().__init__(**more)
        self._packages = Path(packages)
        self._seen: dict[Path, tuple[int, int]] | None = None

    def refresh(self) -> None:
        """Called by the DAG processor every `[dag_processor] refresh_interval` seconds."""
        super().refresh()
        found, before = _state(self._packages), self._seen
        self._seen = found
        if before is not None and found != before:
            self.ask_to_parse(self._files())

    def ask_to_parse(self, files: Iterable[str]) -> None:
        """Put files, relative to the bundle, before all others: what the button in Airflow's pages does."""
        from airflow.utils.session import create_session

        with create_session() as session:
            add_requests(session, self.name, files)

    def _files(self) -> list[str]:
        from airflow.utils.file import list_py_file_paths

        return [str(Path(file).relative_to(self.path)) for file in list_py_file_paths(self.path)]


def add_requests(session: Session, bundle: str, files: Iterable[str]) -> None:
    """Tell the DAG processor to read files, unless it is told so already."""
    from airflow.models.dagbag import DagPriorityParsingRequest as Request

    known = set(session.scalars(select(Request.relative_fileloc).where(Request.bundle_name == bundle)))
    session.add_all(Request(bundle, file) for file in files if file not in known)


def _state(folder: Path) -> dict[Path, tuple[int, int]]:
    """Size and time of change of each source file below a folder."""
    found = {}
    for file in folder.rglob("*"):
        if file.suffix in _WATCHED:
            with suppress(FileNotFoundError):  # an editor is about to replace it
                known = file.stat()
                found[file] = known.st_mtime_ns, known.st_size
    return found
