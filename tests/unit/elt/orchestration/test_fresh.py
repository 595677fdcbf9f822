"""What the API server knows of the catalogue follows the files, also in modules that have it by name."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from repository import REPOSITORY

CODE = """
import shutil
from pathlib import Path
from elt.catalogue import registry
from elt.catalogue.registry import DATASETS, MARTS
from elt.orchestration.pages.fresh import Fresh
from elt.warehouse import sql
from elt.warehouse.tables import all_tables

fresh, own = Fresh(), Path("plugins/own")
before = list(DATASETS)

def write(file, text):
    (own / file).parent.mkdir(parents=True, exist_ok=True)
    (own / file).write_text(text)
    fresh()

write("common.py", "TITLE = 'Trams'")
entry = '''from elt.catalogue import *
from own.common import TITLE
DATA = Dataset(name="trams", title=TITLE, path="https://example.com/{year}-{month}.csv", table="trams",
               key="at", first=Month(2024, 1), columns=(Column("at", "date", "Day."),),
               feeds=(Feed("sums", {}),))
'''
write("sql/marts/sums.sql", "INSERT INTO ${mart} SELECT 1 FROM ${source}")
write("sql/postgres/sums.sql", "SELECT '${dataset}', 1 FROM ${source}")
write("sql/views/sums.sql", "SELECT 1 FROM ${mart}")
write("marts.py", "from elt.catalogue import *; M = Mart('sums', 'Sums', (Column('n', 'int64', 'N.'),))")
write("datasets/trams.py", entry)
assert [*DATASETS] == [*before, "trams"], registry.PROBLEMS
assert "sums" in MARTS and "trams" in all_tables(str)
assert sql.text("views/sums") == "SELECT 1 FROM ${mart}"
write("sql/views/sums.sql", "SELECT 2 FROM ${mart}")
assert sql.text("views/sums") == "SELECT 2 FROM ${mart}"
write("common.py", "TITLE = 'Trams of the city'")
assert DATASETS["trams"].title == "Trams of the city"
write("datasets/trams.py", entry + "(")
assert [*DATASETS] == before and "line 6: SyntaxError" in str(registry.PROBLEMS[0])
write("datasets/trams.py", entry)
known = DATASETS["trams"]
fresh()
assert DATASETS["trams"] is known, "read again although nothing has changed"
shutil.rmtree(own)
fresh()
assert [*DATASETS] == before and "sums" not in MARTS and registry.PROBLEMS == ()
"""


def test_an_edit_is_seen_without_a_restart(tmp_path: Path) -> None:
    shutil.copytree(
        REPOSITORY / "plugins", tmp_path / "plugins", ignore=shutil.ignore_patterns("__pycache__")
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "plugins")}
    done = subprocess.run(
        [sys.executable, "-c", CODE], env=environment, cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
