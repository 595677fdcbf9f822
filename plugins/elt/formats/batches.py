"""What a reader hands to conform: Arrow batches, lines it could not split, or rows it has typed already."""

from collections.abc import Callable, Iterable
from typing import NamedTuple, TypeAlias

import pyarrow as pa

from elt.formats.text_blocks import legible

# Files of text lines get this column after their own: the line as published, where it is known.
LINE = "source_line"


class Malformed(NamedTuple):
    """Lines that cannot be split into columns: rows that are null except for LINE, and one reason each."""

    lines: pa.RecordBatch
    reasons: list[str]


class Typed(NamedTuple):
    """Rows that the reader has typed while parsing, and how to get them again as the file's own texts."""

    rows: pa.RecordBatch
    texts: Callable[[], Iterable["Batch"]]


Batch: TypeAlias = pa.RecordBatch | Malformed | Typed


def malformed(broken: list[tuple[bytes, str]], schema: pa.Schema) -> Malformed:
    """Keep lines as they are, each with its reason, in the schema of their file (LINE last)."""
    nulls = [pa.nulls(len(broken), field.type) for field in schema][:-1]
    texts = pa.array([legible(line) for line, _ in broken], pa.string())
    rows = pa.RecordBatch.from_arrays([*nulls, texts], schema=schema)
    return Malformed(rows, [reason for _, reason in broken])
