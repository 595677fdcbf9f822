"""Partitions of several files in raw/ and beyond, in memory: what a kill, a fault and a change leave."""

import json
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fakes import FakeConnections, Stack

from elt.catalogue import Column, Dataset
from elt.conforming.quarantine import Quarantine
from elt.errors import PermanentError, SourceNotPublishedError, TransientError
from elt.sources import open_source


class FolderConnections(FakeConnections):
    """The fake services, and sources as they are."""

    def source(self, dataset):
        return open_source(dataset, None, lambda: pytest.fail("no bucket is asked"), self.settings)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


@pytest.fixture
def stack(folder) -> Stack:
    made = Stack()
    made.connections = FolderConnections(made.storage, made.bigquery, made.publisher)
    return made


def entry(folder: Path, pattern: str = "part-*.csv") -> Dataset:
    columns = (Column("id", "int64", "Key."), Column("text", "string", "Text.", required=False))
    path = f"file://{folder}/{pattern}"
    return Dataset("own", "Own", path, table="own", key="id", columns=columns)


def raw(stack: Stack) -> dict[str, object]:
    return {name: stored for name, stored in stack.objects().items() if name.startswith("raw/")}


def generations(stack: Stack) -> dict[str, int]:
    return {name.rpartition("/")[2]: stored.generation for name, stored in raw(stack).items()}


def test_what_a_killed_run_has_brought_is_not_brought_again(stack, folder):
    ds = entry(folder, "part-*.jsonl")
    (folder / "part-0.jsonl").write_text('{"id": 1}\n')
    (folder / "part-1.jsonl").write_text("<html>  ")
    with pytest.raises(PermanentError, match=r"part-1.jsonl: an HTML or XML page"):
        stack.run("download", ds, None)
    begun = generations(stack)
    assert begun.keys() == {"part-0.jsonl"}
    with pytest.raises(PermanentError, match="Download it first"):
        stack.run("conform", ds, None)
    # The same size at the same moment: the listing is the one of before, the content is whole now.
    status = (folder / "part-1.jsonl").stat()
    (folder / "part-1.jsonl").write_text('{"id":2}')
    os.utime(folder / "part-1.jsonl", ns=(status.st_atime_ns, status.st_mtime_ns))
    stack.run("download", ds, None)
    assert generations(stack)["part-0.jsonl"] == begun["part-0.jsonl"]
    assert stack.run("conform", ds, None)["rows"] == 2


def test_a_partition_is_complete_only_with_all_its_files(stack, folder):
    ds = entry(folder)
    for n in range(3):
        (folder / f"part-{n}.csv").write_text(f"id,text\n{n},x\n")
    done = stack.run("download", ds, None)
    assert stack.run("download", ds, None)["reused"]
    lost = next(name for name in raw(stack) if name.endswith("part-1.csv"))
    del stack.objects()[lost]
    with pytest.raises(TransientError, match=r"not all of its files are in the lake\. Download it again"):
        stack.run("conform", ds, None)
    again = stack.run("download", ds, None)
    assert (again["reused"], again["checksum"]) == (False, done["checksum"])
    assert stack.run("conform", ds, None)["rows"] == 3


def test_the_list_names_each_file_with_its_checksum_and_only_it_is_the_partition(stack, folder):
    ds = entry(folder)
    (folder / "part-1.csv").write_text("id\n1\n")
    (folder / "part-0.csv").write_text("")
    stack.run("download", ds, None)
    objects = raw(stack)
    manifest = objects.pop("raw/own/own.csv/manifest.json")
    listed = json.loads(manifest.content)
    assert [each["name"] for each in listed] == ["part-0.csv", "part-1.csv"]
    assert {each["object"]: each["checksum"] for each in listed} == {
        name: stored.metadata["checksum"] for name, stored in objects.items()
    }
    assert [stored.metadata.get("dataset") for stored in (*objects.values(), manifest)] == [None, None, "own"]
    (folder / "part-0.csv").unlink()
    (folder / "part-1.csv").unlink()
    with pytest.raises(SourceNotPublishedError):
        stack.run("download", ds, None)
    assert raw(stack).keys() == {*objects, "raw/own/own.csv/manifest.json"}


def test_a_refusal_names_the_file_it_is_of(stack, folder):
    ds = entry(folder)
    (folder / "part-0.csv").write_text("id\n1\n")
    (folder / "part-1.csv").write_text("other\n1\n")
    stack.run("download", ds, None)
    with pytest.raises(PermanentError, match=r"part-1.csv: column id is lost \(the file has other\)"):
        stack.run("conform", ds, None)
    (folder / "part-0.csv").write_text("id\nx\n")
    (folder / "part-1.csv").unlink()
    stack.run("download", ds, None)
    with pytest.raises(PermanentError, match=r"own.csv: no row fits \(1 rows.*The first: part-0.csv: "):
        stack.run("conform", ds, None)


def batch(**columns: list[str]) -> pa.RecordBatch:
    return pa.RecordBatch.from_pydict(columns)


def test_quarantined_rows_of_files_with_other_columns_are_one_table():
    first, second = batch(A=["1"], reason=["r1"]), batch(a=["2"], b=["3"], reason=["r2"])
    with Quarantine() as quarantine:
        for rows in (first, second, first):
            quarantine.add(rows)
        with quarantine.finish() as file:
            found = pq.read_table(file).to_pylist()
    assert found == [
        {"A": "1", "b": None, "reason": "r1"},
        {"A": "1", "b": None, "reason": "r1"},
        {"A": "2", "b": "3", "reason": "r2"},
    ]


def test_files_that_have_nothing_in_common_are_refused():
    with pytest.raises(PermanentError, match="more than 50 different sets of columns"), Quarantine() as many:
        for n in range(51):
            many.add(batch(**{f"c{n}": ["x"], "reason": ["r"]}))
