"""What the contestants read besides the published file: raw objects, binary COPY files, tables' columns."""

from __future__ import annotations

from pathlib import Path

import pgpq
import pyarrow as pa
import pyarrow.parquet

from bench.data import MONTH, checksum
from bench.services import Cloud
from elt.catalogue import Dataset
from elt.catalogue.registry import dataset
from elt.conforming.schema import typed_schema
from elt.conforming.stream import Split
from elt.layout import raw_object
from elt.settings import Settings
from elt.stores.gcs import Content, Lake
from elt.stores.postgres import TYPES


def put_raw(emulators: Cloud, file: Path) -> None:
    """Put a file into the lake as `download` does: the raw object of January 2024."""
    entry = dataset("yellow")
    facts = {
        "dataset": entry.name, "month": str(MONTH), "checksum": checksum(file),
        "source_url": "", "source_etag": "", "source_last_modified": "",
    }  # fmt: skip
    lake = Lake(Settings.from_environment(emulators.variables))
    with file.open("rb") as stream:
        content = Content(stream, file.stat().st_size, "application/vnd.apache.parquet", facts)
        lake.write(raw_object(entry, MONTH), content)


def copy_file(parquet: Path, folder: Path) -> Path:
    """The same rows, typed as the catalogue says, ready for COPY … (FORMAT BINARY)."""
    path = folder / f"{parquet.stem}.pgcopy"
    if path.exists():
        return path
    entry, unfinished = dataset("yellow"), path.with_suffix(".unfinished")
    encoder = pgpq.ArrowToPostgresBinaryEncoder(typed_schema(entry))
    with parquet.open("rb") as source, unfinished.open("wb") as out:
        out.write(encoder.write_header())
        for part in Split(source, entry, MONTH):
            out.write(encoder.write_batch(part.typed))
        out.write(encoder.finish())
    unfinished.replace(path)
    return path


def typed_columns(entry: Dataset) -> str:
    """A dataset's columns as SQL defines them."""
    return ", ".join(f"{column.name} {TYPES[column.type]}" for column in entry.columns)


def published_columns(parquet: Path) -> str:
    """A published file's own columns as SQL defines them."""
    kinds = {
        pa.int32(): "integer",
        pa.int64(): "bigint",
        pa.float64(): "double precision",
        pa.string(): "text",
        pa.large_string(): "text",
        pa.timestamp("us"): "timestamp",
    }
    schema = pa.parquet.read_schema(parquet)
    return ", ".join(f"{field.name.lower()} {kinds[field.type]}" for field in schema)
