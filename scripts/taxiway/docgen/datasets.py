"""docs/datasets.md: every dataset, column and mart, from the catalogue."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from elt.catalogue import Column, Dataset, Mart
from elt.catalogue.registry import DATASETS, MARTS
from elt.warehouse.tables import TYPES
from taxiway.environment.paths import REPOSITORY

PAGE: Final = REPOSITORY / "docs" / "datasets.md"
_HEAD: Final = """\
# Datasets, columns and marts

Made by `scripts/docs` from the entries in `plugins/*/datasets/`; a test says when it is behind.

Every dataset has one schema for all its years. Files use other names and types for the same columns: they
are matched without regard to case, and cast where that loses nothing. A row with a value that does not fit
goes whole into the lake's `quarantine/` with the reason; a column of a file that is not below is reported and
stays in `raw/` only; a file that has lost a column is refused. Tables of monthly datasets have the column
`source_month` in front: the month of the file a row came in. How to add a dataset of your own:
[your-own-dataset.md](your-own-dataset.md).
"""


def page(datasets: Mapping[str, Dataset] = DATASETS, marts: Mapping[str, Mart] = MARTS) -> str:
    """The page of these entries."""
    entries = datasets.values()
    described = [_mart(mart, entries) for mart in marts.values()]
    return "\n".join([_HEAD, _overview(entries), *map(_dataset, entries), "## Marts\n", *described])


def current(text: str) -> str:
    """The page as it should be of the entries that it has: one that a user adds does not make it wrong."""
    return page(
        {name: ds for name, ds in DATASETS.items() if f"\n## {name}\n" in text},
        {name: mart for name, mart in MARTS.items() if f"\n### {name}\n" in text},
    )


def _overview(datasets: Iterable[Dataset]) -> str:
    rows = [
        (
            f"[{ds.name}](#{ds.name})",
            ds.title,
            str(ds.first_month or ""),
            _names([ds.table]),
            str(len(ds.columns)),
        )
        for ds in datasets
    ]
    return _table(("dataset", "title", "since", "table", "columns"), rows)


def _dataset(ds: Dataset) -> str:
    facts = [
        ("source", f"`{ds.path}`"),
        ("format", ds.file_format),
        (
            "months",
            f"from {ds.first_month}, published {ds.lag_months} months later" if ds.monthly else "none",
        ),
        ("key", _names([ds.key])),
        ("table", _names([ds.table]) + (", a partition for each month" if ds.table and ds.monthly else "")),
        ("clustered by", _names(ds.cluster)),
        ("audits", ", ".join(f"`{audit.name}` ({audit.severity})" for audit in ds.audits)),
        ("feeds", _names(feed.mart for feed in ds.feeds)),
    ]
    columns = [
        (f"`{c.name}`", c.type, TYPES[c.type], c.unit, c.description, _written(c), _required(c))
        for c in ds.columns
    ]
    head = ("column", "type", "BigQuery", "unit", "what it is", "also written", "in files")
    known = _table(("", ""), [fact for fact in facts if fact[1]])
    described = _table(head, columns) if columns else "Files are kept in `raw/` as they are.\n"
    return f"## {ds.name}\n\n{ds.title}.\n\n{known}\n{described}"


def _mart(mart: Mart, datasets: Iterable[Dataset]) -> str:
    rows = [(f"`{c.name}`", TYPES[c.type], c.unit, c.description) for c in mart.columns]
    fed = ", ".join(ds.name for ds in datasets if any(feed.mart == mart.name for feed in ds.feeds))
    columns = _table(("column", "BigQuery", "unit", "what it is"), rows)
    return f"### {mart.name}\n\n{mart.title}. From: {fed}.\n\n{columns}"


def _written(column: Column) -> str:
    """The names that differ by more than case, and what texts stand for numbers."""
    names = [alias for alias in column.aliases if alias.lower() != column.name]
    codes: dict[str, list[str]] = {}
    for word, code in column.codes.items():
        codes.setdefault("null" if code is None else str(code), []).append(word or "(blank)")
    texts = [f"{', '.join(words)} for {code}" for code, words in codes.items()]
    return "; ".join([_names(names), *texts] if names else texts)


def _required(column: Column) -> str:
    if not column.required:
        return "sometimes"
    since = f"since {column.since}" if column.since else ""
    until = f"until {column.until}" if column.until else ""
    unless = f"unless they have `{column.instead}`" if column.instead else ""
    return " ".join(words for words in (since, until, unless) if words) or "always"


def _names(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names if name)


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', '&#124;') for cell in line)} |\n" for line in lines)
