"""DAG files are read again when what they import was edited, and not just because time has passed."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from airflow.configuration import conf
from airflow.models.dag import DagModel
from airflow.models.dagbag import DagPriorityParsingRequest as Request
from sqlalchemy import Engine, create_engine, delete, insert, select
from sqlalchemy.orm import Session, sessionmaker

from elt.orchestration.bundles import DagFolder

DAG = "from airflow.sdk import DAG\n"


class Folder(DagFolder):
    """Its database is one of its own."""

    engine: Engine

    def session(self) -> AbstractContextManager[Session]:
        return sessionmaker(self.engine).begin()


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Folder]:
    """Two DAG files, each with a sound DAG, and a package."""
    engine = create_engine("sqlite://")
    DagModel.metadata.create_all(engine, tables=[DagModel.__table__, Request.__table__])
    for name in ("one", "two"):
        (tmp_path / "dags").mkdir(exist_ok=True)
        (tmp_path / "dags" / f"{name}.py").write_text(DAG)
        add_dag(engine, name)
    package = tmp_path / "plugins" / "package"
    package.mkdir(parents=True)
    (package / "module.py").write_text("1")
    (package / "audit.sql").write_text("1")
    made = Folder(name="dags", path=str(tmp_path / "dags"), packages=str(tmp_path / "plugins"))
    made.engine = engine
    made.refresh()
    yield made
    engine.dispose()


def add_dag(engine: Engine, name: str) -> None:
    flags = dict.fromkeys(
        ("is_paused", "is_stale", "has_import_errors", "fail_fast", "exceeds_max_non_backfill"), False
    )
    with engine.begin() as connection:
        connection.execute(
            insert(DagModel.__table__).values(
                dag_id=name, relative_fileloc=f"{name}.py", bundle_name="dags", max_active_tasks=1,
                max_consecutive_failed_dag_runs=0, has_task_concurrency_limits=False, **flags,
            )
        )  # fmt: skip


def asked(folder: Folder) -> list[str]:
    """What the DAG processor is asked for; it takes that up."""
    with Session(folder.engine) as session:
        found = sorted(session.scalars(select(Request.relative_fileloc).where(Request.bundle_name == "dags")))
        session.execute(delete(Request))
        session.commit()
    return found


def edit(file: Path) -> None:
    os.utime(file, (1, 1))


def test_nothing_is_asked_for_at_first_nor_while_nothing_changes(folder: Folder) -> None:
    assert asked(folder) == []
    folder.refresh()
    assert asked(folder) == []


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("module.py", edit),
        ("audit.sql", edit),
        ("module.py", Path.unlink),
        ("new.py", Path.touch),
    ],
    ids=["module", "audit", "gone", "new"],
)
def test_an_edited_package_has_all_dag_files_read_again_once(
    folder: Folder, tmp_path: Path, name: str, change: Callable[[Path], object]
) -> None:
    change(tmp_path / "plugins" / "package" / name)
    folder.refresh()
    assert asked(folder) == ["one.py", "two.py"]
    folder.refresh()
    assert asked(folder) == []


def test_what_python_writes_beside_the_modules_is_no_edit(folder: Folder, tmp_path: Path) -> None:
    cache = tmp_path / "plugins" / "package" / "__pycache__"
    cache.mkdir()
    (cache / "module.cpython-311.pyc").write_text("1")
    folder.refresh()
    assert asked(folder) == []


@pytest.mark.parametrize("fault", [{"has_import_errors": True}, {"is_stale": True}], ids=str)
def test_a_file_without_a_sound_dag_is_read_again_ever_less_often(
    folder: Folder, fault: dict[str, Any]
) -> None:
    with folder.engine.begin() as connection:
        connection.execute(DagModel.__table__.update().where(DagModel.dag_id == "two").values(**fault))
    times = []
    for number in range(1, 17):
        folder.refresh()
        times += [number] if asked(folder) == ["two.py"] else []
    assert times == [1, 2, 4, 8, 16]


def test_what_is_asked_for_already_is_asked_for_once(folder: Folder, tmp_path: Path) -> None:
    for name in ("new.py", "newer.py"):
        (tmp_path / "plugins" / name).touch()
        folder.refresh()
    assert asked(folder) == ["one.py", "two.py"]


def test_what_is_read_once_is_written_at_once() -> None:
    """Airflow would wait for the next time that it reads a file, which may be minutes away here."""
    assert conf.getint("dag_processor", "min_file_process_interval") > 60
    assert conf.getint("core", "min_serialized_dag_update_interval") == 0
