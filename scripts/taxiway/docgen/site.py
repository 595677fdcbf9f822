"""The site of docs/: its list of decisions, and the program that builds and serves it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from taxiway.compose.on_demand import OnDemand, surroundings
from taxiway.environment.home import REPOSITORY
from taxiway.environment.ports import choose_ports
from taxiway.errors import TaxiwayError
from taxiway.waiting import run

SITE: Final = OnDemand("site", Path(__file__).with_name("site.txt"), there="bin/zensical", megabytes=110)
CONFIGURATION: Final = "mkdocs.yml"
# It takes three seconds on two cores.
BUILD_SECONDS: Final = 300
FIRST_PORT: Final = 8000
_LIST: Final = re.compile(r"(?P<margin> *)# made decisions\n.*?(?= *# end\n)", re.DOTALL)
_COLOUR: Final = re.compile(r"\x1b\[[0-9;]*m")
_FAULT: Final = re.compile(r"(?:Warning|Error): (?P<what>.+)\n\W*\[ (?P<where>\S+?:\d+)")


def current(text: str, decisions: Path = REPOSITORY / "docs" / "decisions") -> str:
    """Return mkdocs.yml with each decision in its navigation."""
    names = sorted(file.name for file in decisions.glob("*.md"))

    def listed(match: re.Match[str]) -> str:
        margin = match["margin"]
        lines = [f"{margin}# made decisions", *(f"{margin}- decisions/{name}" for name in names)]
        return "\n".join(lines) + "\n"

    return _LIST.sub(listed, text)


def build(checkout: Path, program: Path) -> Path:
    """Build the site and return its first page; TaxiwayError for a link or an anchor that leads nowhere."""
    command: list[str | Path] = [program, "build", "--strict", "--clean", "-f", CONFIGURATION]
    done = run(command, BUILD_SECONDS, "Call it again.", cwd=checkout, env=surroundings({}))
    if done.returncode:
        raise TaxiwayError(*_refused(_COLOUR.sub("", done.stdout + done.stderr)))
    return checkout / "site" / "index.html"


def _refused(output: str) -> tuple[str, str]:
    """The sentence and the remedy of a build that failed: its faults, at most three of them."""
    faults = [f"docs/{found['where']}: {found['what']}" for found in _FAULT.finditer(output)]
    if not faults:
        last = (output.strip().splitlines() or ["no reason given"])[-1]
        return f"the site was not built: {last}", f"Look at {CONFIGURATION} and docs/, then call again."
    more = f" and {len(faults) - 3} more" if len(faults) > 3 else ""
    return f"the site was not built: {'; '.join(faults[:3])}{more}", "Correct the links, then call again."


def serve_command(program: Path) -> list[str]:
    """The command that serves the site here alone, and builds a page again when its file changes."""
    (port,) = choose_ports({"site": FIRST_PORT}, lambda _: None).values()
    return [str(program), "serve", "-f", CONFIGURATION, "-a", f"127.0.0.1:{port}"]
