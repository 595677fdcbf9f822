"""scripts/docs: every generated page and file is as the code has it now."""

import subprocess
import sys

from taxiway import docgen
from taxiway.docgen.markdown import named
from taxiway.environment.home import REPOSITORY

GENERATED = docgen.generated()


def test_every_page_with_a_made_part_is_generated():
    for page in (REPOSITORY / "docs").rglob("*.md"):
        if named(page.read_text()):
            assert page in GENERATED


def test_no_text_names_a_hidden_way_to_generate():
    for page in [REPOSITORY / "README.md", *(REPOSITORY / "docs").rglob("*.md")]:
        text = page.read_text()
        assert "PYTHONPATH" not in text, page
        assert "python -m taxiway" not in text, page


def test_the_command_finds_all_of_them_current_and_writes_nothing():
    before = {path: path.stat().st_mtime_ns for path in GENERATED}
    command = [sys.executable, REPOSITORY / "scripts" / "docs", "--check"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stderr) == (0, "")
    assert {path: path.stat().st_mtime_ns for path in GENERATED} == before
