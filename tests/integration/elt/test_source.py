"""Asking for a file and reading it over connections that break."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
import taxi

from elt.catalogue.registry import DATASETS
from elt.errors import PermanentError, SourceNotPublishedError, TransientError
from elt.months import Month
from elt.sources.client import HttpSource, Transfer, session

YELLOW, JANUARY = DATASETS["yellow"], Month(2024, 1)
PATH = taxi.YELLOW.format("2024-01")
CONTENT = bytes(range(256)) * 20_000  # more than one piece


def probe(url: str):
    return HttpSource(YELLOW, url).probe(JANUARY)


def receive(url: str) -> bytes:
    with session() as http, Transfer(url, "file", http) as transfer:
        return b"".join(transfer)


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/file"
        server.shutdown()


class Breaking(BaseHTTPRequestHandler):
    """Answers ranges, and drops every connection after `most` bytes."""

    most = 2_000_000
    etag = '"one"'
    ranges: tuple[str | None, ...] = ()
    chunked = False

    def do_GET(self):
        cls = type(self)
        asked = self.headers["Range"]
        cls.ranges += (asked,)
        start = int(asked[6:-1]) if asked and self.headers["If-Range"] == cls.etag else 0
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(CONTENT) - start))
        self.send_header("ETag", cls.etag)
        self.end_headers()
        self.wfile.write(CONTENT[start : start + cls.most])

    def log_message(self, *_):
        pass


def test_a_published_file_is_described_by_one_head_request(faulty_source):
    faulty_source.serve(PATH, CONTENT)
    found = probe(faulty_source.url)
    assert (found.url, found.size) == (faulty_source.url + PATH, len(CONTENT))
    assert found.etag
    assert faulty_source.requests == [("HEAD", PATH)]


@pytest.mark.parametrize("status", [403, 404, 410])
def test_a_month_that_is_not_there_is_not_published(faulty_source, status):
    faulty_source.serve_status(PATH, status)
    assert probe(faulty_source.url) is None
    with pytest.raises(SourceNotPublishedError, match=f"not published .* answers {status}"):
        receive(faulty_source.url + PATH)


def test_a_source_in_trouble_is_trouble_and_not_a_missing_month(faulty_source):
    faulty_source.serve_status(PATH, 503)
    with pytest.raises(TransientError, match=r"yellow_tripdata_2024-01.parquet: the source answers 503"):
        probe(faulty_source.url)


def test_a_hiccup_is_not_noticed(faulty_source):
    faulty_source.serve_after_failures(PATH, CONTENT, failures=2, status=502)
    assert probe(faulty_source.url).size == len(CONTENT)


def test_a_web_page_in_the_files_place_is_refused(faulty_source):
    faulty_source.serve_html(PATH)
    with pytest.raises(
        PermanentError, match=r"yellow_tripdata_2024-01.parquet: an HTML page instead of the file"
    ):
        probe(faulty_source.url)


def test_a_source_that_is_down_is_named():
    with pytest.raises(TransientError, match=r"http://127.0.0.1:9/.* does not answer"):
        probe("http://127.0.0.1:9")


def test_a_dropped_connection_is_continued_where_it_broke():
    handler = type("Handler", (Breaking,), {})
    with serving(handler) as url:
        assert receive(url) == CONTENT
    assert handler.ranges == (None, "bytes=2000000-", "bytes=4000000-")


def test_a_source_without_ranges_sends_the_beginning_again(faulty_source):
    faulty_source.serve_truncated_once(PATH, CONTENT)
    assert receive(faulty_source.url + PATH) == CONTENT


def test_a_plain_static_server_is_a_source(tmp_path):
    (tmp_path / "file").write_bytes(CONTENT)

    class Static(SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=str(tmp_path))

        def log_message(self, *_):
            pass

    with serving(Static) as url:
        assert receive(url) == CONTENT


def test_a_file_that_stays_truncated_is_trouble_with_its_sizes(faulty_source):
    faulty_source.serve_truncated(PATH, CONTENT)
    with pytest.raises(TransientError, match=r"truncated \(got 2,560,000 of 5,120,000 bytes\)"):
        receive(faulty_source.url + PATH)


def test_a_file_that_changes_on_the_way_is_not_mixed_with_its_successor():
    handler = type("Handler", (Breaking,), {})

    class Changing(handler):
        def do_GET(self):  # noqa: N802
            super().do_GET()
            handler.etag = type(self).etag = '"two"'

    with (
        serving(Changing) as url,
        pytest.raises(TransientError, match="changed at the source while it was read"),
    ):
        receive(url)


def test_nothing_is_continued_that_cannot_be_identified():
    class Anonymous(Breaking):
        def send_header(self, name, value):
            if name != "ETag":
                super().send_header(name, value)

    with serving(Anonymous) as url, pytest.raises(TransientError, match="truncated"):
        receive(url)
    assert Anonymous.ranges == (None,)


def test_a_chunked_answer_has_no_size_but_an_end():
    class Chunked(Breaking):
        protocol_version = "HTTP/1.1"
        broken = False

        def do_GET(self):
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.send_header("ETag", '"one"')
            self.end_headers()
            self.wfile.write(b"%x\r\n%s\r\n" % (len(CONTENT), CONTENT))
            if not Chunked.broken:
                self.wfile.write(b"0\r\n\r\n")
            self.close_connection = True

    with serving(Chunked) as url:
        assert receive(url) == CONTENT
        Chunked.broken = True
        with pytest.raises(TransientError, match=r"truncated \(got [0-9,]+ bytes\)"):
            receive(url)
