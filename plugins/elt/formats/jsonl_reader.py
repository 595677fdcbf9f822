"""JSON lines as Arrow batches of text: the catalogue's columns, and each line as published."""

from collections.abc import Callable, Iterator, KeysView, Sequence
from typing import Any, BinaryIO

import pyarrow as pa

from elt.catalogue import Column
from elt.formats.batches import LINE, Batch, lines, malformed, read_blocks

# A file with more unknown names than this uses data as names; the rest are not listed.
MANY = 100
_Dump = Callable[[Any], bytes]


class JsonlReader:
    """An open file of JSON lines: `schema`, its batches (once), then the fields its lines had.

    `found` are the names of typed columns among these fields, `unknown` the names of the others. Both are
    complete once all batches are read.
    """

    def __init__(self, file: BinaryIO, columns: Sequence[Column]) -> None:
        self._blocks = read_blocks(file)
        self._known = {name: index for index, column in enumerate(columns) for name in column.known_names}
        # By each name as spelled in the file: the column's index, None if unknown.
        self._spelled: dict[str, int | None] = {}
        self._names = [column.name for column in columns]
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
        for block in self._blocks:
            yield from self._read(lines(block))

    def close(self) -> None:
        """Stop reading ahead; the file stays open."""
        self._blocks.close()

    def _read(self, texts: list[bytes]) -> Iterator[Batch]:
        import orjson  # only where a file needs it

        rows: list[list[str | None]] = []
        kept: list[bytes] = []
        broken: list[tuple[bytes, str]] = []
        for text in texts:
            try:
                rows.append(self._row(orjson.loads(text), orjson.dumps))
            except (ValueError, TypeError, RecursionError) as error:
                # A value that is nested too deeply to be written again is a TypeError of orjson's.
                broken.append((text, f"the line is not a JSON object: {error}"))
            else:
                kept.append(text)
        if rows:
            columns = [
                pa.array([row[index] for row in rows], pa.string()) for index in range(len(self._names))
            ]
            # orjson has parsed these lines, so they are UTF-8: no copy is needed to call them text.
            whole = pa.array(kept, pa.binary()).view(pa.string())
            yield pa.RecordBatch.from_arrays([*columns, whole], schema=self.schema)
        if broken:
            yield malformed(broken, self.schema)

    def _row(self, value: Any, dump: _Dump) -> list[str | None]:
        if not isinstance(value, dict):
            # The same class as the parser's errors, since the caller treats both alike.
            raise ValueError("it is none")  # noqa: TRY004
        row: list[str | None] = [None] * len(self._names)
        places = set()
        for name, item in value.items():
            index = self._place(name)
            if index is None:
                continue
            # Two names of one column. (Of one name given twice the parser keeps the last value.)
            if index in places:
                raise ValueError(f"it has {self._names[index]} twice")
            places.add(index)
            row[index] = item if isinstance(item, str) or item is None else _text(item, dump)
        return row

    def _place(self, name: str) -> int | None:
        if name in self._spelled:
            return self._spelled[name]
        index = self._known.get(name.strip().lower())
        if index is not None or len(self.unknown) < MANY:
            self._spelled[name] = index
        return index


def _text(item: Any, dump: _Dump) -> str:
    """Write a number, truth value, list or object as JSON does."""
    if isinstance(item, (bool, dict, list)):
        return str(dump(item), "utf-8")
    return repr(item)
