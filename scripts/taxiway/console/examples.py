"""Help and pages name datasets that are there: where the example's are not, those of the catalogue."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

# What is named where there is no dataset yet: those that docs/your-own-dataset.md adds.
PERIODIC, WHOLE = "bikes", "stations"
_EXAMPLE = "nyc_taxi"
# Lines that say nothing without it: `--source` chooses where its files come from.
_OF_THE_EXAMPLE = re.compile(r"^ +scripts/up --source ")


def names(plugins: Path) -> Mapping[str, str]:
    """What to write for each of the example's names; empty where the example is.

    Files are looked at, and not imported: help is for who has a mistake in one, too.
    """
    if (plugins / _EXAMPLE).is_dir():
        return {}
    texts = {
        file.stem: file.read_text(errors="replace") for file in sorted(plugins.glob("*/datasets/[!_]*.py"))
    }
    periodic = [name for name, text in texts.items() if re.search(r"^    first=", text, re.MULTILINE)]
    whole = [name for name in texts if name not in periodic]
    return neutral((periodic or [PERIODIC])[0], (whole or [WHOLE])[0])


def neutral(periodic: str = PERIODIC, whole: str = WHOLE) -> Mapping[str, str]:
    """What to write for each of the example's names, for a dataset by periods and one without."""
    return {
        "taxi_zone_lookup.csv": f"{whole}.csv",
        "yellow_trips": periodic,
        "yellow": periodic,
        "zones": whole,
        "fct_daily_trips": f"{periodic}_by_month",
        "monthly_payments": f"{periodic}_by_month",
        # A second one, in what is about two of them.
        "green": "other",
    }


def named(text: str, known: Mapping[str, str]) -> str:
    """The text with other names; what is aligned behind two blanks stays aligned where there is room."""
    if not known:
        return text
    # Not beside a letter: `yellow_trips`, but also `yellow_to_lake`, and never `greenish`.
    word = re.compile(rf"(?<![a-zA-Z])({'|'.join(known)})(?![a-zA-Z])")
    lines = [line for line in text.split("\n") if not _OF_THE_EXAMPLE.search(line)]
    return "\n".join(_aligned(line, word.sub(lambda match: known[match[1]], line)) for line in lines)


def _aligned(old: str, new: str) -> str:
    gap = re.search(r"(?<=\S) {2,}(?=\S)", new)
    if old == new or not gap:
        return new
    # A comment of Python has two blanks before it, as its formatter wants them.
    if new[gap.start() :].startswith("  #"):
        return new
    return f"{new[: gap.start()]}{' ' * max(2, len(gap[0]) + len(old) - len(new))}{new[gap.end() :]}"
