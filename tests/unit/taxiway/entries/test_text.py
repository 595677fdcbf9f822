"""Entries as text: the same entry when it is run, and as the formatter leaves it."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from repository import REPOSITORY

from elt.catalogue import Api, Audit, Column, Database, Dataset, Feed, NextLink, PageNumber, Publisher
from elt.catalogue.registry import DATASETS
from elt.periods import Month
from taxiway.entries.text import module

RUFF = Path(sys.executable).parent / "ruff"
STRANGE = Dataset(
    "strange", 'A "title" with \\ and\ttabs', "https://example.com/a.csv", "strange", "a",
    (
        Column("a", "string", 'Says "yes" and it\'s \\ so.', "€", aliases=('"q"', "it's", "ö", "\u0430-ya")),
        Column("b", "int64", "B" * 90 + ".", codes={f"code {number}": number for number in range(20)}),
    ),
    delimiter="\t", source=Publisher("some_source", "https://example.com"),
    audits=(Audit("row_count"), Audit("x" * 40, "warn", {"one": "a" * 50, "two": "b" * 50})),
    feeds=(),
)  # fmt: skip
RIDES = Dataset(
    "rides", "Rides", "/rides", "rides", "at",
    (Column("at", "timestamp", "When."), Column("a", "string", "Text.")), first=Month(2024, 1),
    source=Api("rides_api", "https://example.com", "items", {"a": "{start}"}, NextLink()), reread=1,
)  # fmt: skip
COUNTED = replace(RIDES, name="counted", source=replace(RIDES.source, paging=PageNumber(total="n")))
SOLD = replace(RIDES, name="sold", path="", source=Database("shop", "sales", cursor="at"))


def entries() -> list[Dataset]:
    fed = next(iter(DATASETS.values()))
    return [
        STRANGE,
        RIDES,
        COUNTED,
        SOLD,
        replace(fed, feeds=(*fed.feeds, Feed("another", {"a": "b"}))),
        *DATASETS.values(),
    ]


@pytest.mark.parametrize("entry", entries(), ids=lambda entry: entry.name)
def test_the_text_of_an_entry_is_that_entry(entry: Dataset) -> None:
    made: dict[str, object] = {}
    exec(module(entry, ["About it."], {"key": ["Why."]}), made)
    assert made[entry.name.upper()] == entry


def test_the_formatter_and_the_linter_leave_it_as_it_is(tmp_path: Path) -> None:
    for number, entry in enumerate(entries()):
        comments = {
            "key": ["a " * 90],
            "columns.a": ["Кириллица \u2013 “quotes” \x1b[1m", "µ°²³±½¼¾§…—«» €£¥₹"],
            "": ["Left out: x."],
        }
        (tmp_path / f"e{number}.py").write_text(module(entry, ["About it. " * 30, 'Кто \\ """'], comments))
    for command in (["format", "--check", "--diff"], ["check"]):
        done = subprocess.run(
            [RUFF, *command, "--config", REPOSITORY / "pyproject.toml", tmp_path],
            capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr


def test_accents_and_units_are_written_as_they_are() -> None:
    entry = replace(RIDES, columns=(*RIDES.columns, Column("pm", "float64", "Feinstaub (µg/m³).", "€")))
    written = module(entry, ["Preis in € — für Châtelet."], {"columns.pm": ["'Hôtel de Ville'"]})
    for text in ("Preis in € — für Châtelet.", "# 'Hôtel de Ville'", '"Feinstaub (µg/m³).", unit="€"'):
        assert text in written
