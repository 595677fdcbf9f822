"""DAG files are read again when what they import was edited, and not just because time has passed."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from sqlalchemy import create_engine, select
from sqlalchemy.orm import Session

from elt.orchestration.bundles import DagFolder, add_requests

DAG = "from airflow.sdk import DAG\n"


class Folder(DagFolder):
    """Keeps what it would ask the DAG processor for."""

    def ask_to_parse(self, files: Iterable[str]) -> None:
        self.asked = sorted(files)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    for name in ("dags/one.py", "dags/two.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(DAG)
    package = tmp_path / "plugins" / "package"
    package.mkdir(parents=True)
    (package / "module.py").write_text("1")
    (package / "entry.toml").write_text("1")
    made = Folder(name="dags", path=str(tmp_path / "dags"), packages=str(tmp_path / "plugins"))
    made.refresh()
    return made


def edit(file: Path) -> None:
    os.utime(file, (1, 1))


def test_nothing_is_asked_for_at_first_nor_while_nothing_changes(folder: Folder) -> None:
    folder.refresh()
    assert not hasattr(folder, "asked")


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("module.py", edit),
        ("entry.toml", edit),
        ("module.py", Path.unlink),
        ("new.py", Path.touch),
    ],
    ids=["module", "entry", "gone", "new"],
)
def test_an_edited_package_has_all_dag_files_read_again_once(
    folder: Folder, tmp_path: Path, name: str, change: Callable[[Path], object]
) -> None:
    change(tmp_path / "plugins" / "package" / name)
    folder.refresh()
    assert folder.asked == ["one.py", "two.py"]
    del folder.asked
    folder.refresh()
    assert not hasattr(folder, "asked")


def test_what_python_writes_beside_the_modules_is_no_edit(folder: Folder, tmp_path: Path) -> None:
    cache = tmp_path / "plugins" / "package" / "__pycache__"
    cache.mkdir()
    (cache / "module.cpython-311.pyc").write_text("1")
    folder.refresh()
    assert not hasattr(folder, "asked")


def test_what_the_dag_processor_is_asked_for_already_is_asked_for_once() -> None:
    from airflow.models.dagbag import DagPriorityParsingRequest as Request

    engine = create_engine("sqlite://")
    Request.__table__.create(engine)
    with Session(engine) as session:
        for files in (["one.py"], ["one.py", "two.py"]):
            add_requests(session, "dags", files)
            session.commit()
        found = session.execute(select(Request.bundle_name, Request.relative_fileloc)).all()
    assert sorted(found) == [("dags", "one.py"), ("dags", "two.py")]
