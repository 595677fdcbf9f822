"""An entry as the Python that a user would write: what `ruff format` leaves as it is, in 110 columns."""

from __future__ import annotations

import re
import textwrap
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any

from elt.catalogue import (
    STANDARD_AUDITS,
    Api,
    Audit,
    Column,
    Cursor,
    Database,
    Dataset,
    Feed,
    NextLink,
    Offset,
    PageNumber,
    Publisher,
)

WIDTH = 110
_INDENT = "    "
# Arguments that every entry gives by position.
_BY_POSITION = {
    Column: 3,
    Audit: 1,
    Feed: 2,
    Publisher: 2,
    Api: 2,
    Database: 1,
    NextLink: 1,
    Cursor: 2,
    PageNumber: 0,
    Offset: 0,
}
# Made by the registry.
_NOT_WRITTEN = ("package",)


def module(
    ds: Dataset, about: Sequence[str] = (), comments: Mapping[str, Sequence[str]] | None = None
) -> str:
    """The file of one entry: `about` goes into its docstring, `comments` above fields and columns by name."""
    body = _dataset(ds, comments or {})
    periods = (ds.first, *(each for column in ds.columns for each in (column.since, column.until)))
    paging = getattr(ds.source, "paging", None)
    audits = (
        ds.audits[len(STANDARD_AUDITS) :]
        if ds.audits[: len(STANDARD_AUDITS)] == STANDARD_AUDITS
        else ds.audits
    )
    used = {
        "STANDARD_AUDITS": audits != ds.audits,
        "Audit": bool(audits),
        "Column": bool(ds.columns),
        "Dataset": True,
        "Feed": bool(ds.feeds),
    } | {type(each).__name__: True for each in (*periods, ds.source, paging) if each}
    # A constant first, then classes, as ruff sorts them.
    names = sorted(
        (name for name, is_used in used.items() if is_used), key=lambda name: (not name.isupper(), name)
    )
    head = f"from elt.catalogue import {', '.join(names)}"
    return f"{_docstring(ds, about)}\n\n{head}\n\n{ds.name.upper()} = {body}\n"


def _docstring(ds: Dataset, about: Sequence[str]) -> str:
    def written(text: str) -> str:
        # Nothing that ends a docstring, or needs a raw one.
        plain = "".join(c if _is_plain(c) else "?" for c in " ".join(text.split()))
        return plain.replace("\\", "/").replace('"""', "'''")

    title = written(ds.title.rstrip("."))
    paragraphs = [textwrap.fill(written(each), WIDTH) for each in about]
    return '"""' + "\n\n".join([f"{title}.", *paragraphs]) + ('\n"""' if about else '"""')


def _dataset(ds: Dataset, comments: Mapping[str, Sequence[str]]) -> str:
    """Every field that is not its default, each on a line of its own."""
    lines = ["Dataset("]
    for each in sorted(fields(ds), key=lambda each: each.name == "columns"):
        value = getattr(ds, each.name)
        if each.name in _NOT_WRITTEN or value == each.default:
            continue
        lines += _comment(comments.get(each.name, ()), 1)
        if each.name == "columns" and (
            len(value) > 1 or any(name.startswith("columns.") for name in comments)
        ):
            lines.append(f"{_INDENT}columns=(")
            for column in ds.columns:
                lines += _comment(comments.get(f"columns.{column.name}", ()), 2)
                lines.append(f"{_INDENT * 2}{_fit(column, 2, 1)},")
            lines.append(f"{_INDENT}),")
        else:
            lines.append(f"{_INDENT}{each.name}={_fit(value, 1, len(each.name) + 2)},")
    return "\n".join([*lines, *_comment(comments.get("", ()), 1), ")"])


def _comment(texts: Iterable[str], depth: int) -> list[str]:
    indent = _INDENT * depth + "# "
    return [
        line
        for text in texts
        for line in textwrap.wrap(
            _safe(text), WIDTH, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False
        )
    ]


def _fit(value: Any, depth: int, beside: int) -> str:
    """A value in one line if it and `beside` characters fit, else its parts on lines of their own."""
    flat = _flat(value)
    if len(_INDENT) * depth + _width(flat) + beside <= WIDTH:
        return flat
    if isinstance(value, str):
        return _broken(value, depth)
    if not (parts := _parts(value)):
        return flat
    opening, closing, inner = parts
    lines = []
    for prefix, part in inner:
        lines.append(f"{_INDENT * (depth + 1)}{prefix}{_fit(part, depth + 1, len(prefix) + 1)},")
    return "\n".join([opening, *lines, f"{_INDENT * depth}{closing}"])


def _width(text: str) -> int:
    return len(text) + sum(unicodedata.east_asian_width(character) in "WF" for character in text)


def _broken(text: str, depth: int) -> str:
    """A long text in pieces, which Python joins."""
    room = WIDTH - len(_INDENT) * (depth + 1)
    pieces = [""]
    for word in re.findall(r"\S+\s*|\s+", text):
        for part in (word[at : at + room // 4] for at in range(0, len(word), room // 4)):
            if _width(_quoted(pieces[-1] + part)) > room:
                pieces.append("")
            pieces[-1] += part
    lines = [f"{_INDENT * (depth + 1)}{_quoted(piece)}" for piece in pieces]
    return "\n".join(["(", *lines, f"{_INDENT * depth})"])


def _flat(value: Any) -> str:
    if value == STANDARD_AUDITS:
        return "STANDARD_AUDITS"
    if not (parts := _parts(value)):
        return _quoted(value) if isinstance(value, str) else repr(value)
    opening, closing, inner = parts
    text = ", ".join(prefix + _flat(part) for prefix, part in inner)
    return f"{opening}{text}{',' if isinstance(value, tuple) and len(inner) == 1 else ''}{closing}"


class _Standard:
    """The audits that have a name together."""

    def __repr__(self) -> str:
        return "STANDARD_AUDITS"


def _parts(value: Any) -> tuple[str, str, list[tuple[str, Any]]] | None:
    """What a value is written of: how it begins and ends, and parts with what is before each."""
    if isinstance(value, tuple) and value[: len(STANDARD_AUDITS)] == STANDARD_AUDITS:
        rest: list[tuple[str, Any]] = [("", each) for each in value[len(STANDARD_AUDITS) :]]
        return ("(", ")", [("*", _Standard()), *rest]) if rest else None
    if isinstance(value, tuple):
        return "(", ")", [("", each) for each in value]
    if isinstance(value, Mapping):
        return "{", "}", [(f"{_flat(key)}: ", each) for key, each in value.items()]
    if type(value) not in _BY_POSITION:
        return None
    arguments = []
    for number, each in enumerate(fields(value)):
        found = getattr(value, each.name)
        if found not in (each.default, {}):
            by_position = number < _BY_POSITION[type(value)]
            arguments.append(("" if by_position else f"{each.name}=", found))
    return f"{type(value).__name__}(", ")", arguments


def _quoted(text: str) -> str:
    """A text as ruff writes it: in double quotes unless that needs more escapes."""
    body = "".join(_character(character) for character in text)
    if text.count('"') > text.count("'"):
        return "'" + body.replace("'", "\\'") + "'"
    return '"' + body.replace('"', '\\"') + '"'


def _character(character: str) -> str:
    if character == "\\":
        return "\\\\"
    return character if _is_plain(character) else character.encode("unicode_escape").decode()


def _is_plain(character: str) -> bool:
    """Whether a letter looks like no other one: linters (and people) take many for those of ASCII."""
    if character.isascii():
        return character.isprintable()
    if character in "µ°ºª²³±½¼¾§…—«»" or unicodedata.category(character) == "Sc":
        return True
    alphabets = ("LATIN", "CJK", "HIRAGANA", "KATAKANA", "HANGUL")
    return character.isalpha() and unicodedata.name(character, "").startswith(alphabets)


def _safe(text: str) -> str:
    return "".join(c if _is_plain(c) else c.encode("unicode_escape").decode() for c in " ".join(text.split()))
