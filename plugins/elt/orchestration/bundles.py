"""Where Airflow finds DAG files, and when it reads them again."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.dag_processing.bundles.local import LocalDagBundle
from airflow.utils.file import list_py_file_paths
from sqlalchemy import select

if TYPE_CHECKING:
    from sqlalchemy.orm import Session


class DagFolder(LocalDagBundle):
    """A folder of DAG files that are read again, too, when a file below `packages` has changed.

    Airflow reads a DAG file again when it was edited itself, and all of them every few seconds lest it misses
    anything else: on a machine with nothing to do, that was half of what it did. A file that has brought no
    DAG, or an error (it took too long, say), is read again at the first, second, fourth, … refresh after it.
    """

    def __init__(self, *, packages: str, **more: Any) -> None:
        super().__init__(**more)
        self._packages = Path(packages)
        self._seen: dict[Path, tuple[int, int]] | None = None
        self._unchanged = 0

    def refresh(self) -> None:
        """Called by the DAG processor every `[dag_processor] refresh_interval` seconds."""
        super().refresh()
        found, before = _state(self._packages), self._seen
        self._seen = found
        if before is None:
            return  # nothing was read yet, so all is
        self._unchanged = self._unchanged + 1 if found == before else 0
        if self._unchanged & (self._unchanged - 1):
            return
        files = {str(Path(file).relative_to(self.path)) for file in list_py_file_paths(self.path)}
        with self.session() as session:
            ask_to_parse(session, self.name, files - sound(session, self.name) if self._unchanged else files)

    def session(self) -> AbstractContextManager[Session]:
        """Airflow's database, which the DAG processor may use."""
        from airflow.utils.session import create_session

        return create_session()


def sound(session: Session, bundle: str) -> set[str]:
    """The files of which Airflow knows DAGs without an error."""
    from airflow.models.dag import DagModel

    well = (~DagModel.is_stale, ~DagModel.has_import_errors)
    return set(
        session.scalars(select(DagModel.relative_fileloc).where(DagModel.bundle_name == bundle, *well))
    )


def ask_to_parse(session: Session, bundle: str, files: Iterable[str]) -> None:
    """Put files before all others, as the button in Airflow's pages does, unless they are there already."""
    from airflow.models.dagbag import DagPriorityParsingRequest as Request

    known = set(session.scalars(select(Request.relative_fileloc).where(Request.bundle_name == bundle)))
    session.add_all(Request(bundle, file) for file in files if file not in known)


def _state(folder: Path) -> dict[Path, tuple[int, int]]:
    """Size and time of change of each file below a folder, but for what Python writes itself."""
    found = {}
    for file in folder.rglob("*"):
        if "__pycache__" not in file.parts and file.is_file():
            with suppress(FileNotFoundError):  # an editor is about to replace it
                known = file.stat()
                found[file] = known.st_mtime_ns, known.st_size
    return found
