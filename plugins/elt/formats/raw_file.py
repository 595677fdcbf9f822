"""Raw files of every format as streams of Arrow batches, in memory that does not grow with the file."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO, cast

import pyarrow as pa

from elt.catalogue import Api, Dataset, Format
from elt.errors import PermanentError, first_line
from elt.formats.batches import Batch
from elt.formats.csv_reader import CsvReader
from elt.formats.gzip_content import gunzip
from elt.formats.jsonl_reader import JsonlReader
from elt.formats.pages import Records
from elt.formats.parquet_reader import ParquetReader

_TITLES: Mapping[Format, str] = {
    "parquet": "Parquet",
    "csv": "CSV",
    "csv.gz": "CSV",
    "jsonl": "JSON lines",
    "jsonl.gz": "JSON lines",
    "pages": "pages of JSON",
}


@dataclass(frozen=True)
class Raw:
    """An open raw file: its schema, its batches (once), and its row count where the file states one.

    A file of JSON lines has the catalogue's columns as its schema; `fields` knows at the end which of them
    it really had. Of a Parquet file only columns that the catalogue knows are read; `unread` names the
    others. `close` ends the prefetch; the file itself stays open.
    """

    schema: pa.Schema
    batches: Iterator[Batch]
    rows: int | None
    fields: JsonlReader | None
    close: Callable[[], None]
    unread: tuple[str, ...] = ()


def open_raw(file: BinaryIO, name: str, ds: Dataset, types: Mapping[str, pa.DataType]) -> Raw:
    """Open a seekable raw file of a dataset; `types` is `CsvReader`'s.

    Raises PermanentError for a corrupt file, here or while its batches are read. Close it when done.
    """
    form = ds.file_format
    with _corrupt_is_permanent(name, form):
        source = gunzip(file) if form.endswith(".gz") else file
        if form == "parquet":
            known = frozenset[str]().union(*(column.known_names for column in ds.columns))
            table = ParquetReader(source, known, ds.longest_row)
            batches = iter(table)
            guarded = _guarded(batches, name, form)
            return Raw(table.schema, guarded, table.rows, None, batches.close, table.unread)
        if form.startswith("csv"):
            lines = CsvReader(source, ds.delimiter, types, ds.longest_row)
            return Raw(lines.schema, _guarded(iter(lines), name, form), None, None, lines.close)
        if form == "pages":
            source = cast(BinaryIO, Records(source, ds.source.records if isinstance(ds.source, Api) else ""))
        objects = JsonlReader(source, ds.columns, ds.longest_row)
        return Raw(objects.schema, _guarded(iter(objects), name, form), None, objects, objects.close)


def _guarded(batches: Iterator[Batch], name: str, form: Format) -> Iterator[Batch]:
    with _corrupt_is_permanent(name, form):
        yield from batches


@contextmanager
def _corrupt_is_permanent(name: str, form: Format) -> Iterator[None]:
    """Turn what readers raise for a corrupt file into PermanentError."""
    errors: tuple[type[Exception], ...] = (pa.ArrowException, OSError, EOFError, ValueError)
    if form.endswith(".gz"):
        from isal.igzip_lib import IsalError  # a child of Exception alone

        errors += (IsalError,)  # type: ignore[operator]  # isal's stub calls it an instance
    try:
        yield
    except UnicodeDecodeError as error:
        at = f"byte {error.object[error.start]:#04x} in {error.object[:40]!r}"
        raise PermanentError(
            f"{name}: it is not UTF-8 ({at}). Convert it where it is published, such as by "
            "iconv -f windows-1252 -t utf-8."
        ) from None
    except errors as error:
        raise PermanentError(f"{name}: corrupt {_TITLES[form]} ({first_line(error, 200)})") from None
