"""docs/datasets.md: every dataset, column and mart, from the catalogue."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from elt.catalogue import Column, Database, Dataset, Mart
from elt.catalogue.registry import DATASETS, MARTS, NO_DATASET
from elt.warehouse.tables import TYPES
from taxiway.docgen.markdown import codes, table

_HEAD: Final = """\
# Datasets, columns and marts

`scripts/docs` writes this page from `plugins/*/datasets/`; `scripts/docs --check` says whether it is current.

Every dataset has one schema for all its years. Files use other names and types for the same columns: names
are matched without regard to case, and values are cast if that loses nothing. A row with a value that does
not fit goes into the lake's `quarantine/` with the reason. A column that this page lacks is reported and
stays in `raw/`. A file without a required column is not loaded. Tables of datasets by months begin with
`source_month`: the month of the file that a row came in (`source_day` by days, and so on). To add a dataset
of your own, see [Your own dataset](your-own-dataset.md).
"""


def page(datasets: Mapping[str, Dataset] = DATASETS, marts: Mapping[str, Mart] = MARTS) -> str:
    """Return the page of a catalogue, by default this project's."""
    known = datasets.values()
    if not known:
        return f"{_HEAD}\n{NO_DATASET}.\n"
    rows = [
        (
            f"[{ds.name}](#{ds.name})",
            ds.title,
            str(ds.first or ""),
            codes([ds.table]),
            str(len(ds.columns)),
        )
        for ds in known
    ]
    overview = table(("dataset", "title", "since", "table", "columns"), rows)
    feeding = []
    for mart in marts.values():
        fed = ", ".join(ds.name for ds in known if any(feed.mart == mart.name for feed in ds.feeds))
        columns = [(f"`{c.name}`", TYPES[c.type], c.unit, c.description) for c in mart.columns]
        described = table(("column", "BigQuery", "unit", "what it is"), columns)
        feeding.append(f"### {mart.name}\n\n{mart.title}. From: {fed}.\n\n{described}")
    return "\n".join([_HEAD, overview, *map(_dataset, known), "## Marts\n", *feeding])


def current(text: str) -> str:
    """Return the page as it should be of the entries that it has: a user's own do not make it wrong."""
    return page(
        {name: ds for name, ds in DATASETS.items() if f"\n## {name}\n" in text},
        {name: mart for name, mart in MARTS.items() if f"\n### {name}\n" in text},
    )


def _dataset(ds: Dataset) -> str:
    late = f"{ds.lag} {ds.every}{'' if ds.lag == 1 else 's'} after it begins"
    facts = [
        ("source", f"`{_origin(ds)}`"),
        ("format", ds.file_format),
        ("published", f"by {ds.every}, from {ds.first}, {late}" if ds.every else "as a whole"),
        ("key", codes([ds.key])),
        (
            "table",
            codes([ds.table]) + (f", a partition for each {ds.every}" if ds.table and ds.every else ""),
        ),
        ("clustered by", codes(ds.cluster)),
        ("audits", ", ".join(f"`{audit.name}` ({audit.severity})" for audit in ds.audits)),
        ("feeds", codes(feed.mart for feed in ds.feeds)),
    ]
    columns = [
        (f"`{c.name}`", c.type, TYPES[c.type], c.unit, c.description, _written(c), _required(c))
        for c in ds.columns
    ]
    head = ("column", "type", "BigQuery", "unit", "what it is", "also written", "in files")
    known = table(("entry", "value"), [fact for fact in facts if fact[1]])
    described = table(head, columns) if columns else "Files are kept in `raw/` as they are.\n"
    return f"## {ds.name}\n\n{ds.title}.\n\n{known}\n{described}"


def _origin(ds: Dataset) -> str:
    if isinstance(ds.source, Database):
        return f"{ds.source.table or 'a query'} of {ds.source.connection}"
    return ds.path


def _written(column: Column) -> str:
    """Return the other names that differ by more than case, and which texts stand for numbers."""
    names = [alias for alias in column.aliases if alias.lower() != column.name]
    texts: dict[str, list[str]] = {}
    for text, code in column.codes.items():
        texts.setdefault("null" if code is None else str(code), []).append(text or "(blank)")
    coded = [f"{', '.join(found)} for {code}" for code, found in texts.items()]
    return "; ".join([codes(names), *coded] if names else coded)


def _required(column: Column) -> str:
    if not column.required:
        return "sometimes"
    words = [f"since {column.since}" if column.since else "", f"until {column.until}" if column.until else ""]
    words.append(f"unless they have `{column.instead}`" if column.instead else "")
    return " ".join(filter(None, words)) or "always"
