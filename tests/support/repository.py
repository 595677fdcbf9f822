"""Where this checkout is, and how a copy of it is made that has an environment of its own in a second."""

import shutil
import subprocess
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
# Rows as TLC published them; the README beside them says which.
TLC = REPOSITORY / "tests/data/tlc"


def copy_working_tree(folder: Path) -> None:
    """Copy what a user would have checked out, changes that are not committed included."""
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    names = subprocess.run(listed, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
    for name in filter(None, names.split("\0")):
        if (REPOSITORY / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(REPOSITORY / name, folder / name)


def share_environment(folder: Path) -> None:
    """Give a copy of the checkout its own .venv: the same files, but the copy's own packages."""
    subprocess.run(["cp", "-al", REPOSITORY / ".venv", folder / ".venv"], check=True)
    for path in (folder / ".venv").glob("lib/python*/site-packages/taxiway*.pth"):
        content = path.read_text().replace(str(REPOSITORY), str(folder))
        path.unlink()  # a file of its own: the one that was linked is the original's
        path.write_text(content)
