"""Files that other people published, read by the product and by DuckDB, and compared value by value.

    PYTHONPATH=plugins:tests/support .venv/bin/python tests/support/public_files.py FOLDER

It prints figures, the refusals grouped by what they say, and the differences.
"""

# ruff: noqa: T201 - a command line

import argparse
import csv
import gzip
import io
import re
import struct
import sys
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from elt.catalogue import Column, Dataset, Type
from elt.catalogue.model import EXTENSIONS, Format
from elt.conforming.schema import ARROW, REASON
from elt.conforming.stream import Split
from elt.errors import PermanentError

VARIABLE = "TAXIWAY_PUBLIC_FILES"
FORMATS: dict[str, Format] = {
    **{f".{extension}": form for extension, form in EXTENSIONS.items()},
    ".tsv": "csv",
    ".tsv.gz": "csv.gz",
    ".json": "jsonl",
    ".json.gz": "jsonl.gz",
}
# A message is read by a person: so many lines, and none longer than a screen is wide a few times.
LINES, LENGTH = 3, 1000
# Differences that are told of a file: the rest follows from them.
TOLD = 8
# A refused file is read again column by column, so that one column does not hide the others.
MOST_COLUMNS = 40
# Columns of a CSV file that are compared: each is looked at once for every type.
MOST_INFERRED = 200
# Bytes of the longest line that DuckDB is to read.
_LINE = 20_000_000

_KINDS: dict[str, Type] = {
    "TINYINT": "int16",
    "UTINYINT": "int16",
    "SMALLINT": "int16",
    "USMALLINT": "int32",
    "INTEGER": "int32",
    "UINTEGER": "int64",
    "BIGINT": "int64",
    "UBIGINT": "int64",
    "HUGEINT": "int64",
    "UHUGEINT": "int64",
    "FLOAT": "float64",
    "DOUBLE": "float64",
    "VARCHAR": "string",
    "BLOB": "string",
    "UUID": "string",
    "DATE": "date",
    "TIMESTAMP": "datetime",
    "TIMESTAMP_S": "datetime",
    "TIMESTAMP_MS": "datetime",
    "TIMESTAMP_NS": "datetime",
    "TIMESTAMP WITH TIME ZONE": "timestamp",
    "BOOLEAN": "bool",
}
# Where the catalogue has it.
NUMERIC: Any = "numeric"
# A Parquet column is also read as a type that not all of its values need fit.
_OTHERWISE: dict[Type, Type] = {
    "int16": "float64",
    "int32": "float64",
    "int64": "float64",
    "float64": "int64",
    NUMERIC: "float64",
    "date": "datetime",
    "datetime": "date",
    "timestamp": "datetime",
}
_INTEGERS, _FLOATS = ("int16", "int32", "int64"), ("FLOAT", "DOUBLE")
# In texts: a zone behind a time, and a fraction that is finer than a microsecond.
_ZONE, _FINER = r"(Z|UTC|[+-]\d\d(:?\d\d){0,2})\s*$", r"\.\d{6}\d*[1-9]"


Row = tuple[Any, ...]


class UnreadableError(Exception):
    """DuckDB cannot read the file, or finds no column of a type that the catalogue has."""


@dataclass(frozen=True, eq=False)
class Unfit:
    """A value that DuckDB does not read as the column's type, or not without loss: equal to nothing."""

    text: str

    def __repr__(self) -> str:
        return f"no value for {self.text[:60]!r}"


class Field(NamedTuple):
    """A column of a file: its name there, DuckDB's name and type for it, the catalogue's type."""

    name: str
    duck: str
    source: str
    kind: Type

    @property
    def value(self) -> str:
        """SQL of its value in the catalogue's type, times as integers; null if there is none without loss."""
        return _VALUES[self.kind](quoted(self.duck), self.source)

    @property
    def given(self) -> str:
        """SQL of whether there is a value at all."""
        name = quoted(self.duck)
        # pandas writes a missing whole number as NaN.
        number = f" AND NOT isnan({name})" if self.source in _FLOATS and self.kind in _INTEGERS else ""
        return f"{name} IS NOT NULL{number}"


def _where(condition: str, value: str) -> str:
    return f"CASE WHEN {condition} THEN {value} END"


def _whole(kind: str) -> Callable[[str, str], str]:
    def value(given: str, source: str) -> str:
        number = f"TRY_CAST({given} AS {kind})"
        if source == "VARCHAR":
            # DuckDB rounds a text with a fraction, and reads more notations than numbers are published in.
            return _where(f"TRY_CAST(trim({given}) AS DECIMAL(38, 9)) = {number}", number)
        return _where(f"CAST({number} AS DOUBLE) = {given}", number) if source in _FLOATS else number

    return value


def _float(given: str, source: str) -> str:
    # DuckDB divides a decimal, which is not the nearest double; of a text it is.
    text = f"CAST({given} AS VARCHAR)" if source.startswith("DECIMAL") else given
    number = f"TRY_CAST({text} AS DOUBLE)"
    return _where(f"TRY_CAST({number} AS HUGEINT) = {given}", number) if source.endswith("INT") else number


def _string(given: str, source: str) -> str:
    return f"TRY(decode({given}))" if source == "BLOB" else f"CAST({given} AS VARCHAR)"


def _date(given: str, source: str) -> str:
    day = f"TRY_CAST({given} AS DATE)"
    days = f"date_diff('day', DATE '1970-01-01', {day})"
    # DuckDB drops the time.
    return days if source == "DATE" else _where(f"TRY_CAST({given} AS TIMESTAMP) = {day}", days)


def _datetime(given: str, source: str) -> str:
    # Parquet keeps a moment in UTC: it is UTC's clock that tells the time, and no other.
    moment = f"epoch_us(TRY_CAST({given} AS TIMESTAMP))"
    if source == "TIMESTAMP_NS":
        return _where(f"epoch_ns({given}) % 1000 = 0", moment)
    if source == "VARCHAR":
        # DuckDB drops the zone of a text, and what is finer than a microsecond.
        return _where(rf"NOT regexp_matches({given}, '\d\d:\d\d.*{_ZONE}|{_FINER}')", moment)
    return moment


def _timestamp(given: str, source: str) -> str:
    moment = f"epoch_us(TRY_CAST({given} AS TIMESTAMPTZ))"
    return _where(f"NOT regexp_matches({given}, '{_FINER}')", moment) if source == "VARCHAR" else moment


def _bool(given: str, source: str) -> str:
    return f"TRY_CAST({given} AS BOOLEAN)"


def _numeric(given: str, source: str) -> str:
    kind = ARROW[NUMERIC]
    number = f"TRY_CAST({given} AS DECIMAL({kind.precision}, {kind.scale}))"
    if source == "VARCHAR":
        # DuckDB rounds, which is told from more digits than are kept, where there is room for them.
        finer = f"TRY(TRY_CAST({given} AS DECIMAL(38, 18)) = {number})"
        near = f"CAST({number} AS DOUBLE) = TRY_CAST({given} AS DOUBLE)"
        return _where(f"coalesce({finer}, {near})", number)
    return _where(f"TRY_CAST({number} AS {source}) = {given}", number)


_VALUES: dict[Type, Callable[[str, str], str]] = {
    "int16": _whole("SMALLINT"),
    "int32": _whole("INTEGER"),
    "int64": _whole("BIGINT"),
    "float64": _float,
    "string": _string,
    "date": _date,
    "datetime": _datetime,
    "timestamp": _timestamp,
    "bool": _bool,
    NUMERIC: _numeric,
}


@dataclass(frozen=True)
class Source:
    """A file as DuckDB reads it: what to select from, and its columns. `whole`: DuckDB skips no line."""

    path: Path
    form: Format
    sql: str
    fields: tuple[Field, ...]
    delimiter: str = ","
    whole: bool = True
    key: int = 0

    def dataset(self) -> Dataset:
        """It as an entry of the catalogue."""
        columns = [
            Column(f"taxiway_{i}", f.kind, "Any.", aliases=(f.name.strip(),), required=i == self.key)
            for i, f in enumerate(self.fields)
        ]
        return Dataset(
            "public",
            "Public",
            "https://example.com/public",
            table="public",
            key=f"taxiway_{self.key}",
            columns=tuple(columns),
            format=self.form,
            delimiter=self.delimiter,
        )


@dataclass
class Verdict:
    """What became of a file: rows by the product, its refusals, and where it and DuckDB differ."""

    path: Path
    judged: bool = True
    why_not: str = ""
    rows: int = 0
    quarantined: int = 0
    refusals: list[str] = field(default_factory=list)
    differences: list[str] = field(default_factory=list)
    reasons: Counter[str] = field(default_factory=Counter)
    peak_mb: float = 0.0

    @property
    def outcome(self) -> str:
        """In a word."""
        if self.refusals:
            return "partly refused" if self.rows else "refused"
        return "with quarantine" if self.quarantined else "typed wholly"


def public_files(folder: Path) -> list[Path]:
    """All files that the product has a format for, by extension, and Parquet by its first bytes."""
    return sorted(path for path in folder.rglob("*") if path.is_file() and _format(path))


def _format(path: Path) -> Format | None:
    name = path.name.lower()
    for extension in sorted(FORMATS, key=len, reverse=True):
        if name.endswith(extension):
            return FORMATS[extension]
    if path.suffix:
        return None
    with path.open("rb") as file:
        return "parquet" if file.read(4) == b"PAR1" else None


def judge(path: Path, *, measure: bool = False) -> Verdict:
    """Read a file by both, in every way there is, and compare."""
    verdict = Verdict(path)
    form = _format(path)
    assert form is not None
    with duckdb.connect() as db:
        for setting in (
            "threads = 1",
            "memory_limit = '4GB'",
            "TimeZone = 'UTC'",
            "enable_progress_bar = false",
        ):
            db.execute(f"SET {setting}")
        try:
            source = _describe(db, path, form)
        except (UnreadableError, duckdb.Error) as error:
            verdict.judged, verdict.why_not = False, _brief(error)
            _Judged(verdict, _described_blindly(path, form)).read()
            return verdict
        if measure:
            verdict.peak_mb = peak_of(source)
        for reading in _readings(source):
            _judge_reading(db, reading, verdict)
    return verdict


def _judge_reading(db: duckdb.DuckDBPyConnection, reading: Source, verdict: Verdict) -> None:
    judged = _Judged(verdict, reading)
    if judged.read():
        judged.compare(db)
    elif len(reading.fields) > 1:
        # Each column, beside the one that no row may lack.
        for index, column in enumerate(reading.fields[:MOST_COLUMNS]):
            both = (reading.fields[reading.key], column) if index != reading.key else (column,)
            alone = _Judged(verdict, replace(reading, fields=both, key=0))
            if alone.read():
                alone.compare(db)


class _Judged:
    """One reading of a file."""

    def __init__(self, verdict: Verdict, source: Source) -> None:
        self.verdict, self.source = verdict, source
        self.parts: list[pa.RecordBatch] = []
        self.quarantined = 0

    def differs(self, what: str) -> None:
        if len(self.verdict.differences) < TOLD and what not in self.verdict.differences:
            self.verdict.differences.append(what)

    def read(self) -> bool:
        """Whether the product takes the file; any error but a refusal is a difference."""
        ds = self.source.dataset()
        try:
            with self.source.path.open("rb") as file, Split(file, ds, None) as split:
                for part in split:
                    self.parts.append(part.typed)
                    if part.quarantined is not None:
                        self._quarantine(part.quarantined)
        except PermanentError as error:
            self._refusal(str(error))
            return False
        except Exception as error:
            self.differs(f"a traceback: {type(error).__name__}: {_brief(error)}")
            return False
        self.verdict.rows += sum(part.num_rows for part in self.parts)
        self.verdict.quarantined += self.quarantined
        return True

    def _refusal(self, message: str) -> None:
        if message not in self.verdict.refusals:
            self.verdict.refusals.append(message)
        if not message.strip() or len(message.splitlines()) > LINES or len(message) > LENGTH:
            size = f"{len(message.splitlines())} lines, {len(message)} characters"
            self.differs(f"a refusal of {size}: {message[:200]!r}")

    def _quarantine(self, rows: pa.RecordBatch) -> None:
        self.quarantined += rows.num_rows
        reasons = rows.column(rows.schema.names.index(REASON) if REASON in rows.schema.names else -1)
        for reason in pc.value_counts(reasons).to_pylist():
            if not reason["values"]:
                self.differs("a row in quarantine without a reason")
                continue
            self.verdict.reasons[_kind_of(reason["values"])] += reason["counts"]

    def compare(self, db: duckdb.DuckDBPyConnection) -> None:
        try:
            reference = list(_reference(db, self.source))
        except duckdb.Error as error:
            self.verdict.judged, self.verdict.why_not = False, _brief(error)
            return
        try:
            typed = [row for part in self.parts for row in zip(*map(plain, part.columns), strict=True)]
        except UnicodeDecodeError as error:
            self.differs(f"a text that is not UTF-8: {error}")
            return
        self._align(typed, reference)

    def _align(self, typed: list[Row], reference: list[Row]) -> None:
        """Find each typed row among DuckDB's, in order; what is passed over has to be in quarantine."""
        at = passed = 0
        for number, row in enumerate(typed):
            if at < len(reference) and reference[at] == row:
                at += 1
                continue
            # Rows that may be passed over, and the one behind them.
            window = reference[at : at + max(self.quarantined - passed, 0) + 1]
            step = _place(row, window)
            if step is None:
                following = _place(typed[number + 1], window) if number + 1 < len(typed) else None
                if not window or following == 0:
                    shown = map(_shown, row, (column.kind for column in self.source.fields))
                    self.differs(f"typed row {number + 1} is none for DuckDB: {', '.join(shown):.300}")
                    continue
                step = min(range(following or len(window)), key=lambda step: _distance(row, window[step]))
                self._tell(at + step, row, window[step])
            if len(self.verdict.differences) >= TOLD:
                return
            at, passed = at + step + 1, passed + step
        self._count(len(typed), len(reference), passed + len(reference) - at)

    def _count(self, typed: int, reference: int, missing: int) -> None:
        counts = f"({reference:,} rows of DuckDB's, {typed:,} typed, {self.quarantined:,} in quarantine)"
        if missing > self.quarantined:
            self.differs(f"{missing - self.quarantined:,} rows lost {counts}")
        elif missing < self.quarantined and self.source.whole:
            self.differs(f"{self.quarantined - missing:,} rows invented, in quarantine {counts}")

    def _tell(self, number: int, row: Row, other: Row) -> None:
        for column, mine, theirs in zip(self.source.fields, row, other, strict=True):
            if mine != theirs:
                as_kind = f"{column.source} as {column.kind}"
                self.differs(
                    f"row {number + 1}, {column.name!r} ({as_kind}): "
                    f"product {_shown(mine, column.kind)}, DuckDB {_shown(theirs, column.kind)}"
                )


def _place(row: Row, among: Sequence[Row]) -> int | None:
    return next((place for place, other in enumerate(among) if other == row), None)


def _distance(row: Row, other: Row) -> int:
    return sum(mine != theirs for mine, theirs in zip(row, other, strict=True))


def _shown(value: Any, kind: Type) -> str:
    if kind == "float64" and isinstance(value, int):
        return repr(struct.unpack("<d", struct.pack("<q", value))[0])
    if kind in ("date", "datetime", "timestamp") and isinstance(value, int):
        unit = "days" if kind == "date" else "microseconds"
        return f"{value} {unit} ({_moment(value, kind)})"
    return f"{value!r:.100}"


def _moment(value: int, kind: Type) -> str:
    try:
        return str(pa.scalar(value, pa.int32() if kind == "date" else pa.int64()).cast(ARROW[kind]).as_py())
    except (ValueError, OverflowError, pa.ArrowInvalid):
        return "beyond Python's years"


def plain(array: pa.Array) -> list[Any]:
    """Values that are equal only if they are the same: floats by their bits, times as integers."""
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    if pa.types.is_float64(array.type):
        # There are many NaNs, and one is as good as another.
        array = pc.if_else(pc.is_nan(array), pa.scalar(float("nan")), array).view(pa.int64())
    elif pa.types.is_timestamp(array.type):
        array = array.view(pa.int64())
    elif pa.types.is_date32(array.type):
        array = array.view(pa.int32())
    values: list[Any] = array.to_pylist()
    return values


def _reference(db: duckdb.DuckDBPyConnection, source: Source) -> Iterator[Row]:
    """DuckDB's rows, in order."""
    wanted = []
    for f in source.fields:
        text = f"coalesce(TRY_CAST({quoted(f.duck)} AS VARCHAR), '?')"
        wanted += [f.value, _where(f"{f.given} AND ({f.value}) IS NULL", text)]
    names = ", ".join(f"{expression} AS v{index}" for index, expression in enumerate(wanted))
    table = db.sql(f"SELECT {names} FROM {source.sql}").to_arrow_table()
    columns = [plain(column) for column in table.columns]
    for values, unfit in zip(columns[::2], columns[1::2], strict=True):
        for index, text in enumerate(unfit):
            if text is not None:
                values[index] = Unfit(text)
    yield from zip(*columns[::2], strict=True)


def _readings(source: Source) -> Iterator[Source]:
    """The file with the types that DuckDB infers; Parquet with others, CSV as texts and as exact numbers."""
    yield source
    others: list[dict[Type, Type]] = [_OTHERWISE] if source.form == "parquet" else []
    if source.form.startswith("csv"):
        others = [dict.fromkeys(_VALUES, "string"), {"float64": NUMERIC} if NUMERIC in ARROW else {}]
    for other in others:
        fields = tuple(f._replace(kind=other.get(f.kind, f.kind)) for f in source.fields)
        if fields != source.fields:
            yield replace(source, fields=fields)


def _describe(db: duckdb.DuckDBPyConnection, path: Path, form: Format) -> Source:
    source = {"p": _parquet, "c": _csv, "j": _json}[form[0]](db, path, form)
    names = Counter(f.name.strip().lower() for f in source.fields)
    fields = tuple(f for f in source.fields if f.name.strip() and names[f.name.strip().lower()] == 1)
    if not fields:
        raise UnreadableError("no column of a type that the catalogue has")
    filled = [f"count({quoted(f.duck)}) = count(*)" for f in fields]
    complete = db.sql(f"SELECT {', '.join(filled)} FROM {source.sql}").fetchall()[0]
    # No row may lack the key: the first column that no row lacks.
    return replace(source, fields=fields, key=complete.index(True) if True in complete else 0)


def _parquet(db: duckdb.DuckDBPyConnection, path: Path, form: Format) -> Source:
    sql = f"read_parquet({_text(path)}, hive_partitioning = false)"
    described = db.sql(f"DESCRIBE SELECT * FROM {sql}").fetchall()
    # DuckDB renames a column whose name another has already.
    return Source(path, form, sql, _fields(described, _arrow_names(path)))


def _arrow_names(path: Path) -> list[str]:
    try:
        names: list[str] = pq.ParquetFile(path).schema_arrow.names
    except (pa.ArrowException, OSError, ValueError):
        return []
    return names


def _csv(db: duckdb.DuckDBPyConnection, path: Path, form: Format) -> Source:
    delimiter = _delimiter(db, path, form)
    names, blank = _header(path, form, delimiter)
    if not any(name.strip() for name in names):
        raise UnreadableError("no header")
    columns = ", ".join(f"c{index}: 'VARCHAR'" for index in range(len(names)))
    # The rules of RFC 4180 and no others: DuckDB's sniffer would find a way to read nearly anything.
    options = (
        f"{_text(path)}, auto_detect = false, header = true, skip = {blank}, columns = {{{columns}}}, "
        f"delim = {_text(delimiter)}, quote = '\"', escape = '\"', nullstr = '', null_padding = false, "
        f"parallel = false, max_line_size = {_LINE}, buffer_size = {2 * _LINE}"
    )
    strict = True
    try:
        db.sql(
            f"SELECT count(*) FROM read_csv({options}, strict_mode = true, store_rejects = true)"
        ).fetchall()
    except duckdb.Error:
        # Files with more than one kind of line ends are too much for it.
        strict = False
        db.sql(
            f"SELECT count(*) FROM read_csv({options}, strict_mode = false, store_rejects = true)"
        ).fetchall()
    if not strict and not _well_formed(path, form, delimiter):
        raise UnreadableError("line ends of several kinds, and quotes inside values")
    whole = strict and db.sql("SELECT count(*) = 0 FROM reject_errors").fetchall()[0][0]
    db.execute("DROP TABLE reject_errors; DROP TABLE reject_scans")
    # What follows a quote that is never closed, DuckDB passes over without a word.
    whole = whole and _well_formed(path, form, delimiter)
    sql = f"read_csv({options}, strict_mode = {strict}, ignore_errors = true)"
    db.execute(f"CREATE TEMP TABLE texts AS SELECT * FROM {sql}")
    if len(names) == 1:
        # A line of nothing is no row to the product, and a row of nothing to DuckDB.
        blank = db.execute("DELETE FROM texts WHERE c0 IS NULL").fetchall()[0][0]
        whole = whole and not blank
    found = [Field(name, f"c{index}", "VARCHAR", "string") for index, name in enumerate(names)]
    return Source(path, form, "texts", tuple(_inferred(db, found[:MOST_INFERRED])), delimiter, whole)


def _delimiter(db: duckdb.DuckDBPyConnection, path: Path, form: Format) -> str:
    try:
        sniffed = db.sql(f"SELECT Delimiter FROM sniff_csv({_text(path)})").fetchall()[0][0]
    except duckdb.Error:
        sniffed = ""
    if len(sniffed) == 1:
        return str(sniffed)
    with _opened(path, form) as file:
        try:
            line = file.readline(_LINE)
        except (OSError, EOFError):
            line = ""
    return max(",;\t|", key=line.count)


def _inferred(db: duckdb.DuckDBPyConnection, texts: Sequence[Field]) -> Iterator[Field]:
    """Each column with the first type that most of its texts are of, so that some need not be."""
    kinds: tuple[Type, ...] = ("int64", "float64", "date", "datetime", "timestamp", "bool")
    counts = (
        f"count({text.duck}), " + ", ".join(f"count({text._replace(kind=kind).value})" for kind in kinds)
        for text in texts
    )
    found = iter(db.sql(f"SELECT {', '.join(counts)} FROM texts").fetchall()[0])
    for text in texts:
        given, fitting = next(found), [next(found) for _ in kinds]
        enough = (kind for kind, count in zip(kinds, fitting, strict=True) if given and count >= 0.8 * given)
        yield text._replace(kind=next(enough, "string"))


def _header(path: Path, form: Format, delimiter: str) -> tuple[list[str], int]:
    """The names in the first line that is not blank, and the number of lines before it."""
    with _opened(path, form) as file:
        try:
            rows = enumerate(csv.reader(file, delimiter=delimiter))
            return next(((row, blank) for blank, row in rows if row), ([], 0))
        except (csv.Error, OSError, EOFError, zlib.error):
            return [], 0


def _well_formed(path: Path, form: Format, delimiter: str) -> bool:
    with _opened(path, form) as file:
        try:
            return all(True for _ in csv.reader(file, delimiter=delimiter, strict=True))
        except (csv.Error, OSError, EOFError, zlib.error):
            return False


def _opened(path: Path, form: Format) -> io.TextIOBase:
    # Closed by the text around it.
    binary = gzip.open(path) if form.endswith(".gz") else path.open("rb")  # noqa: SIM115
    return io.TextIOWrapper(binary, "utf-8-sig", errors="replace", newline="")


def _json(db: duckdb.DuckDBPyConnection, path: Path, form: Format) -> Source:
    options = f"{_text(path)}, sample_size = -1, hive_partitioning = false, maximum_object_size = 100000000"
    sql, whole = f"read_json({options})", True
    try:
        db.sql(f"SELECT count(COLUMNS(*)) FROM {sql}").fetchall()
    except duckdb.Error:
        sql, whole = f"read_json({options}, format = 'newline_delimited', ignore_errors = true)", False
    return Source(
        path, form, sql, _fields(db.sql(f"DESCRIBE SELECT * FROM {sql}").fetchall(), []), whole=whole
    )


def _fields(described: Sequence[tuple[Any, ...]], names: Sequence[str]) -> tuple[Field, ...]:
    if len(names) != len(described):
        names = [str(row[0]) for row in described]
    found = ((name, str(row[0]), str(row[1])) for name, row in zip(names, described, strict=True))
    kinds = ((name, duck, source, _kind(source)) for name, duck, source in found)
    return tuple(Field(name, duck, source, kind) for name, duck, source, kind in kinds if kind)


def _kind(source: str) -> Type | None:
    if re.fullmatch(r"DECIMAL\(\d+,\d+\)", source):
        return NUMERIC if NUMERIC in ARROW else "float64"
    if re.fullmatch(r"ENUM\([^\[]*\)", source):
        return "string"
    return _KINDS.get(source)


def _described_blindly(path: Path, form: Format) -> Source:
    """A file that DuckDB cannot read, as texts: it must be refused or taken, without a traceback."""
    names: list[str] = []
    if form == "parquet":
        names = _arrow_names(path)
    elif form.startswith("csv"):
        names, _ = _header(path, form, ",")
    unlike = {name.strip().lower(): name for name in names if name.strip()}
    fields = [Field(name, name, "VARCHAR", "string") for name in unlike.values()]
    return Source(path, form, "", tuple(fields[:MOST_COLUMNS]) or (Field("value", "", "", "string"),))


def quoted(name: str) -> str:
    """A name in SQL."""
    return '"' + name.replace('"', '""') + '"'


def _text(value: object) -> str:
    return "'" + str(value).replace("'", "''") + "'"


def _brief(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def _kind_of(message: str) -> str:
    """A message without its names and numbers, for grouping."""
    message = re.sub(r"^public: ", "", message.splitlines()[0])
    message = re.sub(r"\(.*", "", message) if message.startswith(("no row", "column")) else message
    message = re.sub(r"^.*? ((is|are|cannot|becomes?) )", r"… \1", message.split("; ")[0])
    return re.sub(r"\d[\d,.]*", "N", message)[:110]


def peak_of(source: Source) -> float:
    """MiB by which the process grows at most while the product reads a file; 0 where Linux does not tell."""
    status, reset = Path("/proc/self/status"), Path("/proc/self/clear_refs")
    if not reset.exists():
        return 0.0
    pa.default_memory_pool().release_unused()
    reset.write_text("5")
    before = _kib(status, "VmRSS")
    try:
        with source.path.open("rb") as file, Split(file, source.dataset(), None) as split:
            for _ in split:
                pass
    except Exception:
        # It is judged elsewhere.
        pass
    return max(0, _kib(status, "VmHWM") - before) / 1024


def _kib(status: Path, name: str) -> int:
    return int(status.read_text().split(f"{name}:")[1].split()[0])


def report(verdicts: Iterable[tuple[Verdict, float]], folder: Path) -> None:
    """Print figures and differences."""
    told = list(verdicts)
    outcomes = Counter((v.outcome if v.judged else f"without a judge, {v.outcome}") for v, _ in told)
    print(f"{len(told)} files, {sum(v.rows for v, _ in told):,} rows typed,", end=" ")
    print(f"{sum(v.quarantined for v, _ in told):,} in quarantine (each reading counted)")
    for outcome, count in outcomes.most_common():
        print(f"{count:6} {outcome}")
    worst = sorted(told, key=lambda each: -each[0].peak_mb)[:5]
    print("\nMost memory:")
    for v, seconds in worst:
        print(f"{v.peak_mb:8.1f} MiB {seconds:6.1f} s {v.path.relative_to(folder)}")
    refusals = Counter(_kind_of(refusal) for v, _ in told for refusal in v.refusals[:1])
    example = {_kind_of(r): v.path.relative_to(folder) for v, _ in told for r in v.refusals[:1]}
    print("\nFirst refusals:")
    for refusal, count in refusals.most_common(60):
        print(f"{count:6} {refusal}   e.g. {example[refusal]}")
    print("\nReasons in quarantine:")
    for reason, count in sum((v.reasons for v, _ in told), Counter[str]()).most_common(40):
        print(f"{count:6} {reason}")
    differing = [v for v, _ in told if v.differences]
    print(f"\n{len(differing)} files differ:")
    for v in differing:
        print(f"\n{v.path.relative_to(folder)}")
        for difference in v.differences:
            print(f"    {difference}")
    print("\nNot judged:")
    for v, _ in told:
        if not v.judged:
            print(f"  {v.path.relative_to(folder)}: {v.outcome}, {v.rows} rows: {v.why_not[:100]}")


def _timed(path: Path) -> tuple[Verdict, float]:
    begun = time.perf_counter()
    return judge(path, measure=True), time.perf_counter() - begun


class Court:
    """Judges files in another process, since there are files that end it."""

    def __init__(self) -> None:
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> "Court":
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool:
            self._pool.shutdown()

    def judge(self, path: Path) -> tuple[Verdict, float]:
        """The verdict, and the seconds it took."""
        self._pool = self._pool or ProcessPoolExecutor(1, get_context("spawn"))
        try:
            return self._pool.submit(_timed, path).result()
        except BrokenProcessPool:
            self._pool = None
            return Verdict(path, differences=["the process ended"]), 0.0

    def all(self, paths: Iterable[Path]) -> Iterator[tuple[Verdict, float]]:
        """Judge one after the other, and say how long each took."""
        for path in paths:
            verdict, seconds = self.judge(path)
            print(f"{seconds:6.2f} s {path}", file=sys.stderr, flush=True)
            yield verdict, seconds


def main() -> None:
    """Judge a folder."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("pattern", nargs="?", default="*")
    asked = parser.parse_args()
    files = [path for path in public_files(asked.folder) if path.match(asked.pattern)]
    with Court() as court:
        report(court.all(files), asked.folder)


if __name__ == "__main__":
    main()
