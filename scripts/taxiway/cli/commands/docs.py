"""scripts/docs: write the reference pages anew from the code that knows the answers."""

from __future__ import annotations

import sys

from taxiway.cli import arguments as _arguments

EXAMPLES = """\
  scripts/docs            write docs/datasets.md and the tables of docs/infrastructure.md
  scripts/docs --check    say which of them is behind the code"""


def main(arguments: list[str]) -> int:
    """Run the verb; returns its exit code."""
    from taxiway.docgen import datasets as dataset_page
    from taxiway.docgen import infrastructure as page
    from taxiway.environment.files import write_atomically
    from taxiway.environment.paths import REPOSITORY

    parser = _arguments.parser("docs", "Write the reference pages anew from the code.", EXAMPLES)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if a page is behind")
    check = parser.parse_args(arguments).check
    datasets = dataset_page.current(dataset_page.PAGE.read_text()) if check else dataset_page.page()
    pages = {dataset_page.PAGE: datasets, page.PAGE: page.current(page.PAGE.read_text())}
    behind = [path for path, text in pages.items() if not path.exists() or path.read_text() != text]
    for path in behind:
        if not check:
            write_atomically(path, pages[path], mode=0o644)
        name = path.relative_to(REPOSITORY)
        sys.stderr.write(f"{name} is behind the code: scripts/docs\n" if check else f"wrote {name}\n")
    return 1 if check and behind else 0
