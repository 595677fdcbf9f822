"""CSV as Arrow batches of text. A line is a row; one that cannot be split into columns is kept as it is."""

import csv
from collections.abc import Iterator
from typing import BinaryIO, TypeAlias

import pyarrow as pa
import pyarrow.csv

from nyc_taxi.conform import LINE, Malformed
from nyc_taxi.lines import legible, lines, without_bom

Batch: TypeAlias = pa.RecordBatch | Malformed


class CsvLines:
    """An open file: its columns, then its batches (once).

    What a value is, conform decides by the catalogue: all are text here, and nothing means null.
    """

    def __init__(self, file: BinaryIO, delimiter: str) -> None:
        self._blocks, self._delimiter = without_bom(file), delimiter
        head, _, self._begun = next(self._blocks).partition(b"\n")
        self._names = self._split(head.decode()) if head.strip() else []
        self.schema = pa.schema([pa.field(name, pa.string()) for name in (*self._names, LINE)])

    def __iter__(self) -> Iterator[Batch]:
        yield from self._read(self._begun)
        for block in self._blocks:
            yield from self._read(block)

    def _read(self, block: bytes) -> Iterator[Batch]:
        count = _count(block)
        if not count:
            return
        try:
            table = self._parse(block)
        except pa.ArrowInvalid:
            table = None
        # A stray quote makes one row of many lines: Arrow says nothing, the count does.
        if table is None or len(table) != count:
            yield from self._read_by_line(block)
            return
        for batch in table.to_batches():
            yield pa.RecordBatch.from_arrays(
                [*batch.columns, pa.nulls(batch.num_rows, pa.string())], schema=self.schema
            )

    def _parse(self, block: bytes) -> pa.Table:
        return pa.csv.read_csv(
            pa.BufferReader(block),
            read_options=pa.csv.ReadOptions(
                column_names=self._names, use_threads=False, block_size=len(block) + 1
            ),
            parse_options=pa.csv.ParseOptions(delimiter=self._delimiter),
            convert_options=pa.csv.ConvertOptions(
                column_types=dict.fromkeys(self._names, pa.string()),
                strings_can_be_null=True,
                null_values=[""],
                # One bad letter is the matter of its row.
                check_utf8=False,
            ),
        )

    def _read_by_line(self, block: bytes) -> Iterator[Batch]:
        rows: list[list[str]] = []
        broken: list[tuple[bytes, str]] = []
        for line in lines(block):
            try:
                row = self._split(line.decode(errors="surrogateescape"))
            except csv.Error as error:
                broken.append((line, f"the line is not CSV: {error}"))
                continue
            if len(row) == len(self._names):
                rows.append(row)
            else:
                broken.append((line, f"the line has {len(row)} values for {len(self._names)} columns"))
        if rows:
            columns = [_texts([row[index] for row in rows]) for index in range(len(self._names))]
            yield pa.RecordBatch.from_arrays([*columns, pa.nulls(len(rows), pa.string())], schema=self.schema)
        if broken:
            yield malformed(broken, self.schema)

    def _split(self, line: str) -> list[str]:
        """Split as Arrow does, which forgives what follows a closing quote, but no quote left open."""
        text = [line.rstrip("\r")]
        try:
            return next(csv.reader(text, delimiter=self._delimiter, strict=True))
        except csv.Error as error:
            if "end of data" in str(error):
                raise
        return next(csv.reader(text, delimiter=self._delimiter))


def malformed(broken: list[tuple[bytes, str]], schema: pa.Schema) -> Malformed:
    """Lines as they are, each with the reason, in the columns of their file."""
    nulls = [pa.nulls(len(broken), field.type) for field in schema][:-1]
    texts = pa.array([legible(line) for line, _ in broken], pa.string())
    return Malformed(
        pa.RecordBatch.from_arrays([*nulls, texts], schema=schema), [reason for _, reason in broken]
    )


def _texts(values: list[str]) -> pa.Array:
    encoded = [value.encode(errors="surrogateescape") or None for value in values]
    return pa.array(encoded, pa.binary()).view(pa.string())


def _count(block: bytes) -> int:
    """How many lines of it are not blank; quickly where none can be."""
    spare = (b"\n\n", b"\n\r\n", b"\n ", b"\n\t")
    if block.startswith((b"\n", b"\r", b" ", b"\t")) or any(blank in block for blank in spare):
        return len(lines(block))
    return block.count(b"\n") + (not block.endswith(b"\n")) if block else 0
