"""Become a program with the variables of a JSON file: `python -m taxiway.embedded.launch FILE PROGRAM ARG…`.

Secrets and settings stay in a private file instead of the process manager's configuration,
and are read when the program starts, not when the manager does.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path


def main() -> None:
    """Replace this process by the program."""
    file, program, *arguments = sys.argv[1:]
    environment = {**os.environ, **json.loads(Path(file).read_text())}
    os.execvpe(program, [program, *arguments], environment)  # noqa: S606 - that is its purpose


if __name__ == "__main__":
    main()
