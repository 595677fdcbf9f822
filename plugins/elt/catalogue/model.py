"""What an entry of the catalogue is made of."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urlsplit

from elt.errors import InvalidDatasetError, InvalidMonthError
from elt.months import Month

Type = Literal["int16", "int32", "int64", "float64", "string", "date", "datetime", "timestamp", "bool"]
Format = Literal["parquet", "csv", "csv.gz", "jsonl", "jsonl.gz", "any"]

ENDINGS: Mapping[str, Format] = {
    "parquet": "parquet",
    "csv": "csv",
    "csv.gz": "csv.gz",
    "jsonl": "jsonl",
    "ndjson": "jsonl",
    "jsonl.gz": "jsonl.gz",
    "ndjson.gz": "jsonl.gz",
}
TABLES = tuple(ENDINGS[ending] for ending in ("parquet", "csv", "csv.gz", "jsonl", "jsonl.gz"))
FORMATS = ", ".join(TABLES)
NAMES = "Put {year} and {month} into the path's last part or into file, and into neither if monthly is False."
BARE = "Describe its columns, or leave table, key, format, cluster, audits and feeds out."
FIRST = "Set first_month if it is monthly, and not if it is not."

# Raise it when conform itself changes what becomes of a raw file: every month is then conformed again.
CONFORM_RULES = 2


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
        """What it is, with its unit."""
        return f"{self.description} ({self.unit})" if self.unit else self.description

    @property
    def known_names(self) -> frozenset[str]:
        """Every name a file may use for this column, in lower case."""
        return frozenset(name.lower() for name in (self.name, *self.aliases))


@dataclass(frozen=True)
class Audit:
    """A rule over a staged month: `sql/audits/<name>.sql`. Only *stop* keeps a month from publishing.

    `words` say which of the dataset's columns stand for the words in the rule's SQL.
    """

    name: str
    severity: Literal["stop", "warn"] = "stop"
    words: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Mart:
    """A table built from published months by `sql/marts/<name>.sql`, whichever datasets feed it.

    Column 1 and 2 are always `dataset` and `source_month`, which say whose rows these are.
    """

    name: str
    title: str
    columns: tuple[Column, ...]
    cluster: tuple[str, ...] = ()


@dataclass(frozen=True)
class Feed:
    """That a dataset feeds a mart, and what of its columns stands for the words in the mart's SQL."""

    mart: str
    words: Mapping[str, str]


@dataclass(frozen=True)
class Dataset:
    """Where a dataset is published, what its rows look like and where they go.

    `path` is below the source's URL, or a URL of its own, with `{year}` and `{month}` when `monthly`.
    Its ending says the format, unless `format` does. `file` is the name in the lake where the path's
    last part is not fit to be one. `key` is the column that no row may lack; in a monthly dataset it
    is the time that says which month a row is of.

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

    def __post_init__(self) -> None:
        for wrong, remedy in self._mistakes():
            raise InvalidDatasetError(f"dataset {self.name}: {wrong}. {remedy}")

    def _mistakes(self) -> list[tuple[str, str]]:
        """Everything that a run would only find out later."""
        monthly = {"{year}", "{month}"} & {part for part in ("{year}", "{month}") if part in self._file}
        checks = (
            (self.monthly == (len(monthly) == 2), "its file names do not tell months apart", NAMES),
            (self.monthly == (self.first_month is not None), "its first month is not clear", FIRST),
            *(self._of_a_table() if self.tabular else self._of_no_table()),
        )
        return [(wrong, remedy) for holds, wrong, remedy in checks if not holds]

    def _of_a_table(self) -> Iterator[tuple[bool, str, str]]:
        keys = [column.type for column in self.columns if column.name == self.key and column.required]
        yield self._format() in TABLES, "its format is not clear", f"Set format to one of {FORMATS}."
        yield len(keys) == 1, f"its key {self.key} is not a required column", "Name one that is."
        yield (
            not self.monthly or not keys or keys[0] in ("datetime", "timestamp"),
            f"its key {self.key} does not say which month a row is of",
            "It has to be a datetime or timestamp.",
        )

    def _of_no_table(self) -> Iterator[tuple[bool, str, str]]:
        bare = not (self.table or self.key or self.format or self.cluster or self.audits or self.feeds)
        yield bare, "it has no columns", BARE

    @property
    def tabular(self) -> bool:
        """Whether its files are tables; others are kept in the lake as they are, and that is all."""
        return bool(self.columns)

    @property
    def in_postgres(self) -> bool:
        """Whether it goes to Postgres."""
        return self.postgres and self.tabular

    @property
    def _file(self) -> str:
        return self.file or urlsplit(self.path).path.rsplit("/", 1)[-1]

    def _format(self) -> str:
        if not self.tabular:
            return self.format or "any"
        endings = {f".{ending}": form for ending, form in ENDINGS.items()}
        told = [form for ending, form in endings.items() if self._file.lower().endswith(ending)]
        return self.format or (told[0] if told else "")

    @property
    def file_format(self) -> Format:
        """How its files are written."""
        form: Format = self._format()  # type: ignore[assignment]
        return form

    @property
    def schema_version(self) -> str:
        """Changes when the same raw file would come out of conform differently."""
        rules = [
            (c.name, c.type, sorted(c.known_names), c.required, str(c.since), str(c.until), c.instead)
            for c in self.columns
        ]
        codes = [sorted((text, str(code)) for text, code in c.codes.items()) for c in self.columns]
        reading = (CONFORM_RULES, self.key, self.file_format, self.delimiter)
        return hashlib.sha256(repr((reading, rules, codes)).encode()).hexdigest()[:12]

    def column(self, name: str) -> Column:
        """The typed column of that name; KeyError if there is none."""
        return next(column for column in self.columns if column.name == name)

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
        return template.replace("{year}", f"{month.year:04}").replace("{month}", f"{month.month:02}")

    def check_month(self, month: Month | None) -> None:
        """Raise InvalidMonthError for a month that this dataset cannot have (None: no month at all)."""
        if self.monthly and month is None:
            raise InvalidMonthError(f"{self.name} is published by month. Give one like {self.first_month}.")
        if not self.monthly and month is not None:
            raise InvalidMonthError(f"{self.name} is one file without months. Leave {month} out.")
        if month and self.first_month and month < self.first_month:
            raise InvalidMonthError(f"{self.name} begins with {self.first_month}; {month} is before that.")
