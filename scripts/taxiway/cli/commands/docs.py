"""scripts/docs: write every generated page and file anew."""

from __future__ import annotations

from taxiway.cli import arguments as _arguments

EXAMPLES = """\
  scripts/docs            write every generated page and file
  scripts/docs --check    name those that are behind the code"""


def main(arguments: list[str]) -> int:
    """Run the command; returns its exit code."""
    from taxiway import docgen

    parser = _arguments.parser("docs", "Write every generated page and file anew from the code.", EXAMPLES)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if one is behind")
    return docgen.main(check=parser.parse_args(arguments).check)
