"""JSON lines as Arrow batches of text: the catalogue's columns, and each line as published."""

import json
import re
from collections.abc import Iterable, Iterator, KeysView, Sequence
from functools import partial
from typing import Any, BinaryIO

import pyarrow as pa

from elt.catalogue import Column
from elt.catalogue.model import LONGEST_ROW
from elt.formats.batches import LINE, Batch, TooLong, Typed, lines, malformed, read_blocks
from elt.formats.jsonl_typed import LONG_NUMBER, TypedLines

# A file with more unknown names than this uses data as names; the rest are not listed.
MANY = 100
# Each name ends so; more matches than values mean a name given twice, or objects within the object.
_NAME_ENDS = re.compile(rb'"\s*:')
_NOT_ONE = "the line is not a JSON object: "
# What JSON takes for blank.
_BLANKS = b" \t\r\n"
_SPACE = re.compile(r"[ \t\n\r]*")


class JsonlReader:
    """An open file of JSON lines: `schema`, its batches (once), then the fields its lines had.

    `found` are the names of typed columns among these fields, `unknown` the names of the others. Both are
    complete once all batches are read. A block of lines like those before it comes as `Typed`.

    A name with a dot in the catalogue, like `station.id`, is that of a member within an object.
    """

    def __init__(self, file: BinaryIO, columns: Sequence[Column], longest: int = LONGEST_ROW) -> None:
        self._blocks = read_blocks(file, longest)
        self._known = {name: index for index, column in enumerate(columns) for name in column.known_names}
        # What has to be looked into, and the columns within: `a` and `a.b` of `a.b.c`.
        self._parents = dict[str, set[int]]()
        for name, index in self._known.items():
            for dot in re.finditer(r"\.", name):
                self._parents.setdefault(name[: dot.start()], set()).add(index)
        # By each name as spelled in the file: the column's index, None if unknown.
        self._spelled: dict[str, int | None] = {}
        self._names = [column.name for column in columns]
        self._typed = TypedLines(columns)
        self._of_texts = [column.type == "string" for column in columns]
        self.schema = pa.schema([pa.field(name, pa.string()) for name in (*self._names, LINE)])

    @property
    def found(self) -> KeysView[str]:
        """Typed columns that at least one line had, in the order in which they appeared."""
        return dict.fromkeys(self._names[i] for i in self._spelled.values() if i is not None).keys()

    @property
    def unknown(self) -> tuple[str, ...]:
        """Names of no typed column, at most MANY, in the order in which they appeared."""
        return tuple(name for name, index in self._spelled.items() if index is None)

    def __iter__(self) -> Iterator[Batch]:
        for number, block in enumerate(self._blocks):
            if isinstance(block, TooLong):
                yield malformed([(block.beginning, block.reason)], self.schema)
                continue
            if not number and block.lstrip().startswith(b"["):
                # Its lines would be refused one by one, but for the last, which has no comma behind it.
                raise ValueError("a JSON array instead of an object on each line")
            # An object within an object is known to the exact reader only.
            rows = None if self._parents else self._typed.parse(block, self._spelled)
            if rows is not None:
                rows = rows.append_column(LINE, pa.nulls(rows.num_rows, pa.string()))
                yield Typed(rows, partial(self._texts, block))
            else:
                yield from self._read(block)

    def close(self) -> None:
        """Stop reading ahead; the file stays open."""
        self._blocks.close()

    def _texts(self, block: bytes, rows: Sequence[int]) -> Iterator[Batch]:
        all_lines = lines(block)
        return self._read(b"\n".join(all_lines[row] for row in rows))

    def _read(self, block: bytes) -> Iterator[Batch]:
        import orjson  # only where a file needs it

        rows: list[list[str | None]] = []
        kept: list[bytes] = []
        broken: list[tuple[bytes, str]] = []
        values = list[tuple[bytes, Any]]()
        for text in lines(block):
            if not text.strip(_BLANKS):
                continue
            try:
                values.append((text, orjson.loads(text)))
            except ValueError as error:
                broken.append((text, f"{_NOT_ONE}{error}"))
        # Once for all lines, since hardly any has such a thing.
        plain = _is_plain(block, [value for _, value in values])
        for text, value in values:
            try:
                rows.append(self._row(text, value, plain or _is_plain(text, [value])))
            except (ValueError, TypeError, RecursionError) as error:
                # A value that is nested too deeply to be written again is a TypeError of orjson's.
                broken.append((text, f"{_NOT_ONE}{error}"))
            else:
                kept.append(text)
        if not self._parents:
            self._typed.learn((value for _, value in values), self._spelled)
        if rows:
            columns = [
                pa.array([row[index] for row in rows], pa.string()) for index in range(len(self._names))
            ]
            # orjson has parsed these lines, so they are UTF-8: no copy is needed to call them text.
            whole = pa.array(kept, pa.binary()).view(pa.string())
            yield pa.RecordBatch.from_arrays([*columns, whole], schema=self.schema)
        if broken:
            yield malformed(broken, self.schema)

    def _row(self, text: bytes, value: Any, plain: bool) -> list[str | None]:
        """The texts of a line's object; `plain`: as the parser has them, no name or digit is lost."""
        import orjson

        if not isinstance(value, dict):
            # The same class as the parser's errors, since the caller treats both alike.
            raise ValueError("it is none")  # noqa: TRY004
        row = self._filled(value.items()) if plain else None
        if row is None:
            published = list(self._published(text.decode()))
            for item in value.values():
                if isinstance(item, (dict, list)):
                    # What is nested more deeply than this takes, other readers refuse, too.
                    orjson.dumps(item)
            row = self._filled(published)
        return row or []

    def _filled(self, items: Iterable[tuple[str, Any]]) -> list[str | None] | None:
        """Texts in the order of the columns; None where only the line itself has the text."""
        row: list[str | None] = [None] * len(self._names)
        places = set()
        for name, item in items:
            index = self._place(name)
            if index is None:
                continue
            if index in places:
                raise ValueError(f"it has {self._names[index]} twice")
            places.add(index)
            if item is None or isinstance(item, str):
                row[index] = item
            elif isinstance(item, bool):
                row[index] = "true" if item else "false"
            elif isinstance(item, int) or (isinstance(item, float) and not self._of_texts[index]):
                row[index] = repr(item)
            else:
                # In a column of texts 1.10 is a version, not 1.1; a list is as it was written.
                return None
        return row

    def _published(self, text: str, within: str = "") -> Iterator[tuple[str, str | None]]:
        """The names and values of a line's object, all of them: texts as they are, other values as written.

        The line is known to be an object. Members of an object within it are called `within` and their name.
        """
        decoder = json.JSONDecoder()

        def after(position: int) -> int:
            found = _SPACE.match(text, position)
            return found.end() if found else position

        position = after(after(0) + 1)
        while text[position] != "}":
            name, position = decoder.raw_decode(text, position)
            name = within + name
            position = after(after(position) + 1)
            value, end = decoder.raw_decode(text, position)
            key = name.strip().lower()
            if not (isinstance(value, dict) and key in self._parents):
                yield name, value if value is None or isinstance(value, str) else text[position:end]
            else:
                # A column called `a` with the alias `a.b` wants that member only.
                if self._known.get(key, -1) not in {-1, *self._parents[key]}:
                    yield name, text[position:end]
                yield from self._published(text[position:end], f"{name}.")
            position = after(end)
            if text[position] == ",":
                position = after(position + 1)

    def _place(self, name: str) -> int | None:
        if name in self._spelled:
            return self._spelled[name]
        index = self._known.get(name.strip().lower())
        if index is not None or len(self.unknown) < MANY:
            self._spelled[name] = index
        return index


def _is_plain(text: bytes, values: Iterable[Any]) -> bool:
    """Whether the parser has lost nothing of what a text says, of one line or of many.

    Of a name given twice it keeps the last value, and of a number the nearest float64.
    """
    names = sum(len(value) for value in values if isinstance(value, dict))
    return len(_NAME_ENDS.findall(text)) == names and not LONG_NUMBER.search(text)
