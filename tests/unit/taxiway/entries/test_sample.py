"""How much of a file is taken, from this machine and from a source that answers well or badly."""

from __future__ import annotations

import gzip
import io
import random
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from typing import ClassVar

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from http_server import HttpServer

from elt.errors import PermanentError, SourceNotPublishedError
from elt.sources.client import HttpClient
from taxiway.entries import sample
from taxiway.entries.guess import Wanted, guess
from taxiway.errors import UsageError


class Files(BaseHTTPRequestHandler):
    """Serves `content` by name, whole or in parts, and counts the bytes that were sent."""

    content: ClassVar[dict[str, bytes]] = {}
    parts = True
    sent = 0

    def do_GET(self) -> None:
        body = self.content.get(self.path.strip("/"))
        if body is None:
            self.send_error(404)
            return
        asked = self.headers.get("Range") if self.parts else None
        start, end = 0, len(body)
        if asked:
            first, _, last = asked.removeprefix("bytes=").partition("-")
            start, end = int(first), min(int(last) + 1, len(body))
        self.send_response(206 if asked else 200)
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{len(body)}")
        self.send_header("Content-Length", str(end - start))
        self.end_headers()
        for at in range(start, end, 1 << 16):
            piece = body[at : min(at + (1 << 16), end)]
            self.wfile.write(piece)
            type(self).sent += len(piece)

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def served() -> Iterator[tuple[str, type[Files]]]:
    handler = type("Handler", (Files,), {"content": {}, "sent": 0})
    server = HttpServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", handler
    server.shutdown()
    server.server_close()


MOST = 1 << 20


def looked_at(url: str) -> sample.Sample:
    with HttpClient(url) as client, sample.take(url, client, None, "", MOST) as found:
        return found


@pytest.mark.parametrize(
    ("name", "content", "form", "delimiter"),
    [
        ("a.csv", b"a;b\n1;2\n", "csv", ";"),
        ("a.csv", b"a,b;c\n1,2;\n", "csv", ","),
        ("a.csv", b"a\n1\n", "csv", ","),
        ("a.tsv", b"a\tb\n1\t2\n", "csv", "\t"),
        ("a.txt", b"a|b\n1|2\n", "csv", "|"),
        ("a.csv.gz", gzip.compress(b"a;b\n1;2\n", mtime=0) + gzip.compress(b"3;4\n", mtime=0), "csv.gz", ";"),
        ("export", gzip.compress(b"a;b\n1;2\n", mtime=0), "csv.gz", ";"),
        ("a.json", b'{"a": 1}\n{"a": 2}\n', "jsonl", ","),
        ("a.json", b'{\n  "a": 1\n}\n', "any", ","),
        ("a.json", b'[{"a": 1}]\n', "any", ","),
        ("a.svg", b"<svg>\n</svg>\n", "any", ","),
        ("a.zip", b"PK\x03\x04\x00\xff", "any", ","),
        ("a.csv", b"a,b\n\x00\x01", "any", ","),
    ],
)
def test_format_and_delimiter_are_found_out(
    name: str, content: bytes, form: str, delimiter: str, served: tuple[str, type[Files]]
) -> None:
    url, handler = served
    handler.content[name] = content
    found = looked_at(f"{url}/{name}")
    assert (found.format, found.delimiter) == (form, delimiter)


@pytest.mark.parametrize("packed", [False, True])
def test_of_a_long_text_only_the_beginning_is_downloaded(
    packed: bool, served: tuple[str, type[Files]]
) -> None:
    url, handler = served
    # More than waits in the buffers of a connection, packed, too.
    text = b"".join(b"%s,1\n" % random.Random(line).randbytes(1000).hex().encode() for line in range(12_000))
    name = "a.csv.gz" if packed else "a.csv"
    handler.content[name] = gzip.compress(b"a,b\n" + text, 1) if packed else b"a,b\n" + text
    found = looked_at(f"{url}/{name}")
    content = found.content.read()
    assert not found.whole
    assert content.endswith(b"\n")
    assert MOST * 0.99 < len(content) <= MOST
    assert handler.sent < len(handler.content[name])


def parquet(rows: int) -> bytes:
    """Numbers that no encoding makes short."""
    values = pa.array(range(rows), pa.int64())
    file = io.BytesIO()
    how = {"compression": "none", "use_dictionary": False, "row_group_size": 250_000}
    pq.write_table(pa.table({"id": values, "again": values}), file, **how)
    return file.getvalue()


@pytest.mark.parametrize("parts", [True, False])
def test_of_a_large_parquet_file_the_footer_and_some_rows_are_enough(
    parts: bool, served: tuple[str, type[Files]]
) -> None:
    url, handler = served
    handler.content["a.parquet"], handler.parts = parquet(1_500_000), parts
    whole = len(handler.content["a.parquet"])
    with HttpClient(url) as client, sample.take(f"{url}/a.parquet", client, None, "", MOST) as taken:
        made = guess(taken, f"{url}/a.parquet", Wanted("a"), lambda _question, _answers, default: default)
    assert [column.type for column in made.dataset.columns] == ["int64", "int64"]
    said = "Inferred by scripts/new from a.parquet: 16,384 rows, the beginning of the file. All of them fit."
    assert made.about == [said]
    assert (handler.sent < whole / 2) == parts


def test_what_is_not_there_or_damaged_is_refused(served: tuple[str, type[Files]]) -> None:
    url, handler = served
    with pytest.raises(SourceNotPublishedError):
        looked_at(f"{url}/a.csv")
    handler.content["a.csv.gz"] = gzip.compress(b"a,b\n1,2\n")[:15]
    with pytest.raises(PermanentError, match="its end is missing"):
        looked_at(f"{url}/a.csv.gz")
    handler.content["a.csv.gz"] = b"a,b\n1,2\n"
    with pytest.raises(PermanentError, match="corrupt gzip"):
        looked_at(f"{url}/a.csv.gz")
    with pytest.raises(UsageError, match="is no file and no URL"):
        looked_at("nothing.csv")
    with pytest.raises(UsageError, match="ftp:// is nothing"):
        looked_at("ftp://bucket/a.csv")
