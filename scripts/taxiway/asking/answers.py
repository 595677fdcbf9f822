"""What a question is answered with: rows of exact values, and the same as text, CSV, JSON or Parquet."""

from __future__ import annotations

import base64
import datetime as dt
import itertools
import json
import math
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, BinaryIO

from rich.box import SIMPLE_HEAD
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from taxiway.console.progress import Screen, plain, styled
from taxiway.errors import TaxiwayError, UsageError

FORMATS = ("table", "csv", "json", "parquet")
SHOWN_ROWS = 50
# Rows that are written at a time: few enough to be held, enough to be fast.
PIECE_ROWS = 5_000
_NOT_FINITE = {math.inf: "Infinity", -math.inf: "-Infinity"}
_QUOTED = re.compile(r'[",\r\n]')


@dataclass(frozen=True)
class Answer:
    """Rows of Python's exact values, as they arrive.

    `types` gives the columns' Arrow types and is asked for Parquet only; `total` is how many rows there are,
    asked after some were read (None: nobody has counted them). `note` says what the answer has cost.
    """

    names: Sequence[str]
    rows: Iterator[Sequence[Any]]
    types: Callable[[], Sequence[Any]]
    total: Callable[[int], int | None] = lambda _: None
    note: str = ""


def distinct(names: Iterable[str]) -> list[str]:
    """Columns' names, the second `a` as `a_1`, as BigQuery calls it: JSON and Parquet want one of each."""
    found = list[str]()
    for name in names:
        free = (name if not n else f"{name}_{n}" for n in itertools.count())
        found.append(next(candidate for candidate in free if candidate not in found))
    return found


def text(value: Any) -> str:
    """A value, not NULL, as text that loses nothing of it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Decimal):
        # Never with an exponent: the digits are the value.
        return format(value, "f")
    if isinstance(value, float):
        # JSON has no word for them; these are BigQuery's and Postgres'.
        return repr(value) if math.isfinite(value) else _NOT_FINITE.get(value, "NaN")
    if isinstance(value, dt.date | dt.time):
        return value.isoformat()
    if isinstance(value, bytes | bytearray | memoryview):
        return base64.b64encode(value).decode()
    if isinstance(value, list | tuple | dict):
        return json.dumps(jsonable(value), ensure_ascii=False)
    return str(value)


def jsonable(value: Any) -> Any:
    """A value for JSON: a decimal is a text of its digits, since its readers would make a float of it."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else text(value)
    if isinstance(value, dict):
        return {str(name): jsonable(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [jsonable(inner) for inner in value]
    return text(value)


def csv_line(values: Iterable[Any]) -> str:
    """A line of CSV as Postgres writes it: NULL is nothing, an empty text is `""`."""

    def cell(value: Any) -> str:
        if value is None:
            return ""
        shown = text(value)
        if not shown or _QUOTED.search(shown):
            return '"' + shown.replace('"', '""') + '"'
        return shown

    return ",".join(map(cell, values)) + "\n"


def show(answer: Answer, console: Screen, limit: int = SHOWN_ROWS) -> None:
    """The first rows as a table, or below each other where they are too wide for the terminal."""
    rows = list(itertools.islice(answer.rows, limit))
    more = next(answer.rows, None) is not None
    if answer.names:
        _show_rows(console, answer.names, rows)
    total: int | None = len(rows)
    if more:
        total = answer.total(limit + 1)
        counted = "more" if total is None else f"{total:,}"
        line = f"the first {len(rows):,} of {counted} rows; others by --limit, all by --format csv"
    else:
        line = f"{total:,} row{'' if total == 1 else 's'}"
    console.print(styled(f"{line}{answer.note and f' ({answer.note})'}", "dim"), soft_wrap=True)


def _show_rows(console: Screen, names: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    table = Table(header_style="bold", box=SIMPLE_HEAD)
    for number, name in enumerate(names):
        numbers = any(_is_number(row[number]) for row in rows)
        table.add_column(Text(plain(name)), justify="right" if numbers else "left", no_wrap=True)
    for row in rows:
        table.add_row(*map(_cell, row))
    needed = Measurement.get(console, console.options.update(max_width=100_000), table).maximum
    if needed <= console.width:
        console.print(table)
    elif not console.is_terminal:
        # A pipe has no width; what reads it wants whole values.
        console.width = needed
        console.print(table)
    else:
        _show_below(console, names, rows)


def _show_below(console: Screen, names: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    widest = max(len(plain(name)) for name in names)
    for number, row in enumerate(rows, 1):
        console.print(styled(f"row {number}", "bold"))
        for name, value in zip(names, row, strict=True):
            console.print(Text.assemble(f"  {plain(name):<{widest}}  ", _cell(value)), soft_wrap=True)


def _cell(value: Any) -> Text:
    # By its look: a text may be "NULL", too. A value stays what it is: nothing in it is a command of ours.
    return Text("NULL", "dim italic") if value is None else Text(plain(text(value)))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | Decimal) and not isinstance(value, bool)


def format_of(name: str | None, output: str | None) -> str:
    """The format that is asked for, or else the file's: its extension names it; UsageError for none."""
    if name:
        if name == "table" and output:
            raise UsageError("--format table is for people", "Choose csv, json or parquet for a file.")
        return name
    if not output:
        return "table"
    found = Path(output).suffix.removeprefix(".").lower()
    if found not in FORMATS[1:]:
        raise UsageError(f"{output} names no format", "Call it .csv, .json or .parquet, or add --format.")
    return found


def write(answer: Answer, form: str, output: str | None) -> int:
    """Write all rows into a file, which is there only when it is whole, or to standard output.

    Returns how many there were.
    """
    if output:
        with _file(Path(output)) as file:
            return _write(answer, form, file)
    if sys.stdout.isatty() and form == "parquet":
        raise UsageError("Parquet is nothing for a terminal", "Name a file: --output FILE")
    if sys.stdout.isatty():
        return _write(answer, form, _Terminal())  # type: ignore[arg-type]  # all that it is asked for
    count = _write(answer, form, sys.stdout.buffer)
    sys.stdout.buffer.flush()
    return count


class _Terminal:
    """Standard output where somebody looks at it: values are shown, not obeyed."""

    def write(self, content: bytes) -> None:
        sys.stdout.write(plain(content.decode(), keep="\n"))


@contextmanager
def _file(path: Path) -> Iterator[BinaryIO]:
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise TaxiwayError(f"{path} cannot be written: {error.strerror}") from None
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
        # As a file of the user's own would be, not private like all that this module makes.
        mask = os.umask(0)
        os.umask(mask)
        Path(temporary).chmod(0o666 & ~mask)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _write(answer: Answer, form: str, file: BinaryIO) -> int:
    writer = {"csv": _write_csv, "json": _write_json, "parquet": _write_parquet}[form]
    return writer(answer, file)


def _write_csv(answer: Answer, file: BinaryIO) -> int:
    count = 0
    file.write(csv_line(answer.names).encode())
    for piece in _pieces(answer.rows):
        file.write("".join(map(csv_line, piece)).encode())
        count += len(piece)
    return count


def _write_json(answer: Answer, file: BinaryIO) -> int:
    count, names = 0, answer.names
    file.write(b"[")
    for piece in _pieces(answer.rows):
        lines = [
            json.dumps(jsonable(dict(zip(names, row, strict=True))), ensure_ascii=False) for row in piece
        ]
        file.write((("," if count else "") + "\n  " + ",\n  ".join(lines)).encode())
        count += len(piece)
    file.write(b"\n]\n" if count else b"]\n")
    return count


def _write_parquet(answer: Answer, file: BinaryIO) -> int:
    import pyarrow.parquet as pq

    count, schema = 0, _schema(answer)
    with pq.ParquetWriter(file, schema) as writer:
        for batch in _batches(answer, schema):
            writer.write_batch(batch)
            count += len(batch)
    return count


def table(answer: Answer) -> Any:
    """All rows as a table of Arrow's, of the types that a Parquet file has."""
    import pyarrow as pa

    schema = _schema(answer)
    return pa.Table.from_batches(_batches(answer, schema), schema)


def _schema(answer: Answer) -> Any:
    import pyarrow as pa

    if not answer.names:
        raise UsageError("the statement has no columns", "Ask by a SELECT, or leave --format parquet out.")
    return pa.schema(list(zip(answer.names, answer.types(), strict=True)))


def _batches(answer: Answer, schema: Any) -> Iterator[Any]:
    import pyarrow as pa

    for piece in _pieces(answer.rows):
        columns = zip(*piece, strict=True)
        arrays = [_array(field, values) for field, values in zip(schema, columns, strict=True)]
        yield pa.record_batch(arrays, schema=schema)


def _array(field: Any, values: Sequence[Any]) -> Any:
    import pyarrow as pa

    if pa.types.is_string(field.type):
        values = [value if value is None or isinstance(value, str) else text(value) for value in values]
    try:
        return pa.array(values, field.type)
    except (pa.ArrowException, ValueError, TypeError, OverflowError) as error:
        raise TaxiwayError(
            f"column {field.name} has a value that Parquet's {field.type} cannot hold: {error}",
            f"Ask for CAST({field.name} AS STRING), or for another format.",
        ) from None


def _pieces(rows: Iterator[Sequence[Any]]) -> Iterator[list[Sequence[Any]]]:
    while piece := list(itertools.islice(rows, PIECE_ROWS)):
        yield piece
