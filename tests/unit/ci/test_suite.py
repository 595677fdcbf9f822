"""What the suite prints around its tests: how long it takes, why some were skipped, what they have left."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from repository import REPOSITORY

# The tests' own conftest.py, as a plug-in: this folder is not below it.
PROGRAM = "import pytest, sys; sys.path.insert(0, sys.argv[1]); sys.exit(pytest.main(sys.argv[2:]))"
SETTINGS = "[pytest]\ntestpaths = .\nmarkers = long\naddopts = -p no:bqemulator -p conftest\n"


def run(folder: Path, test: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Run a file of tests as the suite runs its own."""
    (folder / "pytest.ini").write_text(SETTINGS)
    (folder / "test_it.py").write_text(f"import pytest, threading, time\n\n{test}\n")
    command = [sys.executable, "-c", PROGRAM, REPOSITORY / "tests", *options]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, timeout=300)


def test_a_run_of_everything_says_at_its_start_how_long_it_takes_and_the_next_one_how_long_it_took(
    tmp_path: Path,
) -> None:
    first = run(tmp_path, "def test_nothing(): pass").stdout
    assert re.search(r"This takes about \d+ min on two free cores. With --all: about \d+ min.", first)
    assert first.index("This takes") < first.index("collected")
    assert "This takes about 1 min, as the last time." in run(tmp_path, "def test_nothing(): pass").stdout
    assert "This takes" not in run(tmp_path, "def test_nothing(): pass", "test_it.py").stdout


def test_skipped_tests_are_a_line_for_each_reason(tmp_path: Path) -> None:
    skips = "@pytest.mark.parametrize('n', range(7))\ndef test_it(n): pytest.skip('no cloud')\n"
    long = "@pytest.mark.long\ndef test_slow(): pass\n"
    shown = run(tmp_path, skips + long).stdout
    assert [line for line in shown.splitlines() if "no cloud" in line] == ["    7  no cloud"]
    assert "    1  takes minutes: scripts/test --all\n" in shown
    assert re.search(r"^=+ .*8 skipped.* =+$", shown.splitlines()[-1]), "the summary is the last line"
    for options in (["--all"], ["test_it.py"], ["test_it.py::test_slow"]):
        assert "1 passed" in run(tmp_path, long, *options).stdout, options


def test_a_thread_that_outlives_the_tests_is_an_error(tmp_path: Path) -> None:
    leaves = "def test_it(): threading.Thread(target=time.sleep, args=[60], daemon=True).start()"
    done = run(tmp_path, leaves)
    assert done.returncode == 1
    assert re.search(r"ERROR at teardown of test_it", done.stdout)
    ends = "def test_it(): threading.Thread(target=time.sleep, args=[0.2], daemon=True).start()"
    assert run(tmp_path, ends).returncode == 0
