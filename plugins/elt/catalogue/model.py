"""What an entry of the catalogue is made of.

An entry checks itself when it is made: what Airflow, BigQuery or Postgres would refuse, or a run would only
find out at its end, is an InvalidDatasetError that says what to write instead. What needs other files
(its SQL, other entries) is checked by `elt.catalogue.registry`.
"""

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args
from urllib.parse import urlsplit

from elt import layout
from elt.errors import InvalidDatasetError, InvalidMonthError, PermanentError
from elt.months import Month

Type = Literal["int16", "int32", "int64", "float64", "string", "date", "datetime", "timestamp", "bool"]
Format = Literal["parquet", "csv", "csv.gz", "jsonl", "jsonl.gz", "any"]
Severity = Literal["stop", "warn"]
# What is wrong, and what to write instead.
Mistakes = Iterator[tuple[str, str]]

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

# Raise it when conform itself changes what becomes of a raw file: every month is then conformed again.
CONFORM_RULES = 2

# The columns that the library puts in front: of a dataset by months, and of a mart.
MONTH_COLUMN = "source_month"
MART_COLUMNS = ("dataset", MONTH_COLUMN)
# BigQuery's limit, and the types that it does not cluster by.
_MAX_CLUSTER = 4
_NOT_CLUSTERED = ("float64",)
_URLS = ("http://", "https://")

# BigQuery keeps these for its pseudo-columns.
_RESERVED = ("_table_", "_file_", "_partition", "_row_timestamp", "__root__", "_colidentifier", "_change_")
# Every table of Postgres has these already.
_SYSTEM_COLUMNS = ("tableoid", "xmin", "cmin", "xmax", "cmax", "ctid")
# What Airflow takes for a DAG id, which a name begins; 250 characters with what the library appends.
_AIRFLOW_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,199}", re.ASCII)
# What is left of Postgres' 63 bytes for the name and the table of a dataset by months.
ROOM_FOR_NAME, ROOM_FOR_TABLE = 36, 35
_CONNECTION = re.compile(r"[a-z][a-z0-9_]*", re.ASCII)


@dataclass(frozen=True)
class Publisher:
    """Whose files they are: an Airflow HTTP connection, and where the files are when there is none.

    The connection (`AIRFLOW_CONN_<ID>`) may name another host, and has the login or the headers that the
    publisher wants; `base_url` is public.
    """

    connection: str
    base_url: str

    def __post_init__(self) -> None:
        if not _CONNECTION.fullmatch(self.connection):
            raise InvalidDatasetError(
                f"publisher {self.connection!r} cannot be a connection's id. Use a-z, 0-9 and _."
            )
        if not self.base_url.startswith(_URLS):
            raise InvalidDatasetError(
                f"publisher {self.connection}: {self.base_url!r} is not a URL. "
                "Write it like https://example.com."
            )


@dataclass(frozen=True)
class Column:
    """One column of the typed schema.

    `aliases` are the names files have used for it, compared without regard to case; its own name
    is one of them. `codes` say what a text in a file stands for (in lower case; what is not among
    them stands for itself).

    A file without a required column is refused, without another one it gets nulls. What is required
    is so in files of the months from `since` to `until`, and not beside a column that stands in for it
    (`instead`).
    """

    name: str
    type: Type
    description: str
    unit: str = ""
    aliases: tuple[str, ...] = ()
    required: bool = True
    since: Month | None = None
    until: Month | None = None
    instead: str = ""
    codes: Mapping[str, str | int | None] = field(default_factory=dict)

    def required_in(self, month: Month | None) -> bool:
        """Whether a file of that month must have it, unless it has what stands in for it."""
        if month is None:
            return self.required
        begun = self.since is None or self.since <= month
        return self.required and begun and (self.until is None or month <= self.until)

    @property
    def described(self) -> str:
        """Its description as stores keep it, the unit in brackets."""
        return f"{self.description} ({self.unit})" if self.unit else self.description

    @property
    def known_names(self) -> frozenset[str]:
        """Every name a file may use for this column, in lower case."""
        return frozenset(name.lower() for name in (self.name, *self.aliases))

    def mistakes(self) -> Mistakes:
        """What the stores would refuse of it, and what contradicts itself."""
        this = f"column {self.name!r}"
        if _refused(layout.identifier, self.name):
            yield f"{this} is no name for a column", "Use up to 63 of a-z, 0-9 and _, no digit first."
        elif self.name in _SYSTEM_COLUMNS or self.name.startswith(_RESERVED):
            remedy = f'Call it {self.name.strip("_")}_ and add aliases=("{self.name}",).'
            yield f"{this} has a name that BigQuery or Postgres keeps for itself", remedy
        if self.type not in get_args(Type):
            yield f"{this} has the unknown type {self.type!r}", f"Use one of {', '.join(get_args(Type))}."
        if self.since and self.until and self.until < self.since:
            yield f"{this} ends in {self.until}, before {self.since}", "Correct since or until."
        for text in self.codes:
            if text != text.strip().lower():
                yield f"{this}: no file's text is ever {text!r}", "Write codes in lower case, without spaces."


@dataclass(frozen=True)
class Audit:
    """A rule over a staged month: `sql/audits/<name>.sql`. Only *stop* keeps a month from publishing.

    The file is looked up in the entry's own package, then in the library, then in the other packages.
    `variables` are the template variables in it, besides those that every audit is given (GIVEN_TO_AUDITS).
    """

    name: str
    severity: Severity = "stop"
    variables: Mapping[str, str] = field(default_factory=dict)


# The staged month, what was published before it, and its columns: in backquotes, so that they may be called
# like keywords; `key_name` is without, for texts.
GIVEN_TO_AUDITS = ("staging", "table", "key", "key_name", "columns", "null_shares")

# What every dataset by months should pass. Whoever needs another limit writes an audit of his own.
MONTHLY = (
    Audit("row_count"),
    Audit("key_present"),
    Audit("inside_month"),
    Audit("quarantine_share", "warn"),
    Audit("null_share", "warn"),
)


@dataclass(frozen=True)
class Preview:
    """Which rows of a mart are worth showing first: columns of its view, and terms of ORDER BY."""

    columns: tuple[str, ...]
    order: tuple[str, ...]


@dataclass(frozen=True)
class Mart:
    """A table built from published months by `sql/marts/<name>.sql`, whichever datasets feed it.

    Column 1 and 2 are always `dataset` and `source_month`, which say whose rows these are. People read it
    through a view, `sql/views/<name>.sql`, in which `lookups` are other datasets to join, each under its
    name (`${zones}`). In Postgres the view reads `sql/postgres/<name>.sql` in place of the table.
    """

    name: str
    title: str
    columns: tuple[Column, ...]
    cluster: tuple[str, ...] = ()
    lookups: tuple[str, ...] = ()
    preview: Preview | None = None

    def __post_init__(self) -> None:
        _raise_first(f"mart {self.name}", self._mistakes())

    def _mistakes(self) -> Mistakes:
        if _refused(layout.identifier, self.name) or _refused(layout.mart_table, self.name):
            yield f"{self.name!r} is no name for a table", "Use up to 58 of a-z, 0-9 and _, no digit first."
        if self.name in layout.OWN_TABLES:
            yield f"{self.name} is a table of the library's own", "Give it another name."
        if "mart" in self.lookups:
            yield "its lookup 'mart' would be ${mart}, which is the mart itself", "Rename that dataset."
        yield from _in_columns(self.columns, self.cluster, MART_COLUMNS)


@dataclass(frozen=True)
class Feed:
    """That a dataset feeds a mart, and what of its columns stands for the variables in the mart's SQL."""

    mart: str
    variables: Mapping[str, str]


@dataclass(frozen=True)
class Dataset:
    """Where a dataset is published, what its rows look like and where they go.

    `path` is below the URL of its `source`, or a URL of its own, with `{year}` and `{month}` when `monthly`.
    Its extension says the format, unless `format` does. `file` is the name in the lake where the path's
    last part is not fit to be one. `key` is the column that no row may lack; in a monthly dataset it
    is the time that says which month a row is of. A new platform is filled with the datasets that are
    `starter`. `package` is where the entry was found; the registry sets it.

    Files that are no tables have neither columns nor what says something of columns: they are kept in
    the lake as they are.

    InvalidDatasetError says what does not fit together.
    """

    name: str
    title: str
    path: str
    table: str = ""
    key: str = ""
    columns: tuple[Column, ...] = ()
    format: Format | None = None
    file: str = ""
    delimiter: str = ","
    monthly: bool = True
    first_month: Month | None = None
    lag_months: int = 0
    cluster: tuple[str, ...] = ()
    audits: tuple[Audit, ...] = ()
    feeds: tuple[Feed, ...] = ()
    postgres: bool = True
    source: Publisher | None = field(default=None, kw_only=True)
    starter: bool = field(default=False, kw_only=True)
    package: str = field(default="", kw_only=True, compare=False)

    def __post_init__(self) -> None:
        _raise_first(f"dataset {self.name}", self._mistakes())

    def _mistakes(self) -> Mistakes:
        """Everything that a run would only find out later; names first, because the rest is about them."""
        if not _AIRFLOW_NAME.fullmatch(self.name):
            remedy = f"Use up to {ROOM_FOR_NAME} of a-z, 0-9 and _, a letter first."
            yield f"its name {self.name!r} cannot be part of a DAG's", remedy
        if sum(part in self._file for part in ("{year}", "{month}")) != (2 if self.monthly else 0):
            yield (
                "its file names do not tell months apart",
                "Put {year} and {month} into the path's last part or into file, "
                "and into neither if monthly is False.",
            )
        if self.monthly != (self.first_month is not None):
            yield "its first month is not clear", "Set first_month if it is monthly, and not if it is not."
        yield from self._of_a_table() if self.tabular else self._of_no_table()

    def _of_a_table(self) -> Mistakes:
        if self._format() not in TABULAR_FORMATS:
            yield "its format is not clear", f"Set format to one of {', '.join(TABULAR_FORMATS)}."
        if len(self.delimiter) != 1:
            yield f"its delimiter {self.delimiter!r} is not one character", 'Write it like delimiter=";".'
        yield from self._in_names()
        yield from _in_columns(self.columns, self.cluster, (MONTH_COLUMN,) if self.monthly else ())
        keys = [column for column in self.columns if column.name == self.key and column.required]
        if len(keys) != 1:
            yield f"its key {self.key} is not a required column", "Name one that is."
        elif self.monthly and keys[0].type not in ("datetime", "timestamp"):
            remedy = "It has to be a datetime or timestamp."
            yield f"its key {self.key} does not say which month a row is of", remedy
        marts = [feed.mart for feed in self.feeds]
        if marts and not self.monthly:
            yield "it has no months, by which marts are kept", "Leave feeds out, or set monthly=True."
        if len(marts) > len(set(marts)):
            yield f"it feeds a mart twice ({', '.join(marts)})", "Leave one of the feeds out."
        for audit in self.audits:
            if audit.severity not in get_args(Severity):
                yield f"its audit {audit.name} has the severity {audit.severity!r}", 'Use "stop" or "warn".'

    def _in_names(self) -> Mistakes:
        """Names of tables, or a part of them. The layout adds to both, and Postgres cuts at 63 bytes."""
        remedy = "Use up to {} of a-z, 0-9 and _, a letter first."
        month = self.first_month
        if _refused(layout.identifier, self.name) or _refused(layout.staging_table, self, month, ""):
            yield f"its name {self.name!r} cannot be part of a table's", remedy.format(ROOM_FOR_NAME)
        if _refused(layout.identifier, self.table) or _refused(layout.incoming_table, self, month, ""):
            yield f"its table {self.table!r} is no name for one", remedy.format(ROOM_FOR_TABLE)
        if self.table in layout.OWN_TABLES:
            yield f"its table {self.table} is one of the library's own", "Give it another name."

    def _of_no_table(self) -> Mistakes:
        if self.table or self.key or self.format or self.cluster or self.audits or self.feeds:
            remedy = "Describe its columns, or leave table, key, format, cluster, audits and feeds out."
            yield "it has no columns", remedy

    @property
    def tabular(self) -> bool:
        """Whether its files are tables; others are kept in the lake as they are, and that is all."""
        return bool(self.columns)

    @property
    def in_postgres(self) -> bool:
        """Whether it goes to Postgres; what is no table never does."""
        return self.postgres and self.tabular

    @property
    def _file(self) -> str:
        return self.file or urlsplit(self.path).path.rsplit("/", 1)[-1]

    def _format(self) -> str:
        if self.format or not self.tabular:
            return self.format or "any"
        name = self._file.lower()
        return next((form for ext, form in EXTENSIONS.items() if name.endswith(f".{ext}")), "")

    @property
    def file_format(self) -> Format:
        """How its files are written: as `format` says, else by their extension."""
        form: Format = self._format()  # type: ignore[assignment]
        return form

    @property
    def schema_version(self) -> str:
        """Changes when the same raw file would come out of conform differently."""
        # Typed files in users' lakes carry it: whatever is added here makes all of them be conformed again.
        rules = [
            (c.name, c.type, sorted(c.known_names), c.required, str(c.since), str(c.until), c.instead)
            for c in self.columns
        ]
        codes = [sorted((text, str(code)) for text, code in c.codes.items()) for c in self.columns]
        reading = (CONFORM_RULES, self.key, self.file_format, self.delimiter)
        return hashlib.sha256(repr((reading, rules, codes)).encode()).hexdigest()[:12]

    def column(self, name: str) -> Column:
        """The typed column of that name; KeyError if there is none."""
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(name)

    def url(self, month: Month | None, base_url: str = "") -> str:
        """Address of a month's file; `base_url` is the source connection's, where there is one.

        InvalidMonthError outside the dataset's months, InvalidDatasetError for a path below no source.
        """
        self.check_source()
        path, default = self.source_path(month), self.source.base_url if self.source else ""
        return path if path.startswith(_URLS) else (base_url or default).rstrip("/") + path

    def check_source(self) -> None:
        """Raise InvalidDatasetError where path and source make no URL."""
        if not self.path.startswith(_URLS) and not (self.source and self.path.startswith("/")):
            raise InvalidDatasetError(
                f"dataset {self.name}: its path {self.path!r} is no URL. "
                "Write the whole URL, or set source and begin the path with /."
            )

    def source_path(self, month: Month | None) -> str:
        """Path of a month's file below the source's URL, or its own URL.

        InvalidMonthError outside the dataset's months.
        """
        return self._of(self.path, month)

    def file_name(self, month: Month | None) -> str:
        """Name of a month's file in the lake: as published, if that is a name."""
        return self._of(self._file, month)

    def _of(self, template: str, month: Month | None) -> str:
        self.check_month(month)
        if month is None:
            return template
        # Not str.format: a URL may have other braces in it.
        return template.replace("{year}", f"{month.year:04}").replace("{month}", f"{month.month:02}")

    def check_month(self, month: Month | None) -> None:
        """Raise InvalidMonthError for a month that this dataset cannot have (None: no month at all)."""
        if self.monthly and month is None:
            raise InvalidMonthError(f"{self.name} is published by month. Give one like {self.first_month}.")
        if not self.monthly and month is not None:
            raise InvalidMonthError(f"{self.name} is one file without months. Leave {month} out.")
        if month and self.first_month and month < self.first_month:
            raise InvalidMonthError(f"{self.name} begins with {self.first_month}; {month} is before that.")


def _in_columns(columns: tuple[Column, ...], cluster: tuple[str, ...], added: tuple[str, ...]) -> Mistakes:
    """What is wrong with a table's columns; `added` are those that the library puts in front."""
    types = {column.name: column.type for column in columns}
    # BigQuery's columns are the same whatever their case, and so are files' names for them.
    means: dict[str, Column] = {}
    for column in columns:
        yield from column.mistakes()
        if column.name in added:
            yield f"column {column.name!r} is one that the library adds", "Give it another name."
        for name in sorted(column.known_names):
            other = means.setdefault(name, column)
            if other is not column:
                yield f"{name!r} means two columns, {other.name} and {column.name}", "Leave one out."
        if column.instead and column.instead not in types:
            yield f"column {column.name} has {column.instead!r} instead, which is no column", "Name one."
    if len(cluster) > _MAX_CLUSTER:
        yield f"it is clustered by {len(cluster)} columns", f"BigQuery takes {_MAX_CLUSTER} at most."
    for name in cluster:
        if name not in types:
            yield f"it is clustered by {name!r}, which is no column", f"Use some of {', '.join(types)}."
        elif types[name] in _NOT_CLUSTERED:
            yield f"it is clustered by {name}, a {types[name]}", "BigQuery clusters by every other type."


def _refused(make: Callable[..., object], *arguments: object) -> bool:
    try:
        make(*arguments)
    except PermanentError:
        return True
    return False


def _raise_first(entry: str, mistakes: Mistakes) -> None:
    for wrong, remedy in mistakes:
        raise InvalidDatasetError(f"{entry}: {wrong}. {remedy}")
