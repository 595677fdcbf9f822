"""Asking for a file and reading it over connections that break."""

import json
import logging
import socket
import threading
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler

import pytest
import requests
import taxi
from http_server import HttpServer

from elt.catalogue import Dataset, Publisher
from elt.catalogue.registry import DATASETS
from elt.connections import EnvironmentConnections
from elt.errors import PermanentError, SourceNotPublishedError, TransientError
from elt.periods import Month
from elt.sources.client import HttpClient, HttpSource, Limits, Patience

YELLOW, JANUARY = DATASETS["yellow"], Month(2024, 1)
PATH = taxi.YELLOW.format("2024-01")
CONTENT = bytes(range(256)) * 20_000  # more than one piece
FILE = Dataset("file", "A file", "/file", source=Publisher("shop", "https://example.com"))
IMPATIENT = Patience((0.01, 0.01, 0.01), 0)


def source(base_url: str, dataset: Dataset = YELLOW, **how: object) -> HttpSource:
    return HttpSource(dataset, base_url, patience=IMPATIENT, **how)


def receive(base_url: str, dataset: Dataset = FILE, **how: object) -> bytes:
    with source(base_url, dataset, **how) as client, client.open(None) as transfer:
        return b"".join(transfer)


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler], host: str = "127.0.0.1") -> Iterator[str]:
    with HttpServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield f"http://{host}:{server.server_address[1]}"
        server.shutdown()


class Quiet(BaseHTTPRequestHandler):
    """Answers everything with nothing; keeps the requests' headers, and counts connections."""

    protocol_version = "HTTP/1.1"

    def __init_subclass__(cls) -> None:
        cls.connections, cls.seen = 0, []

    def setup(self):
        type(self).connections += 1
        super().setup()

    def do_HEAD(self):
        self.seen.append(dict(self.headers))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_HEAD  # noqa: N815

    def log_message(self, *_):
        pass


class Breaking(BaseHTTPRequestHandler):
    """Answers ranges, and drops every connection after `most` bytes."""

    most = 2_000_000
    etag = '"one"'
    ranges: tuple[str | None, ...] = ()
    part = "bytes {start}-{end}/{size}"

    def do_GET(self):
        cls = type(self)
        asked = self.headers["Range"]
        cls.ranges += (asked,)
        start = int(asked[6:-1]) if asked and self.headers["If-Range"] == cls.etag else 0
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(CONTENT) - start))
        self.send_header("ETag", cls.etag)
        if start and cls.part:
            where = {"start": start, "before": start - 1, "end": len(CONTENT) - 1, "size": len(CONTENT)}
            self.send_header("Content-Range", cls.part.format(**where))
        self.end_headers()
        self.wfile.write(CONTENT[start : start + cls.most])

    def log_message(self, *_):
        pass


def test_a_published_file_is_described_by_one_head_request(faulty_source):
    faulty_source.serve(PATH, CONTENT)
    found = source(faulty_source.url + "/").probe(JANUARY)
    assert (found.url, found.size) == (faulty_source.url + PATH, len(CONTENT))
    assert found.etag
    assert faulty_source.requests == [("HEAD", PATH)]


def test_the_months_of_a_scan_are_asked_for_over_one_connection():
    class Counting(Quiet):
        pass

    with serving(Counting) as url, source(url) as client:
        for number in range(1, 13):
            assert client.probe(Month(2024, number)).size == 0
    assert (Counting.connections, len(Counting.seen)) == (1, 12)


def test_without_a_connection_the_entrys_own_address_is_asked(faulty_source):
    faulty_source.serve(PATH, CONTENT)
    entry = replace(YELLOW, source=Publisher("shop", faulty_source.url))
    assert source("", entry).probe(JANUARY).size == len(CONTENT)
    absolute = replace(YELLOW, path=faulty_source.url + YELLOW.path, source=None)
    client = source("http://127.0.0.1:9/elsewhere", absolute)
    assert client.probe(JANUARY).size == len(CONTENT)
    assert client.base_url == faulty_source.url


@pytest.mark.parametrize("status", [403, 404, 410])
def test_a_month_that_is_not_there_is_not_published(faulty_source, status):
    faulty_source.serve_status("/file", status)
    assert source(faulty_source.url, FILE).probe(None) is None
    with pytest.raises(SourceNotPublishedError, match=f"not published .* answers {status}"):
        receive(faulty_source.url)


def test_an_unavailable_source_is_transient_and_not_a_missing_month(faulty_source):
    faulty_source.serve_status(PATH, 503)
    with pytest.raises(TransientError, match=r"yellow_tripdata_2024-01.parquet: the source answers 503"):
        source(faulty_source.url).probe(JANUARY)


def test_a_hiccup_is_not_noticed(faulty_source):
    faulty_source.serve_after_failures(PATH, CONTENT, failures=2, status=502)
    assert source(faulty_source.url).probe(JANUARY).size == len(CONTENT)


def test_a_web_page_in_the_files_place_is_refused(faulty_source):
    faulty_source.serve_html(PATH)
    with pytest.raises(
        PermanentError, match=r"yellow_tripdata_2024-01.parquet: an HTML page instead of the file"
    ):
        source(faulty_source.url).probe(JANUARY)


@pytest.mark.parametrize("status", [206, 400, 405])
def test_an_answer_that_nobody_asked_for_is_permanent(faulty_source, status):
    """206 among them: a part in the place of the whole."""
    faulty_source.serve_status("/file", status)
    with pytest.raises(PermanentError, match=f"file: the source answers {status}"):
        receive(faulty_source.url)


def test_a_source_that_is_down_is_named():
    with pytest.raises(TransientError, match=r"http://127.0.0.1:9/.* does not answer \(ConnectionError\)"):
        source("http://127.0.0.1:9").probe(JANUARY)


@pytest.mark.parametrize("url", ["ftp://example.com", "http://:80", "example.com"])
def test_an_address_that_cannot_be_asked_is_permanent(url):
    with pytest.raises(PermanentError, match=f"{url}/file is not an address to ask"):
        source(url, FILE).probe(None)


def test_a_dropped_connection_is_continued_where_it_broke():
    class Handler(Breaking):
        pass

    with serving(Handler) as url:
        assert receive(url) == CONTENT
    assert Handler.ranges == (None, "bytes=2000000-", "bytes=4000000-")


@pytest.mark.parametrize(
    ("part", "reason"),
    [
        ("", "bytes from 2,000,000 on were requested, and the source sent a part without Content-Range"),
        ("bytes {before}-{end}/{size}", "source sent bytes 1999999-5119999/5120000"),
        ("bytes 0-{end}/{size}", "source sent bytes 0-5119999/5120000"),
        ("bytes {start}-{end}/5120001", "changed at the source while it was read"),
        ("lines {start}-{end}/{size}", "source sent lines"),
    ],
)
def test_another_part_than_the_rest_is_not_spliced_in(part, reason):
    class Handler(Breaking):
        pass

    Handler.part = part
    with serving(Handler) as url, pytest.raises(TransientError, match=f"file: .*{reason}"):
        receive(url)
    assert len(Handler.ranges) == 2


def test_a_part_of_a_file_whose_size_the_source_does_not_know_is_the_rest():
    class Handler(Breaking):
        part = "bytes {start}-{end}/*"

    with serving(Handler) as url:
        assert receive(url) == CONTENT


def test_a_part_of_another_edition_is_not_spliced_in():
    """From a source that pays no heed to If-Range."""

    class Heedless(Breaking):
        def send_header(self, name, value):
            super().send_header(name, '"two"' if name == "ETag" and type(self).ranges[-1] else value)

    with serving(Heedless) as url, pytest.raises(TransientError, match="changed at the source while it was"):
        receive(url)


def test_a_file_that_has_become_shorter_is_transient():
    class Shorter(Breaking):
        def send_response(self, status):
            super().send_response(416 if status == 206 else status)

    with serving(Shorter) as url, pytest.raises(TransientError, match="truncated"):
        receive(url)


def test_a_source_that_sends_next_to_nothing_per_connection_is_given_up():
    class Dripping(Breaking):
        def do_GET(self):
            # Whoever is patient for ever gets it all, so that the test ends.
            Dripping.most = 10 if len(Dripping.ranges) < 20 else len(CONTENT)
            super().do_GET()

    with serving(Dripping) as url, pytest.raises(TransientError, match="3 attempts to continue it failed"):
        receive(url)
    assert Dripping.ranges == (None, "bytes=10-", "bytes=20-", "bytes=30-")


def test_a_source_without_ranges_sends_the_beginning_again(faulty_source):
    faulty_source.serve_truncated_once("/file", CONTENT)
    assert receive(faulty_source.url) == CONTENT


def test_a_plain_static_server_is_a_source(tmp_path):
    (tmp_path / "file").write_bytes(CONTENT)

    class Static(SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=str(tmp_path))

        def log_message(self, *_):
            pass

    with serving(Static) as url:
        assert receive(url) == CONTENT


def test_a_file_that_stays_truncated_is_transient_and_its_sizes_are_reported(faulty_source):
    faulty_source.serve_truncated("/file", CONTENT)
    with pytest.raises(TransientError, match=r"truncated \(got 2,560,000 of 5,120,000 bytes\)"):
        receive(faulty_source.url)


def test_a_file_that_changes_on_the_way_is_not_mixed_with_its_successor():
    class Changing(Breaking):
        def do_GET(self):
            super().do_GET()
            Changing.etag = '"two"'

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

    with serving(Anonymous) as url, pytest.raises(TransientError, match="neither an ETag nor a date"):
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


PASSWORD, TOKEN = "open sesame", "t0ken"
BASIC = "Basic " + b64encode(f"ali:{PASSWORD}".encode()).decode()


def with_user(url: str) -> str:
    return url.replace("://", "://ali:open%20sesame@")


def test_login_and_headers_of_the_connection_are_sent():
    class Asked(Quiet):
        pass

    with serving(Asked) as url:
        headers = {"X-Key": TOKEN, "X-Number": 7, "Accept-Encoding": "gzip"}
        source(url, FILE, auth=("ali", PASSWORD), headers=headers).probe(None)
        source(with_user(url), FILE).probe(None)
    first, second = Asked.seen
    assert (first["Authorization"], first["X-Key"], first["X-Number"]) == (BASIC, TOKEN, "7")
    assert second["Authorization"] == BASIC
    assert first["Accept-Encoding"] == "identity", "bytes as published, whatever the connection asks for"


def test_secrets_go_to_no_host_but_the_connections():
    class Other(Quiet):
        pass

    with serving(Other, host="localhost") as other:

        class Redirecting(Quiet):
            def do_HEAD(self):
                self.seen.append(dict(self.headers))
                self.send_response(302)
                self.send_header("Location", f"{other}/file")
                self.send_header("Content-Length", "0")
                self.end_headers()

        secrets = {"auth": ("ali", PASSWORD), "headers": {"X-Key": TOKEN}}
        with serving(Redirecting) as url:
            with pytest.raises(PermanentError, match="redirects to http://localhost"):
                source(url, FILE, **secrets).probe(None)
            assert source(url, replace(FILE, path=f"{other}/file", source=None), **secrets).probe(None)
    assert [("X-Key" in seen, "Authorization" in seen) for seen in Redirecting.seen] == [(True, True)]
    assert [("X-Key" in seen, "Authorization" in seen) for seen in Other.seen] == [(False, False)]


def test_a_password_is_in_no_address_message_or_log(faulty_source, caplog):
    caplog.set_level(logging.DEBUG)
    faulty_source.serve("/file", CONTENT)
    shown = []
    for url, path in ((with_user(faulty_source.url), "/file"), ("", with_user(faulty_source.url) + "/file")):
        with source(url, replace(FILE, path=path)) as client:
            found = client.probe(None)
            with client.open(None) as transfer:
                shown += [repr(transfer), transfer.published.url]
            shown += [repr(client), client.base_url, repr(found)]
            assert client.base_url == faulty_source.url
            assert found.url == transfer.published.url == faulty_source.url + "/file"
    faulty_source.serve_truncated("/cut", CONTENT)
    for status in (400, 401, 403, 503):
        faulty_source.serve_status(f"/{status}", status)
    for base in (faulty_source.url, "http://127.0.0.1:9"):
        for path in ("/400", "/401", "/403", "/503", "/cut"):
            with pytest.raises((PermanentError, TransientError)) as error:
                receive(with_user(base), replace(FILE, path=path))
            shown.append(str(error.value))
    for text in (*shown, caplog.text):
        assert "sesame" not in text
        assert "ali:" not in text


def test_a_missing_login_is_permanent_and_says_where_it_belongs(faulty_source):
    faulty_source.serve_status("/file", 401)
    with pytest.raises(
        PermanentError,
        match=r"file: the source wants another login \(http.*/file\). Set it in the Airflow co",
    ):
        receive(faulty_source.url)


def test_a_file_is_asked_for_without_its_entry(faulty_source):
    """By Airflow's triggerer, which has what Airflow's database keeps, and nothing of the catalogue."""
    faulty_source.serve("/file", CONTENT)
    with HttpClient(faulty_source.url) as client:
        assert client.probe(f"{faulty_source.url}/file", "file").size == len(CONTENT)
        assert client.probe(f"{faulty_source.url}/other", "file") is None


# A source that means harm


def lying(
    head: bytes, body: bytes = b"", pause: float = 0.0, *, swift_head: bool = False
) -> type[BaseHTTPRequestHandler]:
    """Sends a head, then a body, a byte at a time where there is a pause, until the client has gone."""

    class Lying(BaseHTTPRequestHandler):
        def do_GET(self):
            self.wfile.write(b"HTTP/1.1 200 OK\r\n")
            try:
                self.wfile.write(head if swift_head or not pause else b"")
                for letter in body if swift_head or not pause else head + body:
                    self.wfile.write(bytes([letter]))
                    time.sleep(pause)
            except OSError:
                pass
            self.close_connection = True

        do_HEAD = do_GET  # noqa: N815

        def log_message(self, *_):
            pass

    return Lying


SWIFT = Patience((), 0, headers=0.3, piece=0.3)
SIZED = b"ETag: x\r\nContent-Length: 1000000\r\n\r\n"


def test_a_head_that_never_ends_is_given_up():
    with (
        serving(lying(b"X-Filler: " + b"x" * 2000, pause=0.02)) as url,
        HttpClient(url, patience=SWIFT) as http,
        pytest.raises(TransientError, match="does not answer"),
    ):
        http.probe(f"{url}/file", "file")


@pytest.mark.parametrize("head", [SIZED, b"Connection: close\r\n\r\n"])
def test_a_body_below_the_minimum_rate_is_truncated_and_never_taken_for_the_whole(head: bytes):
    """Also where the source announces no size: then the end of the connection is the end of the file."""

    with (
        serving(lying(head, b"x" * 2000, pause=0.02, swift_head=True)) as url,
        HttpClient(url, patience=SWIFT) as http,
        http.open(f"{url}/file", "file") as transfer,
        pytest.raises(TransientError, match="truncated"),
    ):
        list(transfer)


def chunked(url: str, limits: Limits) -> list[bytes]:
    with HttpClient(url, limits=limits, patience=SWIFT) as http, http.open(f"{url}/file", "file") as transfer:
        return list(transfer)


class Endless(BaseHTTPRequestHandler):
    """An answer in chunks, until the client has gone, or a test has failed; as slow as `pause`."""

    protocol_version = "HTTP/1.1"
    pause = 0.0

    def do_GET(self):
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        try:
            for _ in range(200):
                self.wfile.write(b"40000\r\n" + bytes(1 << 18) + b"\r\n")
                time.sleep(self.pause)
            self.wfile.write(b"0\r\n\r\n")
        except OSError:
            self.close_connection = True

    def log_message(self, *_):
        pass


def test_a_body_without_end_is_given_up_at_the_ceiling():
    with (
        serving(Endless) as url,
        pytest.raises(PermanentError, match=r"at most 1,000,000 are .*TAXI_MAX"),
    ):
        chunked(url, Limits(1_000_000))


def test_a_file_that_announces_more_than_the_ceiling_is_not_even_begun(faulty_source):
    faulty_source.serve("/file", CONTENT)
    with (
        HttpClient(faulty_source.url, limits=Limits(len(CONTENT) - 1)) as http,
        pytest.raises(PermanentError, match="5,120,000 bytes or more, and at most 5,119,999"),
    ):
        http.open(f"{faulty_source.url}/file", "file")


def test_the_ceiling_is_the_one_that_is_set(faulty_source):
    faulty_source.serve("/file", CONTENT)
    stack = {"GCP_PROJECT_ID": "p", "GCP_GCS_BUCKET": "b", "BIGQUERY_DATASET": "d", "GCP_LOCATION": "EU"}
    shop = json.dumps({"conn_type": "http", "host": faulty_source.url})
    variables = {**stack, "AIRFLOW_CONN_SHOP": shop, "TAXI_MAX_FILE_BYTES": "100"}
    with (
        EnvironmentConnections(variables).source(FILE) as shop_source,
        pytest.raises(PermanentError, match="at most 100 are taken"),
    ):
        shop_source.open(None)


def test_a_download_ends_when_its_time_is_over_however_steady_it_is():
    class Steady(Endless):
        pause = 0.01

    with serving(Steady) as url, pytest.raises(TransientError, match="set TAXI_DOWNLOAD_SECONDS"):
        chunked(url, Limits(seconds=0.2))


@pytest.mark.parametrize("size", ["-5", "abc", "1" * 5000, "1e3", "10, 10", ""])
def test_a_size_that_is_none_is_refused_instead_of_believed(size):
    """A file of so many bytes could not be told from a truncated one."""
    handler = lying(f"ETag: x\r\nContent-Length: {size}\r\n\r\n".encode(), b"PAR1")
    with serving(handler) as url, HttpClient(url, patience=SWIFT) as http:
        for ask in (http.probe, http.open):
            with pytest.raises(PermanentError, match=r"the source's Content-Length .* is no size"):
                ask(f"{url}/file", "file")


@pytest.mark.parametrize("etag", ["x" * 60_000, "a\x1b]0;owned\x07"])
def test_an_etag_that_no_metadata_should_hold_is_none(etag):
    handler = lying(f"ETag: {etag}\r\nContent-Length: 4\r\n\r\n".encode(), b"PAR1")
    with serving(handler) as url, HttpClient(url, patience=SWIFT) as http:
        assert http.probe(f"{url}/file", "file").etag is None


def redirecting(target: str) -> type[Quiet]:
    class Redirecting(Quiet):
        def do_GET(self):
            self.seen.append(dict(self.headers))
            if self.path == "/there":
                return super().do_HEAD()
            self.send_response(302)
            self.send_header("Location", target)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return None

        do_HEAD = do_GET  # noqa: N815

    return Redirecting


@pytest.mark.parametrize(
    "target",
    ["http://127.0.0.1:9/latest", "http://169.254.169.254/computeMetadata/v1/", "https://127.0.0.1:9/x",
     "https://[::1]/x", "https://10.0.0.7/x", "https://localhost/x", "http://example.com/x", "file:///etc/passwd",
     "https://[::ffff:127.0.0.1]/x"],
)  # fmt: skip
def test_a_source_cannot_lead_a_worker_into_its_own_network(target):
    with serving(redirecting(target)) as url, HttpClient(url, patience=SWIFT) as http:
        for ask in (http.probe, http.open):
            with pytest.raises(PermanentError, match=r"redirects to .*, neither itself nor"):
                ask(f"{url}/file", "file")


@pytest.mark.parametrize("addresses", [["8.8.8.8", "10.0.0.7"], ["10.0.0.7", "8.8.8.8"]])
def test_a_name_with_one_address_in_this_network_is_no_public_one(monkeypatch, addresses):
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 443)) for address in addresses]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    with HttpClient("http://127.0.0.1") as http:
        came = requests.Response()
        came.url, came.status_code = "http://127.0.0.1/file", 302
        came.headers["Location"] = "https://example.com/file"
        with pytest.raises(PermanentError, match="neither itself nor"):
            http._http.get_redirect_target(came)


def test_redirects_in_a_circle_are_the_sources_mistake():
    with (
        serving(redirecting("/file")) as url,
        HttpClient(url, patience=SWIFT) as http,
        pytest.raises(PermanentError, match=r"cannot be asked for \(TooManyRedirects\)"),
    ):
        http.probe(f"{url}/file", "file")


def test_a_source_may_lead_to_another_place_of_its_own():
    with serving(redirecting("/there")) as url, HttpClient(url, patience=SWIFT) as http:
        assert http.probe(f"{url}/file", "file").size == 0


@pytest.mark.parametrize("target", ["https://8.8.8.8/file", "https://127.0.0.1/file"])
def test_a_source_may_lead_to_a_public_https_address_or_to_its_own_without_its_secrets(target):
    with HttpClient("http://127.0.0.1", headers={"X-Key": TOKEN}) as http:
        came, goes = requests.Response(), requests.Request("GET", target, headers={"X-Key": TOKEN}).prepare()
        came.url, came.status_code, came.headers["Location"] = "http://127.0.0.1/file", 302, target
        came.request = requests.Request("GET", came.url).prepare()
        assert http._http.get_redirect_target(came) == target
        http._http.rebuild_auth(goes, came)
        assert ("X-Key" in goes.headers) == (target == "https://127.0.0.1/file")


@pytest.mark.parametrize("target", ["http://[::1", "http://exa mple/", "http://\x00/"])
def test_an_address_that_is_none_is_the_sources_mistake(target):
    with (
        serving(redirecting(target)) as url,
        HttpClient(url, patience=SWIFT) as http,
        pytest.raises(PermanentError),
    ):
        http.probe(f"{url}/file", "file")
