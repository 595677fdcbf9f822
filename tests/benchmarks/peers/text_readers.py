"""Readers of CSV and JSON lines, each behind the least code that gets the most of it (bench.text_readers).

`text_readers.py read READER FORM FILE NAME=TYPE…` reads a file and prints counts and seconds;
`text_readers.py cases READER FORM FOLDER NAME=TYPE…` prints what becomes of each file in a folder.
A reader yields batches of texts, and lists of (line, reason) for what it cannot split into columns.
"""

import csv
import gzip
import json
import os
import resource
import sys
import tempfile
import threading
import time
from pathlib import Path

# Bytes of a line at most, in readers that have such a limit: each needs a multiple of it.
LONGEST = 4 << 20
# kB of resident memory, and seconds: no candidate may take the whole machine.
_MOST, _CPU_SECONDS = 10_000_000, 300


def ours_csv(path, columns):
    from elt.formats.csv_reader import CsvReader

    yield from _ours(path, lambda file: CsvReader(file, ",", {}))


def ours_json(path, columns):
    from elt.catalogue import Column
    from elt.formats.jsonl_reader import JsonlReader

    entry = [Column(name, kind, "") for name, kind in columns.items()]
    yield from _ours(path, lambda file: JsonlReader(file, entry))


def _ours(path, opened):
    from elt.formats.batches import LINE, Malformed
    from elt.formats.gzip_content import gunzip

    with path.open("rb") as file:
        reader = opened(gunzip(file) if path.suffix == ".gz" else file)
        for batch in reader:
            if isinstance(batch, Malformed):
                yield list(zip(batch.lines.column(LINE).to_pylist(), batch.reasons, strict=True))
            else:
                # What conform does with every text.
                yield from _utf8(batch.drop_columns([LINE]))
        reader.close()


def duckdb_csv(path, columns):
    names = _header(path)
    # Called by number: a file may give a name twice.
    given = ", ".join(f"'c{number}': 'VARCHAR'" for number in range(len(names)))
    options = f"columns = {{{given}}}, header = true, delim = ',', quote = '\"', escape = '\"'"
    for batch in _duckdb(path, "SELECT * FROM", options):
        yield batch if isinstance(batch, list) else batch.rename_columns(names)


def duckdb_json(path, columns):
    import pyarrow as pa

    # read_json loses the text of a malformed line, so each line is read as one text first. No valid JSON
    # has the delimiter: within strings it is escaped.
    _refuse_array(path)
    # Twice as fast as lower() of each name.
    names = "json_keys(lower(c0))"
    reason = f"""CASE WHEN NOT json_valid(c0) THEN 'not JSON' WHEN json_type(c0) <> 'OBJECT' THEN 'no object'
        WHEN len({names}) <> list_unique({names}) THEN 'a key twice' END"""
    # With a list of paths DuckDB parses a line once for all of them, unless SQL takes the list apart.
    paths = ", ".join(f"'$.\"{name}\"'" for name in columns)
    query = f"""SELECT c0, {reason} AS reason,
        CASE WHEN json_valid(c0) THEN json_extract_string(c0, [{paths}]) END AS v FROM"""
    options = "columns = {'c0': 'VARCHAR'}, header = false, delim = '\x1f', quote = '', escape = ''"
    for batch in _duckdb(path, query, options, "WHERE trim(c0) <> ''"):
        if isinstance(batch, list):
            yield batch
            continue
        broken = batch.filter(batch.column("reason").is_valid())
        yield list(zip(broken.column("c0").to_pylist(), broken.column("reason").to_pylist(), strict=True))
        values = batch.column("v").filter(batch.column("reason").is_null()).flatten()
        places = [pa.array(range(first, len(values), len(columns))) for first in range(len(columns))]
        yield pa.record_batch([values.take(place) for place in places], list(columns))


def _duckdb(path, select, options, rest=""):
    import duckdb

    with tempfile.TemporaryDirectory() as folder, duckdb.connect(f"{folder}/rejects.db") as connection:
        connection.execute("SET threads = 2; SET memory_limit = '300MB'; SET preserve_insertion_order = true")
        # Not `new_line`: with \r\n it returns no row and no reject of a file that has CRLF (1.5.5).
        reader = connection.execute(
            f"{select} read_csv('{path}', {options}, auto_detect = false, strict_mode = true,"
            " store_rejects = true, rejects_limit = 0, null_padding = false,"
            f" max_line_size = {LONGEST}, buffer_size = {2 * LONGEST}) {rest}"
        )
        yield from reader.to_arrow_reader(2048)
        # A line with two errors is two rejects.
        rejects = connection.execute(
            "SELECT line_byte_position, first(csv_line), first(error_message) FROM reject_errors"
            " GROUP BY 1 ORDER BY 1"
        )
        opened = gzip.open if path.suffix == ".gz" else open
        with opened(path, "rb") as file:
            while found := rejects.fetchmany(2048):
                yield [(_again(file, at, line or ""), reason) for at, line, reason in found]


def _again(file, position, line):
    """The line as it is in the file: where it is not UTF-8 the reject has question marks."""
    # The first byte is number 1.
    file.seek(position - 1)
    return _shown(file.read(len(line.encode())))


def pyarrow_csv(path, columns):
    import pyarrow as pa
    import pyarrow.csv

    broken = []

    def keep(row):
        broken.append((row.text, f"{row.actual_columns} values"))
        return "skip"

    reader = pa.csv.open_csv(
        pa.input_stream(path),
        pa.csv.ReadOptions(block_size=2 * LONGEST),
        pa.csv.ParseOptions(newlines_in_values=True, invalid_row_handler=keep),
        pa.csv.ConvertOptions(
            column_types=dict.fromkeys(_header(path), pa.string()),
            strings_can_be_null=True,
            null_values=[""],
            # With it, one byte that is not UTF-8 ends the file.
            check_utf8=False,
        ),
    )
    for batch in reader:
        if broken:
            yield broken.copy()
            broken.clear()
        yield from _utf8(batch)
    yield broken


def _utf8(batch):
    """Rows whose bytes are not UTF-8 apart: their values stand for the line."""
    import pyarrow as pa
    import pyarrow.compute as pc

    try:
        batch.validate(full=True)
    except pa.ArrowInvalid:
        texts = [pc.fill_null(column.view(pa.binary()), b"") for column in batch.columns]
        whole = pc.binary_join_element_wise(*texts, b",").to_pylist()
        yield [(_shown(line), "not UTF-8") for line in whole if not _is_text(line)]
        batch = batch.filter(pa.array(map(_is_text, whole)))
    yield batch


def _is_text(line):
    return line == line.decode(errors="ignore").encode()


def _shown(line):
    return line.decode(errors="backslashreplace")


def pyarrow_json(path, columns):
    import pyarrow as pa
    import pyarrow.json

    # Its own types: as texts it refuses every number.
    reader = pa.json.open_json(
        pa.input_stream(path),
        pa.json.ReadOptions(block_size=2 * LONGEST),
        pa.json.ParseOptions(newlines_in_values=False),
    )
    for batch in reader:
        found = [name for name in columns if name in batch.schema.names]
        yield batch.select(found).cast(pa.schema([(name, pa.string()) for name in found]))


def polars_csv(path, columns):
    import polars as pl

    # Not `ignore_errors`: it does not even keep the neighbours of a malformed row.
    frame = pl.scan_csv(path, infer_schema=False)
    for batch in frame.collect_batches(chunk_size=16_384, maintain_order=True):
        yield from _arrow(batch)


def polars_json(path, columns):
    import polars as pl

    # scan_ndjson ends at the first malformed line, so each line is read as one text first.
    _refuse_array(path)
    line = pl.col("line").str.strip_prefix("\ufeff")
    values = [line.str.json_path_match(f"$['{name}']").alias(name) for name in columns]
    frame = pl.scan_lines(path).filter(line.str.strip_chars() != "")
    frame = frame.select("line", line.str.json_path_match("$").alias("whole"), *values)
    for batch in frame.collect_batches(chunk_size=16_384, maintain_order=True):
        whole = pl.col("whole").str.starts_with("{").fill_null(value=False)
        yield [(text, "not an object") for text in batch.filter(~whole).get_column("line")]
        yield from _arrow(batch.filter(whole).select(*columns))


def _arrow(frame):
    import polars as pl

    return frame.to_arrow(compat_level=pl.CompatLevel.oldest()).to_batches()


def _refuse_array(path):
    with _open(path) as file:
        if file.read(64).lstrip().startswith("["):
            raise ValueError("a JSON array, not JSON lines")


def _open(path):
    opened = gzip.open if path.suffix == ".gz" else open
    return opened(path, "rt", encoding="utf-8-sig", errors="replace", newline="")


def _header(path):
    with _open(path) as file:
        return next(csv.reader(file))


READERS = {
    "ours": (ours_csv, ours_json),
    "DuckDB": (duckdb_csv, duckdb_json),
    "pyarrow": (pyarrow_csv, pyarrow_json),
    "polars": (polars_csv, polars_json),
}


def read(reader, path, columns):
    import pyarrow.compute as pc

    rows = malformed = texts = 0
    started = time.monotonic()
    for batch in reader(path, columns):
        if isinstance(batch, list):
            malformed += len(batch)
        else:
            rows += batch.num_rows
            texts += sum(pc.sum(pc.binary_length(column)).as_py() or 0 for column in batch.columns)
    return {"rows": rows, "malformed": malformed, "bytes": texts, "seconds": time.monotonic() - started}


def outcome(reader, path, columns):
    """What becomes of a small file: its rows as objects and its malformed lines, or why it is refused."""
    rows, malformed = [], []
    try:
        for batch in reader(path, columns):
            if isinstance(batch, list):
                malformed += [line for line, _ in batch]
                continue
            rows += [{name: value or None for name, value in row.items()} for row in batch.to_pylist()]
    except (AttributeError, ImportError, NameError):
        # A mistake of this file, which would count as a file refused.
        raise
    except Exception as error:
        return {"refused": str(error).strip()[:200]}
    return {"rows": rows, "malformed": malformed}


def _stop_in_time():
    # A limit of the address space would stop those that only reserve it.
    while resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < _MOST:
        time.sleep(0.1)
    print(f"more than {_MOST // 1_000_000} GB", flush=True)  # noqa: T201
    os._exit(1)


def main():
    task, name, form, place, *typed = sys.argv[1:]
    columns = dict(column.split("=") for column in typed)
    threading.Thread(target=_stop_in_time, daemon=True).start()
    resource.setrlimit(resource.RLIMIT_CPU, (_CPU_SECONDS, _CPU_SECONDS))
    reader, path = READERS[name][form == "json"], Path(place)
    if task == "read":
        found = read(reader, path, columns)
    else:
        found = {file.name: outcome(reader, file, columns) for file in sorted(path.iterdir())}
    print("\n" + json.dumps(found))  # noqa: T201


if __name__ == "__main__":
    main()
