"""The classes that entries are made of.

An entry checks itself when it is created. Whatever Airflow, BigQuery or Postgres would reject later raises
InvalidDatasetError, with the bad value and what to write instead. Checks that need other files (SQL, other
entries) are in `elt.catalogue.checks`.
"""

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args
from urllib.parse import urlsplit

from elt import layout
from elt.catalogue.records import Api, Database, bounds
from elt.errors import InvalidDatasetError, InvalidPeriodError, PermanentError
from elt.periods import KINDS, Grain, Period, Span, levels

Type = Literal[
    "int16", "int32", "int64", "float64", "numeric", "string", "date", "datetime", "timestamp", "bool"
]
Format = Literal["parquet", "csv", "csv.gz", "jsonl", "jsonl.gz", "pages", "any"]
Severity = Literal["stop", "warn"]

EXTENSIONS: Mapping[str, Format] = {
    "parquet": "parquet",
    "csv": "csv",
    "csv.gz": "csv.gz",
    "jsonl": "jsonl",
    "ndjson": "jsonl",
    "jsonl.gz": "jsonl.gz",
    "ndjson.gz": "jsonl.gz",
}
TABULAR_FORMATS = tuple(dict.fromkeys(EXTENSIONS.values()))

# Raise it when conform itself changes what becomes of a raw file: every partition is then conformed again.
CONFORM_RULES = 3

# Bytes of a line of text, or of a row's texts in Parquet. A longer one is quarantined by its beginning: it
# would be in memory several times over.
LONGEST_ROW = 16 * 2**20

# The columns that the library puts in front: of a dataset by periods, and of a mart.
PERIOD_COLUMNS: Mapping[Grain, str] = {grain: f"source_{grain}" for grain in KINDS}
MART_COLUMNS = ("dataset", *PERIOD_COLUMNS.values())
_URLS = ("http://", "https://")
# Where files can be listed, and so found by a pattern.
_LISTED = ("gs://", "s3://", "file://", "sftp://")
ADDRESSES = (*_URLS, *_LISTED)
# What a period is in a path: as many of them as it has numbers.
PARTS = ("{year}", "{month}", "{day}", "{hour}")
# A date does not say which hour a row is of.
_KEY_TYPES: Mapping[Grain, tuple[Type, ...]] = {
    **dict.fromkeys(("year", "month", "day"), ("datetime", "timestamp", "date")),
    "hour": ("datetime", "timestamp"),
}

# BigQuery keeps these for its pseudo-columns.
_RESERVED = ("_table_", "_file_", "_partition", "_row_timestamp", "__root__", "_colidentifier", "_change_")
# Every table of Postgres has these already.
_SYSTEM_COLUMNS = ("tableoid", "xmin", "cmin", "xmax", "cmax", "ctid")
# What Airflow takes for a DAG id, which a name begins; 250 characters with what the library appends.
_AIRFLOW_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,199}", re.ASCII)
# What is left of Postgres' 63 bytes for the name and the table of a dataset and for a period.
ROOM_FOR_NAME, ROOM_FOR_TABLE = 44, 43
_USE = "Use up to {} of a-z, 0-9 and _, a letter first."


@dataclass(frozen=True)
class Publisher:
    """A publisher of files: the id of an Airflow connection, and the URL that the files are below.

    The connection (`AIRFLOW_CONN_<ID>`) holds what the publisher wants: login, headers, keys. An HTTP or SFTP
    connection can name another host. Without a connection the URL is asked as anybody may ask it; a gs:// one
    with the stack's own identity.
    """

    connection: str
    base_url: str

    def __post_init__(self) -> None:
        mistake = ""
        if not re.fullmatch(r"[a-z][a-z0-9_]*", self.connection, re.ASCII):
            mistake = f"{self.connection!r} cannot be a connection's id. Use a-z, 0-9 and _."
        elif not self.base_url.startswith(ADDRESSES):
            mistake = f"{self.base_url!r} is not a URL. Write it like https://example.com or gs://bucket."
        elif self.base_url.startswith(_LISTED) and "@" in self.base_url:
            # The load log would keep it, for everybody who reads.
            mistake = "its URL holds a login. Put that into the connection of that name."
        elif "*" in self.base_url:
            mistake = f"{self.base_url!r} holds a *, which only the last part of a dataset's path may."
        if mistake:
            raise InvalidDatasetError(f"publisher {self.connection}: {mistake}")


@dataclass(frozen=True)
class Column:
    """One column of the typed schema.

    `aliases` are other names for it in files; case makes no difference. `codes` map texts in files, in
    lower case, to values; other texts are taken literally.

    A file that lacks a required column is a permanent error; any other missing column is filled with nulls.
    `since` and `until` limit the requirement to files of these periods. It does not apply to files that have
    the column `instead`.
    """

    name: str
    type: Type
    description: str
    unit: str = ""
    aliases: tuple[str, ...] = ()
    required: bool = True
    since: Period | None = None
    until: Period | None = None
    instead: str = ""
    codes: Mapping[str, str | int | None] = field(default_factory=dict)

    def required_in(self, period: Period | None) -> bool:
        """Whether a file of that period must have it, unless it has what stands in for it."""
        if period is None:
            return self.required
        begun = self.since is None or self.since.start <= period.start
        return self.required and begun and (self.until is None or period.start < self.until.end)

    @property
    def described(self) -> str:
        """Its description as stores keep it, the unit in brackets."""
        return f"{self.description} ({self.unit})" if self.unit else self.description

    @property
    def known_names(self) -> frozenset[str]:
        """Every name a file may use for this column, in lower case."""
        return frozenset(name.lower() for name in (self.name, *self.aliases))

    def mistakes(self) -> Iterator[str]:
        """Names that a store would reject, and contradictions: one sentence each."""
        this = f"column {self.name!r}"
        if _refused(layout.identifier, self.name):
            yield f"{this} is no name for a column. Use up to 63 of a-z, 0-9 and _, no digit first."
        elif self.name in _SYSTEM_COLUMNS or self.name.startswith(_RESERVED):
            other = f'Call it {self.name.strip("_")}_ and add aliases=("{self.name}",).'
            yield f"{this} has a name that BigQuery or Postgres keeps for itself. {other}"
        if self.type not in get_args(Type):
            yield f"{this} has the unknown type {self.type!r}. Use one of {', '.join(get_args(Type))}."
        if self.since and self.until and self.until < self.since:
            yield f"{this} ends in {self.until}, before {self.since}. Correct since or until."
        for text in self.codes:
            # Conform strips and lower-cases texts before it looks them up.
            if text != text.strip().lower():
                yield f"{this}: no file's text is ever {text!r}. Write codes in lower case, without spaces."


@dataclass(frozen=True)
class Audit:
    """A rule over a staged partition: `sql/audits/<name>.sql`. Only *stop* prevents publishing.

    The file is searched in the entry's own package, then in the library, then in all other packages.
    `variables` are its template variables besides GIVEN_TO_AUDITS, which every audit can use.
    """

    name: str
    severity: Severity = "stop"
    variables: Mapping[str, str] = field(default_factory=dict)


# Staging table, published table, and column names. These are in backquotes, because a column may be named
# like a keyword (at, end, order); `key_name` is bare, for use inside a text.
GIVEN_TO_AUDITS = ("staging", "table", "key", "key_name", "period", "columns", "null_shares")

# Suits every dataset by periods. For another limit, write an audit of your own.
STANDARD_AUDITS = (
    Audit("row_count"),
    Audit("key_present"),
    Audit("inside_period"),
    Audit("quarantine_share", "warn"),
    Audit("null_share", "warn"),
)


@dataclass(frozen=True)
class Preview:
    """The rows of a mart to show first: columns of its view, and terms of ORDER BY."""

    columns: tuple[str, ...]
    order: tuple[str, ...]


@dataclass(frozen=True)
class Mart:
    """A table computed from published partitions by `sql/marts/<name>.sql`, fed by any number of datasets.

    The library adds the columns `dataset` and `source_month` in front (`source_day` where its feeds are by
    days). People query a view of it, `sql/views/<name>.sql`, which can join `lookups`: datasets, available as
    template variables (`${zones}`). Postgres has the view alone, over the query in `sql/postgres/<name>.sql`.
    """

    name: str
    title: str
    columns: tuple[Column, ...]
    cluster: tuple[str, ...] = ()
    lookups: tuple[str, ...] = ()
    preview: Preview | None = None

    def __post_init__(self) -> None:
        for mistake in self._mistakes():
            raise InvalidDatasetError(f"mart {self.name}: {mistake}")

    def _mistakes(self) -> Iterator[str]:
        if _refused(layout.identifier, self.name) or _refused(layout.mart_table, self.name):
            yield f"{self.name!r} is no name for a table. Use up to 58 of a-z, 0-9 and _, no digit first."
        if self.name in layout.OWN_TABLES:
            yield f"{self.name} is a table of the library's own. Give it another name."
        if "mart" in self.lookups:
            yield "its lookup 'mart' would be ${mart}, which is the mart itself. Rename that dataset."
        yield from _in_columns(self.columns, self.cluster, MART_COLUMNS)


@dataclass(frozen=True)
class Feed:
    """A dataset's contribution to a mart: columns or SQL for the template variables in the mart's files."""

    mart: str
    variables: Mapping[str, str]


@dataclass(frozen=True)
class Dataset:
    """Where a dataset is published, what its rows look like and where they go.

    `first` is the first period that is published: `Month(2024, 1)` makes it a dataset by months,
    `Day(2024, 1, 5)` one by days; None: one file is the whole of it. A period is due `lag` periods after its
    start.

    `path` is a URL, or a path below the URL of `source`, with `{year}`, `{month}`, `{day}` and `{hour}` as
    far as `first` has them. Its extension gives the format, unless `format` does. `file` is the name in the
    lake, for URLs that do not end in a file name. Where files can be listed (gs://, s3://, file://, sftp://),
    the path's last part may hold a `*`: all files that match are the partition, each kept under its own name.
    With a `marker` (`_SUCCESS`), they are published once that is beside them; it is none of them.
    `key` is the column that no row may lack; in a dataset by periods it is the time that decides to which one
    a row belongs. If the file's name says less than `first` (the month of a dataset by days), a file has
    several periods, and each takes its rows. `starter` datasets are loaded when a new platform starts.
    `package` is set by the registry. A row of more than `longest_row` bytes is quarantined by its beginning.

    Files that are no tables (no `columns`) are stored in the lake as they are.

    An `Api` as `source` has `path` below its URL, a `Database` has none. Of what gives neither ETag nor date
    nobody can tell whether it has changed: each source check reads the latest `reread` partitions again.

    Raises InvalidDatasetError for contradictions.
    """

    name: str
    title: str
    path: str = ""
    table: str = ""
    key: str = ""
    columns: tuple[Column, ...] = ()
    format: Format | None = None
    file: str = ""
    delimiter: str = ","
    first: Period | None = None
    lag: int = 1
    cluster: tuple[str, ...] = ()
    audits: tuple[Audit, ...] = ()
    feeds: tuple[Feed, ...] = ()
    postgres: bool = True
    source: Publisher | Api | Database | None = field(default=None, kw_only=True)
    reread: int = field(default=0, kw_only=True)
    marker: str = field(default="", kw_only=True)
    starter: bool = field(default=False, kw_only=True)
    longest_row: int = field(default=LONGEST_ROW, kw_only=True)
    package: str = field(default="", kw_only=True, compare=False)

    def __post_init__(self) -> None:
        for mistake in self._mistakes():
            raise InvalidDatasetError(f"dataset {self.name}: {mistake}")

    def _mistakes(self) -> Iterator[str]:
        """What would otherwise fail in a run: one sentence each."""
        taken = len(layout.suffix(self.first))
        if not _AIRFLOW_NAME.fullmatch(self.name):
            yield f"its name {self.name!r} cannot be part of a DAG's. {_USE.format(ROOM_FOR_NAME - taken)}"
        yield from self._in_pattern()
        told_by = self.path if self.sharded else self._file
        present = tuple(part for part in PARTS if part in told_by)
        if present != self._parts and not self.shares_files:
            wanted = " and ".join(self._parts) or "none of " + ", ".join(PARTS)
            where = "the path's last part or into file"
            yield (
                f"its file names do not fit first={self.first!r}. "
                f"Put {wanted} into {'the path' if self.sharded else where}, or correct first."
            )
        if self.lag < 0:
            yield f"its lag is {self.lag}. Say how many periods after its start one is published: 0 or more."
        yield from self._of_records()
        if self.tabular:
            yield from self._of_a_table()
        elif self.table or self.key or self.format or self.cluster or self.audits or self.feeds:
            yield (
                "it has no columns. Describe its columns, "
                "or leave table, key, format, cluster, audits and feeds out."
            )

    def _in_pattern(self) -> Iterator[str]:
        folder, _, last = self._location.rpartition("/")
        if self.sharded and self._address.startswith(_URLS):
            yield (
                f"its path {self.path!r} holds a *, and an HTTP source cannot list its files. "
                "Write the file's whole name, or the address of a bucket, a folder or an SFTP server."
            )
        elif not self._address.startswith(_URLS) and "*" in folder:
            yield f"its path {self.path!r} holds a * in a folder's name. Only its last part, {last!r}, may."
        elif self.sharded and "*" in self.file:
            yield f"its file {self.file!r} holds a *. It names a folder in the lake: leave the * out."
        if self.marker and not self.sharded:
            yield f"its marker {self.marker!r} is of no use: its path has no *. Leave marker out."
        elif "/" in self.marker or "*" in self.marker:
            yield f"its marker {self.marker!r} is no file's name. Write it like _SUCCESS."

    def _of_records(self) -> Iterator[str]:
        if self.reread < 0:
            yield f"its reread is {self.reread}. Leave it out, or write how many partitions to read again."
        if not isinstance(self.source, Api | Database):
            return
        if self.format:
            yield f"its format is {self.format}, and an API or a database has none. Leave format out."
        if bool(self.every) != self.source.of_partitions(self.path):
            where = "path or params" if isinstance(self.source, Api) else "query, or name the cursor"
            yield (
                f"its requests do not fit first={self.first!r}. Put {{start}} and {{end}} into {where} "
                "if it has periods, and nothing of this if it has none."
            )

    def _in_names(self) -> Iterator[str]:
        # The layout builds longer names of name and table, and Postgres cuts what is over 63 bytes.
        period = self.first
        taken = len(layout.suffix(period))
        if _refused(layout.identifier, self.name) or _refused(layout.staging_table, self, period, ""):
            yield f"its name {self.name!r} cannot be part of a table's. {_USE.format(ROOM_FOR_NAME - taken)}"
        if _refused(layout.identifier, self.table) or _refused(layout.incoming_table, self, period, ""):
            yield f"its table {self.table!r} is no name for one. {_USE.format(ROOM_FOR_TABLE - taken)}"
        if self.table in layout.OWN_TABLES:
            yield f"its table {self.table} is one of the library's own. Give it another name."

    def _of_a_table(self) -> Iterator[str]:
        yield from self._in_names()
        if self.file_format not in (*TABULAR_FORMATS, "pages"):
            yield f"its format is not clear. Set format to one of {', '.join(TABULAR_FORMATS)}."
        if self.longest_row < 2**20:
            yield f"its longest_row is {self.longest_row} bytes. Leave it out, or write 2**20 or more."
        if len(self.delimiter) != 1:
            yield f"its delimiter {self.delimiter!r} is not one character. Write it like delimiter=';'."
        yield from _in_columns(self.columns, self.cluster, (self.period_column,) if self.every else ())
        keys = [column for column in self.columns if column.name == self.key and column.required]
        if len(keys) != 1:
            yield f"its key {self.key} is not a required column. Name one that is."
        elif self.every and keys[0].type not in _KEY_TYPES[self.every]:
            wanted = f"It has to be a {' or '.join(_KEY_TYPES[self.every])}."
            yield f"its key {self.key} does not say which {self.every} a row is of. {wanted}"
        marts = [feed.mart for feed in self.feeds]
        if marts and not self.every:
            # A mart's rows are replaced by period: without one each run would add them again.
            yield "it has no periods, by which marts are kept. Leave feeds out, or set first."
        if len(marts) > len(set(marts)):
            yield f"it feeds a mart twice ({', '.join(marts)}). Leave one of the feeds out."
        for audit in self.audits:
            # A misspelt severity would let everything pass.
            if audit.severity not in get_args(Severity):
                yield f"its audit {audit.name} has the severity {audit.severity!r}. Use 'stop' or 'warn'."

    @property
    def every(self) -> Grain | None:
        """Which periods it is published by; None if its file is the whole of it."""
        return self.first.grain if self.first else None

    @property
    def period_column(self) -> str:
        """The column that its tables have in front, like `source_month`; empty without periods."""
        return PERIOD_COLUMNS[self.every] if self.every else ""

    @property
    def _parts(self) -> tuple[str, ...]:
        """What has to stand in its file names."""
        return PARTS[: len(levels(self.every))]

    @property
    def shares_files(self) -> bool:
        """Whether a file has several periods: its name says the month, say, and `first` is a day."""
        return bool(self.columns) and self._file_parts not in ((), self._parts)

    @property
    def _file_parts(self) -> tuple[str, ...]:
        """The first parts of a period, as many as the file names have; none where they have others, too."""
        if self.sharded or isinstance(self.source, Api | Database):
            return self._parts
        present = tuple(part for part in PARTS if part in self._file)
        return present if present == self._parts[: len(present)] else ()

    def file_period(self, period: Period | None) -> Period | None:
        """The period of the file that a period is in: longer where files have several of them."""
        if period is None or not self.shares_files:
            return period
        return list(KINDS.values())[len(self._file_parts) - 1].of(period.start)

    def periods_of(self, file: Period | None) -> tuple[Period | None, ...]:
        """The dataset's periods in one file, in order."""
        if file is None or not self.every or not self.first:
            return (None,)
        return tuple(period for period in Span(file, file).periods(self.every) if self.first <= period)

    @property
    def tabular(self) -> bool:
        """Whether its files are tables. Other files are stored in the lake as they are, and nothing else."""
        return bool(self.columns)

    @property
    def in_postgres(self) -> bool:
        """Whether it is loaded into Postgres; files that are no tables never are."""
        return self.postgres and self.tabular

    @property
    def sharded(self) -> bool:
        """Whether a partition is all files that match the pattern in the path's last part."""
        return "*" in self._location.rpartition("/")[2]

    @property
    def _address(self) -> str:
        """The path, below the publisher's URL if it is none itself."""
        return self.path if "://" in self.path else getattr(self.source, "base_url", "") + self.path

    @property
    def _location(self) -> str:
        """The path without what an HTTP server is asked for behind it."""
        return urlsplit(self.path).path if self._address.startswith(_URLS) else self.path

    @property
    def _file(self) -> str:
        if not self.file and isinstance(self.source, Api | Database):
            extension = "json-seq" if isinstance(self.source, Api) else "parquet"
            return f"{self.name}{'_' if self.every else ''}{'-'.join(self._parts)}.{extension}"
        last = urlsplit(self.path).path.rsplit("/", 1)[-1]
        if self.file or not self.sharded:
            return self.file or last
        # A pattern is no name: the partition's own stands for its files.
        ext = next((ext for ext in EXTENSIONS if last.lower().endswith(f".{ext}")), "")
        return "_".join([self.name, *filter(None, ["-".join(self._parts)])]) + (f".{ext}" if ext else "")

    @property
    def file_format(self) -> Format:
        """How its files are written: as `format` says, else by their extension."""
        if isinstance(self.source, Api | Database):
            return "pages" if isinstance(self.source, Api) else "parquet"
        if self.format or not self.tabular:
            return self.format or "any"
        name = self._file.lower()
        # No entry is without a format: `_mistakes` refuses it.
        return next((form for ext, form in EXTENSIONS.items() if name.endswith(f".{ext}")), "any")

    @property
    def schema_version(self) -> str:
        """A hash of all rules by which conform reads a file: 12 hexadecimal digits."""
        # Typed files in users' lakes carry it: adding anything here conforms everything again.
        rules = [
            (c.name, c.type, sorted(c.known_names), c.required, str(c.since), str(c.until), c.instead)
            for c in self.columns
        ]
        codes = [sorted((text, str(code)) for text, code in c.codes.items()) for c in self.columns]
        reading: tuple[object, ...] = (
            CONFORM_RULES,
            self.key,
            self.file_format,
            self.delimiter,
            self.longest_row,
        )
        # Only where there are such: what is loaded of others stays current.
        reading += (self.source.records,) if isinstance(self.source, Api) else ()
        return hashlib.sha256(repr((reading, rules, codes)).encode()).hexdigest()[:12]

    def fills(self, mart: str) -> bool:
        """Whether it is one of those that feed a mart."""
        return any(feed.mart == mart for feed in self.feeds)

    def url(self, period: Period | None, base_url: str = "") -> str:
        """Address of a period's file; `base_url` overrides the publisher's (from its Airflow connection).

        InvalidPeriodError outside the dataset's periods, InvalidDatasetError for a path below no source.
        """
        return self._url(self.path, period, base_url)

    def marker_url(self, period: Period | None, base_url: str = "") -> str:
        """Address of the file that says that a period's files are complete; empty if the entry names none."""
        return self.marker and self._url(f"{self.path.rpartition('/')[0]}/{self.marker}", period, base_url)

    def _url(self, template: str, period: Period | None, base_url: str) -> str:
        self.check_source()
        path, default = self.fill(template, period), getattr(self.source, "base_url", "")
        # One slash only: file:/// is the root of a computer.
        return path if path.startswith(ADDRESSES) else (base_url or default).removesuffix("/") + path

    def check_source(self) -> None:
        """Raise InvalidDatasetError if path and source do not add up to a URL."""
        if isinstance(self.source, Database):
            if self.path:
                raise InvalidDatasetError(
                    f"dataset {self.name}: a database has no path {self.path!r}. Leave path out."
                )
            return
        if isinstance(self.source, Api) and not self.path.startswith("/"):
            raise InvalidDatasetError(
                f"dataset {self.name}: its path {self.path!r} is not below the API's URL. Begin it with /."
            )
        whole = self.path.startswith(ADDRESSES)
        if not whole and not (self.source and self.path.startswith("/")):
            raise InvalidDatasetError(
                f"dataset {self.name}: its path {self.path!r} is no URL. "
                "Write the whole URL, or set source and begin the path with /."
            )
        scheme = self.path.partition("://")[0] if whole else ""
        other = getattr(self.source, "base_url", scheme).partition("://")[0]
        # A connection's login is for the host that it is of.
        if scheme == "sftp" or (scheme != other and f"{scheme}://" in _LISTED):
            raise InvalidDatasetError(
                f"dataset {self.name}: no connection belongs to its path {self.path!r}. Set "
                f'source=Publisher("my_connection", "{scheme}://…"), and begin the path with /.'
            )

    def file_name(self, period: Period | None) -> str:
        """Name of a period's file in the lake: as published, if that is a name."""
        return self.fill(self._file, period)

    def fill(self, template: str, period: Period | None, *, zone: str = "Z", separator: str = "T") -> str:
        """Fill in a period's parts and bounds; these are moments in UTC, which `zone` says behind them."""
        self.check_period(period)
        if period is None:
            return template
        # Not str.format: a URL may have other braces in it.
        for part, text in zip(PARTS, re.split("[-T]", str(period)), strict=False):
            template = template.replace(part, text)
        for name, text in bounds(period, zone, separator).items():
            template = template.replace(name, text)
        return template

    def check_period(self, period: Period | None) -> None:
        """Raise InvalidPeriodError for a period that this dataset cannot have (None: no period at all)."""
        if self.first is None:
            if period is not None:
                raise InvalidPeriodError(f"{self.name} is one file without periods. Leave {period} out.")
        elif period is None or period.grain != self.every:
            given = f", and {period} is a {period.grain}" if period else ""
            raise InvalidPeriodError(
                f"{self.name} is published by {self.every}{given}. Give one like {self.first}."
            )
        elif period < self.first:
            raise InvalidPeriodError(f"{self.name} begins with {self.first}; {period} is before that.")


def _in_columns(
    columns: tuple[Column, ...], cluster: tuple[str, ...], added: tuple[str, ...]
) -> Iterator[str]:
    """Mistakes in a table's columns; `added` are the columns that the library puts in front."""
    types = {column.name: column.type for column in columns}
    # BigQuery's columns are the same whatever their case, and so are files' names for them.
    means: dict[str, Column] = {}
    for column in columns:
        yield from column.mistakes()
        if column.name in added:
            yield f"column {column.name!r} is one that the library adds. Give it another name."
        for name in sorted(column.known_names):
            other = means.setdefault(name, column)
            if other is not column:
                yield f"{name!r} means two columns, {other.name} and {column.name}. Leave one out."
        if column.instead and column.instead not in types:
            yield f"column {column.name} has {column.instead!r} instead, which is no column. Name one."
    if len(cluster) > 4:
        yield f"it is clustered by {len(cluster)} columns. BigQuery takes 4 at most."
    for name in cluster:
        if name not in types:
            yield f"it is clustered by {name!r}, which is no column. Use some of {', '.join(types)}."
        elif types[name] == "float64":
            yield f"it is clustered by {name}, a float64. BigQuery clusters by every other type."


def _refused(make: Callable[..., object], *arguments: object) -> bool:
    try:
        make(*arguments)
    except PermanentError:
        return True
    return False
