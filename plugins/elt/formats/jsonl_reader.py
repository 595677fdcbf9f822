"""JSON lines as Arrow batches of text: the catalogue's columns, and each line as it is."""

from collections.abc import Iterator
from typing import Any, BinaryIO

import pyarrow as pa

from elt.catalogue import Dataset
from elt.conforming.rows import LINE, Malformed
from elt.formats.csv_reader import malformed
from elt.formats.text_blocks import lines, without_bom

# More names than that are data in the place of names.
MANY = 100


class JsonLines:
    """An open file: its batches (once); and which fields its lines had, once all are read.

    `found` are the typed columns among them, `unknown` the names nobody knows.
    """

    def __init__(self, file: BinaryIO, ds: Dataset) -> None:
        self._blocks = without_bom(file)
        self._known = {name: index for index, column in enumerate(ds.columns) for name in column.known_names}
        # As files spell it: the column, or None for a name nobody knows.
        self._spelt: dict[str, int | None] = {}
        self._names = [column.name for column in ds.columns]
        self.schema = pa.schema([pa.field(name, pa.string()) for name in (*self._names, LINE)])

    @property
    def found(self) -> set[str]:
        """Typed columns that some line had."""
        return {self._names[index] for index in self._spelt.values() if index is not None}

    @property
    def unknown(self) -> tuple[str, ...]:
        """Names nobody knows, in the order they came."""
        return tuple(name for name, index in self._spelt.items() if index is None)

    def __iter__(self) -> Iterator[pa.RecordBatch | Malformed]:
        for block in self._blocks:
            yield from self._read(lines(block))

    def _read(self, texts: list[bytes]) -> Iterator[pa.RecordBatch | Malformed]:
        import orjson  # only where a file needs it

        rows: list[list[str | None]] = []
        kept: list[bytes] = []
        broken: list[tuple[bytes, str]] = []
        for text in texts:
            try:
                rows.append(self._row(orjson.loads(text), orjson.dumps))
            except ValueError as error:
                broken.append((text, f"the line is not a JSON object: {error}"))
            else:
                kept.append(text)
        if rows:
            columns = [
                pa.array([row[index] for row in rows], pa.string()) for index in range(len(self._names))
            ]
            whole = pa.array(kept, pa.binary()).view(pa.string())
            yield pa.RecordBatch.from_arrays([*columns, whole], schema=self.schema)
        if broken:
            yield malformed(broken, self.schema)

    def _row(self, value: Any, dump: Any) -> list[str | None]:
        if not isinstance(value, dict):
            raise ValueError("it is none")  # noqa: TRY004 - as the parser's own
        row: list[str | None] = [None] * len(self._names)
        places = set()
        for name, item in value.items():
            index = self._place(name)
            if index is None:
                continue
            if index in places:
                raise ValueError(f"it has {self._names[index]} twice")
            places.add(index)
            row[index] = item if isinstance(item, str) or item is None else _text(item, dump)
        return row

    def _place(self, name: str) -> int | None:
        if name in self._spelt:
            return self._spelt[name]
        index = self._known.get(name.strip().lower())
        if index is not None or len(self.unknown) < MANY:
            self._spelt[name] = index
        return index


def _text(item: Any, dump: Any) -> str:
    """A number, truth value, list or object as JSON writes it."""
    if isinstance(item, (bool, dict, list)):
        return str(dump(item), "utf-8")
    return repr(item)
