"""The lake's files as tables, by DuckDB: `yellow` is what is typed, `quarantine.yellow` what does not fit."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self

from elt.catalogue.registry import DATASETS
from elt.connections import Connections
from elt.errors import PipelineError
from elt.periods import KINDS
from taxiway.asking.answers import Answer, distinct
from taxiway.asking.stores import pointed
from taxiway.errors import TaxiwayError, UsageError

if TYPE_CHECKING:
    from elt.stores.gcs import Lake, Stored

TYPED, QUARANTINE = "typed", "quarantine"
AREAS = ("raw", TYPED, QUARANTINE)
# Folders that name a partition, and so columns of it, where a file has none of that name itself.
FOLDERS = tuple(KINDS)
_PIECE = 5_000


class Files:
    """The typed and quarantined files. Making a table reads its files' ends: only those named are made."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    @contextmanager
    def ask(self, statement: str, *, write: bool = False, few: int | None = None) -> Iterator[Answer]:  # noqa: ARG002 - DuckDB reads as it is asked
        """Run one query; there is nothing that could be written."""
        import duckdb

        if write:
            raise UsageError("the lake's files are only read", "Its stages write it: scripts/run.")
        with self._connections.lake() as lake, _Database(lake) as database, _errors(statement):
            found = database.duck.extract_statements(statement)
            reading = (duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN)
            if len(found) != 1 or found[0].type not in reading:
                raise UsageError("the lake takes one query at a time: SELECT, DESCRIBE or EXPLAIN")
            _make_views(database, lake, statement)
            yield database.answer(statement)

    @contextmanager
    def read(self, lake: Lake, objects: Sequence[Stored], query: str) -> Iterator[Answer]:
        """Run a query in which `{files}` stands for some objects' rows, be they Parquet, CSV or JSON."""
        with _Database(lake) as database, _errors(query):
            yield database.answer(query.replace("{files}", database.reader(objects)))

    def tables(self) -> Mapping[str, list[str]]:
        """The catalogue's datasets that are in the lake."""
        with self._connections.lake() as lake:
            typed = sorted(by_dataset(lake, TYPED))
            kept = {f"{QUARANTINE}.{name}": ["reason"] for name in sorted(by_dataset(lake, QUARANTINE))}
        columns = {name: [c.name for c in DATASETS[name].columns] for name in typed if name in DATASETS}
        return {name: columns.get(name, []) for name in typed} | kept


def _make_views(database: _Database, lake: Lake, statement: str) -> None:
    words = {word.lower() for word in re.findall(r"\w+", statement)}
    for area in (TYPED, QUARANTINE):
        database.duck.execute(f"CREATE SCHEMA {area}")
        if area == QUARANTINE and QUARANTINE not in words:
            continue
        for name, objects in by_dataset(lake, area).items():
            if name.lower() in words:
                rows = database.reader(objects, folders=True)
                database.duck.execute(f"CREATE VIEW {area}.{_quoted(name)} AS SELECT * FROM {rows}")  # noqa: S608
    database.duck.execute(f"SET schema = '{TYPED}'")


def by_dataset(lake: Lake, area: str) -> dict[str, list[Stored]]:
    """The Parquet files below typed/ or quarantine/, by the dataset that they are of."""
    found: dict[str, list[Stored]] = {}
    for stored in lake.list(f"{area}/"):
        _, dataset, *rest = stored.name.split("/")
        if rest and stored.name.endswith(".parquet"):
            found.setdefault(dataset, []).append(stored)
    return found


class _Database:
    """A DuckDB in memory that reads objects of the lake, those that its functions name."""

    def __init__(self, lake: Lake) -> None:
        import duckdb

        # Nothing is fetched from anywhere: a missing extension is an error that says so.
        self.duck = duckdb.connect(":memory:", config={"autoinstall_known_extensions": "false"})
        self.duck.execute("SET TimeZone = 'UTC'; SET enable_progress_bar = false")
        self._served: dict[str, Stored] = {}
        self._worker = ThreadPoolExecutor(1)
        self.duck.register_filesystem(_filesystem(lake, self._served))
        # A question may come from a program: it reads the lake, not the files and secrets of this machine.
        self.duck.execute("SET allowed_directories = ['lake://']; SET enable_external_access = false")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._worker.shutdown()
        self.duck.close()

    def reader(self, objects: Sequence[Stored], *, folders: bool = False) -> str:
        """DuckDB's function that reads these objects, whose format their names say.

        With `folders` the parts of their paths such as month=01 are columns, too.
        """
        self._served.update({stored.name: stored for stored in objects})
        listed = ", ".join(_text(f"lake://{stored.name}") for stored in objects)
        name = objects[0].name.removesuffix(".gz")
        if name.endswith((".json", ".jsonl", ".ndjson")):
            return f"read_json([{listed}])"
        if not name.endswith(".parquet"):
            # Texts as they are: a guess at types would change some values.
            return f"read_csv([{listed}], all_varchar = true)"
        # Older files may lack a column that the dataset has today; those of quarantine have their source's.
        found = f"read_parquet([{listed}], union_by_name = true, hive_partitioning = {{}})"
        plain = found.format("false")
        if not folders or not all("=" in stored.name for stored in objects):
            return plain
        columns = self.duck.execute(f"SELECT * FROM {plain} LIMIT 0").description or []  # noqa: S608
        # A folder's column would hide the file's own.
        hides = {str(column[0]).lower() for column in columns} & set(FOLDERS)
        # Texts otherwise: 01 is no number of DuckDB's.
        types = ", ".join(f"{name}: INTEGER" for name in FOLDERS if f"/{name}=" in objects[0].name)
        return plain if hides else found.format(f"true, hive_types = {{{types}}}" if types else "true")

    def answer(self, query: str) -> Answer:
        """Run a query."""
        reader = self._interruptible(lambda: self.duck.execute(query).to_arrow_reader(_PIECE))
        batches = iter(lambda: self._interruptible(lambda: next(reader, None)), None)
        schema, counted = reader.schema, 0

        def rows() -> Iterator[Sequence[Any]]:
            nonlocal counted
            for batch in batches:
                counted += int(batch.num_rows)
                yield from zip(*map(_values, batch.columns), strict=True)

        def total(_: int) -> int:
            return counted + sum(int(batch.num_rows) for batch in batches)

        return Answer(distinct(schema.names), rows(), lambda: schema.types, total)

    def _interruptible(self, work: Callable[[], Any]) -> Any:
        """Do it in a thread: in the main one, DuckDB looks for Ctrl-C only where a task of its has ended."""
        waited_for = self._worker.submit(work)
        try:
            return waited_for.result()
        except KeyboardInterrupt:
            self.duck.interrupt()
            raise


def _filesystem(lake: Lake, served: Mapping[str, Stored]) -> Any:
    """What DuckDB reads the lake through: its own client has to be fetched, and cannot carry our tokens."""
    from fsspec import AbstractFileSystem

    class Objects(AbstractFileSystem):  # type: ignore[misc]  # fsspec has no types
        protocol, cachable = "lake", False

        def _open(self, path: str, *_: Any, **__: Any) -> Any:
            return lake.open(served[self._strip_protocol(path)])

        def info(self, path: str, **_: Any) -> dict[str, Any]:
            stored = served[self._strip_protocol(path)]
            return {"name": stored.name, "size": stored.size, "type": "file", "mtime": stored.updated}

        def glob(self, path: str, **_: Any) -> list[str]:
            return [path] if self._strip_protocol(path) in served else []

        def modified(self, path: str) -> Any:
            return self.info(path)["mtime"]

    return Objects()


def _values(column: Any) -> Any:
    import pyarrow as pa

    if pa.types.is_timestamp(column.type) and column.type.unit == "ns":
        # Python's own times end at microseconds.
        column = column.cast(pa.string())
    return column.to_pylist()


@contextmanager
def _errors(statement: str) -> Iterator[None]:
    import duckdb

    try:
        yield
    except duckdb.Error as error:
        # What went wrong while it read a file is ours, and comes as DuckDB's.
        if isinstance(error.__cause__, PipelineError):
            raise error.__cause__ from None
        if isinstance(error, duckdb.PermissionException):
            raise UsageError("DuckDB: only the lake's own files are read", "See scripts/lake ls") from None
        lines = str(error).strip().splitlines()
        message = f"DuckDB: {lines[0]}"
        for shown, caret in itertools.pairwise(lines):
            if (place := re.match(r"LINE (\d+): (\.\.\.)?(.*?)(\.\.\.)?$", shown)) and caret.strip() == "^":
                line, begun = int(place[1]), "\n".join(statement.splitlines()[int(place[1]) - 1 :][:1])
                column = begun.find(place[3]) + caret.index("^") - place.start(3) + 1
                raise pointed(message, statement, line, column) from None
        raise TaxiwayError(message) from None


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
