"""What an address says about a dataset: the time in it, the name and format of its files; and no secret."""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from elt.catalogue.model import ADDRESSES, EXTENSIONS, PARTS, Format
from elt.periods import KINDS, Grain, Period
from taxiway.errors import UsageError

GRAINS: tuple[Grain, ...] = ("hour", "day", "month", "year")

# Years that files are of: four digits are often something else.
_YEAR, _MONTH, _DAY, _HOUR = (
    r"(19\d\d|20\d\d)",
    r"(0[1-9]|1[0-2])",
    r"(0[1-9]|[12]\d|3[01])",
    r"([01]\d|2[0-3])",
)
# One separator for all of a date, or folders like 2024/01 and year=2024/month=01; digits beside a time would
# make another number of it.
_TIMES = tuple(
    re.compile(rf"(?<!\d){pattern}(?!\d)")
    for pattern in (
        rf"{_YEAR}([-_./]?|[/_-](?:month|m)=){_MONTH}(\2|[/_-](?:day|d)=){_DAY}([-_./T]?|[/_-](?:hour|h)=){_HOUR}",
        rf"{_YEAR}([-_./]?|[/_-](?:month|m)=){_MONTH}(\2|[/_-](?:day|d)=){_DAY}",
        rf"{_YEAR}([-_./]?|[/_-](?:month|m)=){_MONTH}",
        _YEAR,
    )
)
_SECRETS = re.compile(
    r"(?i)(^|[_.-])(token|secret|sig|signature|pass|passwd|password|pwd|auth|authorization|credentials?|sas)$"
    r"|api-?_?key|access-?_?key|x-(amz|goog)-"
)


@dataclass(frozen=True)
class Found:
    """An address with its time taken out: `template` has `{year}` and so on where `period` was."""

    template: str
    period: Period


def check_secrets(url: str) -> None:
    """Raise UsageError for a password or token in a URL: the entry is a file that is committed."""
    parts = urlsplit(url)
    names = [name for name, value in parse_qsl(parts.query) if value and _SECRETS.search(name)]
    if "@" not in parts.netloc and not names:
        return
    what = f"{', '.join(sorted(set(names)))} in its query" if names else "a user or password"
    raise UsageError(
        f"the address has {what}, and an entry holds no secrets",
        "Put login, or headers, into an Airflow connection (AIRFLOW_CONN_MY_SOURCE), then call this with the "
        "address alone and --connection my_source.",
    )


def find_time(address: str, grain: Grain | None = None) -> Found | None:
    """Find the finest time in an address, the last one if there are several; None if there is none.

    With a `grain` finer parts stay as they are: what is published by month may be called 2024-01-01. Coarser
    times that are the same are replaced, too: `/2024/bikes_2024-01.csv`.
    """
    host, text = _split(address)
    for level, pattern in enumerate(_TIMES):
        found = [(match, moment) for match in pattern.finditer(text) if (moment := _moment(match))]
        if not found:
            continue
        match, moment = found[-1]
        kept = max(level, GRAINS.index(grain) if grain else 0)
        text = text[: match.start()] + _written(match, 4 - kept) + text[match.end() :]
        return Found(host + _coarser(text, moment, kept), KINDS[GRAINS[kept]].of(moment))
    return None


def _split(address: str) -> tuple[str, str]:
    """What is searched for no time, the host or a local folder, and what is."""
    found = re.match(r"[a-z][a-z0-9+.-]*://[^/]*", address, re.IGNORECASE)
    cut = found.end() if found else address.rfind("/") + 1
    return address[:cut], address[cut:]


def _moment(match: re.Match[str]) -> dt.datetime | None:
    values = [int(value) for value in match.groups()[::2]]
    try:
        return dt.datetime(*values, *(1, 1)[len(values) - 1 :])  # type: ignore[arg-type]  # noqa: DTZ001
    except ValueError:
        return None


def _written(match: re.Match[str], parts: int) -> str:
    """A time with variables for so many of its parts."""
    values, gaps = match.groups()[::2], (*match.groups()[1::2], "")
    shown = (*PARTS[:parts], *values[parts:])
    return "".join(name + gap for name, gap in zip(shown[: len(values)], gaps, strict=True))


def _coarser(text: str, moment: dt.datetime, level: int) -> str:
    for lower in range(level, 4):
        same = KINDS[GRAINS[lower]].of(moment).start
        text = _TIMES[lower].sub(lambda m, same=same: _written(m, 4) if _moment(m) == same else m[0], text)  # type: ignore[misc]
    return text


def file_part(address: str) -> str:
    """The last part of a path or URL, without query."""
    return (urlsplit(address).path if "://" in address else address).rsplit("/", 1)[-1]


def format_of(name: str) -> tuple[Format | None, str]:
    """The format that a file's name tells, and the delimiter that goes with it; ("" where none does)."""
    lower = name.lower()
    for extension, form in EXTENSIONS.items():
        if lower.endswith(f".{extension}"):
            return form, ""
    for extension in (".tsv", ".tab"):
        if lower.endswith((extension, f"{extension}.gz")):
            return ("csv.gz" if lower.endswith(".gz") else "csv"), "\t"
    return None, ""


def local(address: str) -> Path | None:
    """The file of this machine that is meant; None for a URL."""
    if found := re.match(r"([a-z][a-z0-9+.-]+)://", address, re.IGNORECASE):
        if found[0].lower() in ADDRESSES:
            return None
        raise UsageError(
            f"{found[0]} is nothing that can be looked at here", f"Use one of {', '.join(ADDRESSES)}."
        )
    path = Path(address).expanduser()
    if not path.is_file():
        raise UsageError(
            f"{address} is no file and no URL", "Name a file, or a URL like https://example.com/a.csv."
        )
    return path
