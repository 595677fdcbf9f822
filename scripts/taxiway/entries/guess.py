"""From a file to an entry: what can be seen is guessed and said, the rest is asked."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlsplit

from elt.catalogue import STANDARD_AUDITS, Audit, Column, Database, Dataset, Publisher, Type
from elt.catalogue.model import PERIOD_COLUMNS, ROOM_FOR_TABLE, Format
from elt.conforming.stream import Split
from elt.connection_fields import ConnectionFields
from elt.connections import GOOGLE, EnvironmentConnections, fields_in, variable_of
from elt.errors import PipelineError
from elt.periods import Period
from elt.sources import Place, base_of, reach
from taxiway.entries.address import Found, file_part, find_time, format_of, local
from taxiway.entries.columns import (
    TEMPORAL,
    Bounds,
    Profile,
    Seen,
    check_type,
    column_for,
    convertible,
    described,
    look,
    remarks,
    why_text,
)
from taxiway.entries.sample import Sample
from taxiway.errors import TaxiwayError, UsageError

Ask = Callable[[str, Sequence[str], str], str]
"""Asks a question that has these answers and a default; returns an answer."""

# Who serves a folder of this machine gets this address, unless another is given.
LOCAL_URL = "http://127.0.0.1:8000"
NONE = "none"
_IDENTIFIERS = ("id", "code", "key", "nr", "no", "number", "uuid")


@dataclass(frozen=True)
class Wanted:
    """What the user has said: it is not guessed, and not asked. `url` is where a local file is published."""

    name: str
    key: str = ""
    every: str = ""
    types: Mapping[str, str] = field(default_factory=dict)
    delimiter: str = ""
    format: Format | None = None
    url: str = ""
    connection: str = ""


@dataclass(frozen=True)
class Guess:
    """An entry, what to write beside it, and what to tell the user: `notes` are about the guesses made."""

    dataset: Dataset
    period: Period | None
    about: Sequence[str]
    comments: Mapping[str, Sequence[str]]
    notes: Sequence[str]


def connection_of(connection: str, variables: Mapping[str, str]) -> ConnectionFields:
    """The fields of an Airflow connection that is named; UsageError where it is not set."""
    found = fields_in(variables, connection)
    if found is None:
        raise UsageError(
            f"{variable_of(connection)} is not set, and --connection {connection} is to be used",
            'Set it like {"conn_type": "http", "host": "https://example.com", "login": "me"}.',
        )
    return found


def place(address: str, wanted: Wanted, variables: Mapping[str, str]) -> Place:
    """What reads a publisher's file, with what an Airflow connection has for it, if one is named."""
    connection = wanted.connection
    found = connection_of(connection, variables) if connection else None
    if address.startswith("sftp://") and not connection:
        raise UsageError("an SFTP server wants a login", "Name the connection that has it: --connection ID.")
    if local(address):
        address = LOCAL_URL
    # As the entry will have it: an SFTP connection may name another host.
    dataset = Dataset("sample", "Sample", **_address(address, None, wanted, ""))
    google = EnvironmentConnections(variables).storage_client
    is_http = address.startswith(("http://", "https://"))
    base = address if is_http else base_of(dataset, found)
    return reach(base, found, lambda: google(connection or GOOGLE))


def guess(sample: Sample, address: str, wanted: Wanted, ask: Ask) -> Guess:
    """Make an entry of a file.

    elt.errors.PipelineError for a file that cannot be read, UsageError for a wish that the file contradicts.
    """
    published = _published(address, wanted)
    found = _time(published, wanted)
    if sample.format == "any":
        return _of_any_file(published, found, wanted)
    seen = look(sample, _bounds(found))
    if not seen.rows:
        raise TaxiwayError(
            f"{sample.name} has no rows{f', and {seen.broken:,} lines that are none' if seen.broken else ''}",
            "Name a file with rows; --format and --delimiter say how to read it.",
        )
    return _Table(sample, published, published != address, wanted, ask, seen, found).guess()


def guess_table(sample: Sample, source: Database, period: Period | None, wanted: Wanted, ask: Ask) -> Guess:
    """Make an entry of a table of a database; `period` is of its first rows, if they are to have one."""
    found = Found("", period) if period else None
    seen = look(sample, _bounds(found))
    return _Table(sample, "", False, wanted, ask, seen, found, source).guess()


def _published(address: str, wanted: Wanted) -> str:
    path = local(address)
    return address if path is None else wanted.url or f"{LOCAL_URL}/{path.name}"


def _time(published: str, wanted: Wanted) -> Found | None:
    """The time in the address, as far as the user wants one."""
    if wanted.every == NONE:
        return None
    found = find_time(published, wanted.every or None)  # type: ignore[arg-type]
    if wanted.every and (found is None or found.period.grain != wanted.every):
        raise UsageError(
            f"{published} has no {wanted.every} in it, so files cannot be told apart by it",
            "Leave --every out, or name a file that has it, such as bikes_2024-01.csv.",
        )
    return found


def _bounds(found: Found | None) -> Bounds | None:
    return (found.period.start, found.period.end) if found else None


def _of_any_file(published: str, found: Found | None, wanted: Wanted) -> Guess:
    address = _address(published, found, wanted, "")
    dataset = Dataset(wanted.name, title(wanted.name), first=found.period if found else None, **address)
    about = ["No table that can be read: its files are kept in the lake as they are, and nothing else."]
    return Guess(dataset, found.period if found else None, about, {}, [about[0]])


def title(name: str) -> str:
    """A name as a title."""
    return described(name, name).rstrip(".")


def _address(published: str, found: Found | None, wanted: Wanted, extension: str) -> dict[str, Any]:
    """The fields `path`, `file` and `source`."""
    template = found.template if found else published
    given: dict[str, Any] = {"path": template}
    if wanted.connection:
        parts = urlsplit(template)
        base = f"{parts.scheme}://{parts.netloc}"
        given = {"path": template[len(base) :] or "/", "source": Publisher(wanted.connection, base)}
    last, variables = file_part(template), re.findall(r"\{(?:year|month|day|hour)\}", template)
    if "." not in last or any(variable not in last for variable in variables):
        stem = "-".join(dict.fromkeys(variables))
        kind = extension or (last.rpartition(".")[2] if "." in last else "bin")
        given["file"] = f"{wanted.name}{'_' if stem else ''}{stem}.{kind}"
    return given


@dataclass
class _Table:
    """The guesses about one file of rows."""

    sample: Sample
    published: str
    is_local: bool
    wanted: Wanted
    ask: Ask
    seen: Seen
    found: Found | None
    source: Database | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def period(self) -> Period | None:
        """The partition that the file is."""
        return self.found.period if self.found else None

    def guess(self) -> Guess:
        columns, comments = self._columns()
        key = self._key(columns)
        if self.found and key not in self._moments(columns):
            self.notes.append(
                f"No column says which {self.found.period.grain} a row is of: this is one file, not a series."
            )
            self.found = None
        columns = {name: self._as_key(column) if name == key else column for name, column in columns.items()}
        extension = {"csv.gz": "csv.gz", "jsonl.gz": "jsonl.gz"}.get(self.sample.format, self.sample.format)
        address = self._place(extension)
        file = str(address.get("file") or file_part(str(address.get("path", ""))))
        is_told = self.source or format_of(file) == (self.sample.format, "")
        dataset = Dataset(
            self.wanted.name,
            title(self.wanted.name),
            table=self.wanted.name[:ROOM_FOR_TABLE],
            key=key,
            columns=tuple(columns.values()),
            format=None if is_told else self.sample.format,
            delimiter=self.sample.delimiter,
            audits=self._audits(key, columns),
            **address,
            first=self.period,
        )
        comments |= self._field_comments(key, columns)
        return Guess(dataset, self.period, self._about(dataset), comments, self.notes)

    def _place(self, extension: str) -> dict[str, Any]:
        """The fields that say where it is."""
        if self.source:
            return {"source": self.source}
        return _address(self.published, self.found, self.wanted, extension)

    def _columns(self) -> tuple[dict[str, Column], dict[str, Sequence[str]]]:
        """The columns by name, and what was seen in each."""
        columns: dict[str, Column] = {}
        comments: dict[str, Sequence[str]] = {}
        taken = {PERIOD_COLUMNS[self.found.period.grain]} if self.found else set[str]()
        types = {name.strip().lower(): name for name in self.wanted.types}
        left_out = [f"{name} (several columns are called so)" for name in self.seen.left_out]
        for number, profile in enumerate(self.seen.profiles, 1):
            if not convertible(profile.declared):
                left_out.append(f"{profile.name} ({profile.declared})")
                continue
            # Neither the name of another column, nor one that another has in the file.
            others = {profile.name.strip().lower() for profile in self.seen.profiles} - {
                profile.name.strip().lower()
            }
            column = column_for(profile, number, {*columns, *taken, *others})
            asked = types.pop(column.name, None) or types.pop(profile.name.strip().lower(), None)
            if asked:
                column = replace(column, type=check_type(self.wanted.types[asked], f"--type {asked}"))
            columns[column.name] = column
            comments[f"columns.{column.name}"] = ["; ".join(remarks(profile, column))]
            self.notes += [f"{column.name} is text: {why}." for why in why_text(profile, column)]
        if types:
            raise UsageError(
                f"{', '.join(types.values())} is no column of {self.sample.name}",
                f"It has {', '.join(columns)}.",
            )
        if left_out:
            comments[""] = [f"Left out: {', '.join(left_out)}."]
            self.notes.append(f"Left out: {', '.join(left_out)}.")
        if not columns:
            raise TaxiwayError(
                f"{self.sample.name} has no column that can be read", f"Of them: {', '.join(left_out)}."
            )
        return columns, comments

    def _profiles(self, columns: Mapping[str, Column]) -> dict[str, Profile]:
        known = [profile for profile in self.seen.profiles if convertible(profile.declared)]
        return dict(zip(columns, known, strict=True))

    def _moments(self, columns: Mapping[str, Column]) -> dict[str, float]:
        """The columns that can say when a row is of, and which share of the rows is of the file's period."""
        profiles = self._profiles(columns)
        return {
            name: profiles[name].inside[column.type] / max(profiles[name].rows, 1)
            for name, column in columns.items()
            if column.type in TEMPORAL
        }

    def _key(self, columns: Mapping[str, Column]) -> str:
        if self.wanted.key:
            found = [c.name for c in columns.values() if self.wanted.key.strip().lower() in c.known_names]
            if not found:
                raise UsageError(f"--key {self.wanted.key} is no column", f"Use one of {', '.join(columns)}.")
            if self.found and found[0] not in self._moments(columns):
                raise UsageError(
                    f"--key {found[0]} is a {columns[found[0]].type}, which does not say when a row is of",
                    "Name a column of dates or times, or add --every none.",
                )
            return found[0]
        return self._time_key(columns) if self.found and self._moments(columns) else self._row_key(columns)

    def _time_key(self, columns: Mapping[str, Column]) -> str:
        """The time that lies in the file's period; asked for if there are several, or none."""
        shares = self._moments(columns)
        order = sorted(shares, key=lambda name: -shares[name])
        close = [name for name in order if shares[name] > 0.5 and shares[name] >= shares[order[0]] - 0.01]
        if len(close) == 1:
            return close[0]
        grain = self.found.period.grain if self.found else ""
        if close:
            # Of two that are as good, the first in the file: where something begins comes before its end.
            close.sort(key=list(columns).index)
            return self.ask(f"Which column says which {grain} a row is of?", close, close[0])
        return self.ask(
            f"No time lies in the {grain} of the file's name. Which column decides?", order, order[0]
        )

    def _row_key(self, columns: Mapping[str, Column]) -> str:
        """The column that tells rows apart; of a file without one, the first that no row lacks."""
        profiles = self._profiles(columns)
        unique = [name for name in columns if profiles[name].is_unique and columns[name].type != "float64"]
        named = [name for name in unique if name.split("_")[-1] in _IDENTIFIERS]
        full = [name for name in columns if not profiles[name].nulls]
        if not (named or unique or full):
            return self.ask(
                "Every column is empty in some rows. Which one may no row lack?",
                list(columns),
                next(iter(columns)),
            )
        if not (named or unique):
            self.notes.append(
                f"No column tells all rows apart: the key is {full[0]}, which none of them lacks."
            )
        return (named or unique or full)[0]

    def _as_key(self, column: Column) -> Column:
        """The key's column: never missing, and a moment where it decides of which hour a row is."""
        by_hour = self.found is not None and self.found.period.grain == "hour"
        kind: Type = "datetime" if by_hour and column.type == "date" else column.type
        return replace(column, type=kind, required=True)

    def _audits(self, key: str, columns: Mapping[str, Column]) -> tuple[Audit, ...]:
        if self.found:
            return STANDARD_AUDITS
        audits = (Audit("row_count"), Audit("key_present"))
        return (*audits, Audit("key_unique")) if self._profiles(columns)[key].is_unique else audits

    def _field_comments(self, key: str, columns: Mapping[str, Column]) -> dict[str, Sequence[str]]:
        comments: dict[str, Sequence[str]] = {}
        if self.is_local and not self.wanted.url:
            comments["path"] = ["A file of this machine was looked at: serve it here, or correct this."]
        if self.found:
            profile = self._profiles(columns)[key]
            kind = "datetime" if profile.type == "date" else profile.type
            inside = profile.inside[profile.type] or profile.inside[kind]
            comments["key"] = [f"{inside:,} of {profile.rows:,} rows are of {self.period} by it."]
            of_file = "The file that was looked at: there may be earlier ones."
            comments["first"] = ["The earliest row's." if self.source else of_file]
        return comments

    def _about(self, ds: Dataset) -> list[str]:
        """What was looked at, and how much of it conform takes."""
        seen, of = (
            self.seen.rows + self.seen.broken,
            "" if self.sample.whole else f", the beginning of the {'table' if self.source else 'file'}",
        )
        about = f"Inferred by scripts/new from {self.sample.name}: {seen:,} rows{of}."
        checked = replace(ds, format=None if self.source else self.sample.plain)
        self.sample.content.seek(0)
        try:
            with Split(self.sample.content, checked, self.period) as parts:
                for _ in parts:
                    if (
                        self.sample.most_rows is not None
                        and parts.rows + parts.quarantined >= self.sample.most_rows
                    ):
                        break
        except PipelineError as error:
            if self.sample.whole:
                self.notes.append(f"Conform refuses it: {error}")
            return [about]
        if parts.quarantined:
            left = f"For quarantine: {parts.quarantined:,}; the first: {parts.first_reason}"
            self.notes.append(left)
            return [f"{about} {left}."]
        return [f"{about} All of them fit."]
