"""Files of a folder, transfers that break, and which connection reaches which address."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from elt.catalogue import Dataset, Publisher
from elt.connection_fields import ConnectionFields
from elt.errors import PermanentError, TransientError
from elt.sources import base_of, open_source
from elt.sources.client import Limits, Patience, Published
from elt.sources.files import MOST_FILES, PIECE, ChangedError, Files, LocalFiles

QUICK = Patience((0.0, 0.0), 0)
URL = "file:///somewhere/f.bin"
CONTENT = bytes(range(256)) * 4096


@dataclass
class Breaking(Files):
    """One file that comes in pieces; each of `breaks` is the bytes after which an attempt ends."""

    breaks: list[int] = field(default_factory=list)
    limits: Limits = field(default_factory=Limits)
    starts: list[int] = field(default_factory=list)
    count: int = 1
    size: int = len(CONTENT)

    def __post_init__(self) -> None:
        super().__init__(self.limits, QUICK)

    def find(self, url: str) -> Published | None:
        return Published(url, "1", None, self.size)

    def list(self, beginning: str) -> Iterator[Published]:
        for n in range(self.count):
            yield Published(f"{beginning}{n}", "1", None, 1)

    def read(self, file: Published, start: int) -> Iterator[bytes]:
        self.starts.append(start)
        left = self.breaks.pop(0) if self.breaks else None
        end = len(CONTENT) if left is None else start + left
        for at in range(start, end, PIECE):
            yield CONTENT[at : min(at + PIECE, end)]
        if left is not None:
            raise TransientError("broken")


def received(files: Files, url: str = URL) -> bytes:
    with files.open(url, "f.bin") as transfer:
        return b"".join(transfer)


def test_a_file_is_continued_where_it_broke_as_long_as_each_attempt_gets_on():
    files = Breaking([PIECE] * 3)
    assert received(files) == CONTENT
    assert files.starts == [0, PIECE, 2 * PIECE, 3 * PIECE]


def test_a_place_that_gives_a_little_at_a_time_is_given_up():
    files = Breaking([100] * 9)
    with pytest.raises(TransientError, match="broken"):
        received(files)
    assert files.starts == [0, 100, 200]


@pytest.mark.parametrize(
    ("limits", "error", "remedy"),
    [
        (Limits(size=100), PermanentError, "TAXI_MAX_FILE_BYTES"),
        (Limits(seconds=-1.0), TransientError, "TAXI_DOWNLOAD_SECONDS"),
    ],
)
def test_a_file_that_takes_too_much_is_given_up(limits, error, remedy):
    with pytest.raises(error, match=f"set {remedy} to more"):
        received(Breaking(limits=limits))


def test_a_file_that_grows_beyond_what_was_announced_is_given_up_on_its_way():
    growing, pieces = Breaking(size=100, limits=Limits(size=2 * PIECE)), list[bytes]()
    with (
        growing.open(URL, "f.bin") as transfer,
        pytest.raises(PermanentError, match="set TAXI_MAX_FILE_BYTES to more"),
    ):
        pieces.extend(transfer)
    assert len(pieces) == 2


def test_a_pattern_that_matches_thousands_of_files_is_refused():
    with pytest.raises(PermanentError, match=r"matches more than 10,000 files"):
        Breaking(count=MOST_FILES + 1).probe("gs://b/*", "f")


def test_a_file_that_is_written_while_it_is_read_is_of_no_state(tmp_path):
    file = tmp_path / "f.bin"
    file.write_bytes(CONTENT)
    with LocalFiles(patience=QUICK) as files, files.open(f"file://{file}", "f.bin") as transfer:
        pieces = iter(transfer)
        next(pieces)
        with file.open("ab") as more:
            more.write(b"more")
        with pytest.raises(ChangedError, match="changed at the source"):
            list(pieces)


def test_a_file_that_is_replaced_meanwhile_is_read_to_its_end(tmp_path):
    """Whoever renames, as one should, takes nothing from those who read."""
    file = tmp_path / "f.bin"
    file.write_bytes(CONTENT)
    with LocalFiles(patience=QUICK) as files, files.open(f"file://{file}", "f.bin") as transfer:
        pieces = iter(transfer)
        first = next(pieces)
        (tmp_path / "new").write_bytes(b"new")
        (tmp_path / "new").rename(file)
        assert first + b"".join(pieces) == CONTENT


def test_what_is_written_again_within_a_second_is_another_file(tmp_path):
    file = tmp_path / "f.bin"
    file.write_bytes(b"one")
    with LocalFiles() as files:
        before = files.find(f"file://{file}")
        status = file.stat()
        os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
        assert files.find(f"file://{file}") != before


def test_a_folder_is_no_file(tmp_path):
    with LocalFiles() as files:
        assert files.find(f"file://{tmp_path}") is None
        assert files.find(f"file://{tmp_path}/absent/f.bin") is None
        assert files.probe(f"file://{tmp_path}/absent/*.bin", "f") is None


def own(path: str, base: str = "") -> Dataset:
    return Dataset("own", "Own", path, source=Publisher("x", base) if base else None)


@pytest.mark.parametrize(
    ("dataset", "fields", "base"),
    [
        (own("/a", "https://a.test"), None, "https://a.test"),
        (own("/a", "https://a.test"), {"host": "https://b.test"}, "https://b.test"),
        (own("https://a.test/a"), None, "https://a.test"),
        (own("gs://b/c/a"), None, "gs://b"),
        (own("/a", "s3://b/c"), {"host": "ignored"}, "s3://b/c"),
        (own("/a", "sftp://a.test/c"), None, "sftp://a.test/c"),
        (own("/a", "sftp://a.test/c"), {"host": "b.test", "port": 2222}, "sftp://b.test:2222/c"),
        (own("file:///a/b"), None, "file://"),
    ],
)
def test_a_connection_names_the_host_where_its_type_has_one(dataset, fields, base):
    found = ConnectionFields(**fields) if fields else None
    assert base_of(dataset, found) == base

    def google() -> None:
        raise AssertionError("a client is made before it is needed")

    with open_source(dataset, found, google) as source:
        assert source.base_url == base
