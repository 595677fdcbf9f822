"""An API that answers in pages, over HTTP: every kind of paging, and all that goes wrong on the way."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace

import paged_api
import pyarrow.parquet as pq
import pytest
from paged_api import Answer, PagedApi

from elt.catalogue import Api, Audit, Column, Cursor, Dataset, NextLink, Offset, PageNumber
from elt.connection_fields import ConnectionFields
from elt.errors import PermanentError, SourceNotPublishedError, TransientError
from elt.formats.pages import framed
from elt.layout import typed_object
from elt.periods import Month, Period
from elt.sources import open_source
from elt.sources.api import ApiSource
from elt.sources.changes import Scan, scan
from elt.sources.client import Limits, Patience
from elt.stage_request import StageRequest
from elt.stages import run

JANUARY = Month(2024, 1)
STAGES = ("download", "conform", "stage", "audit")
WAYS = {
    "/links": NextLink("meta.next"),
    "/headers": NextLink(),
    "/cursors": Cursor("meta.next", "at"),
    "/numbers": PageNumber(),
    "/offsets": Offset(),
}
COUNTED = {"/numbers": PageNumber(total="meta.total"), "/offsets": Offset(total="meta.total")}
RECORDS = [
    f'{{"at": "2024-01-{day:02}T00:00:00Z", "id": {day}, "fare": {day}.10, "from": {{"zone": "Z{day}"}}}}'
    for day in range(1, 6)
]
COLUMNS = (
    Column("at", "timestamp", "When."),
    Column("id", "int64", "Number."),
    Column("fare", "numeric", "Money."),
    Column("zone", "string", "Where from.", aliases=("from.zone",)),
)


@pytest.fixture
def api() -> Iterator[PagedApi]:
    with paged_api.running() as running:
        running.records = list(RECORDS)
        yield running


def entry(path: str = "/links", paging: object = None, **how) -> Dataset:
    params = {"from": "{start}", "to": "{end_date}"}
    source = Api("rides_api", "http://127.0.0.1:9", "data.items", params, paging or WAYS.get(path))
    return Dataset(
        **{
            "name": "rides", "title": "Rides", "path": path, "table": "rides", "key": "at",
            "columns": COLUMNS, "first": Month(2024, 1), "audits": (Audit("row_count"),),
            "source": source, "postgres": False,
            **how,
        }
    )  # fmt: skip


def source(api: PagedApi, path: str = "/links", paging: object = None, ds: Dataset | None = None, **how):
    patience = Patience((0.01, 0.01), 0.0)
    return ApiSource(ds or entry(path, paging), api.url, **{"patience": patience, **how})


def read(api: PagedApi, path: str = "/links", paging: object = None, **how) -> bytes:
    with source(api, path, paging, **how) as opened, opened.open(JANUARY) as pages:
        return b"".join(pages)


def records(content: bytes) -> list[str]:
    """The records of a raw object by another reader, with their digits."""
    pages = [json.loads(page, parse_float=str) for page in content.split(b"\x1e")[1:]]
    return [item["fare"] for page in pages for item in page["data"]["items"]]


@pytest.mark.parametrize("path", WAYS)
@pytest.mark.parametrize("count", [1, 2, 4, 5])
def test_every_page_is_read_once_in_order_whatever_the_paging(api, path, count):
    del api.records[count:]
    assert records(read(api, path)) == [f"{day}.10" for day in range(1, count + 1)]
    assert api.requests[0][1]["from"] == "2024-01-01T00:00:00Z"
    assert api.requests[0][1]["to"] == "2024-02-01"
    # Where nothing says that a page is the last, only an empty one does.
    extra = path in ("/numbers", "/offsets")
    assert len(api.requests) == -(-count // paged_api.PAGE) + extra


@pytest.mark.parametrize("path", COUNTED)
def test_records_that_are_counted_need_no_empty_page(api, path):
    assert len(records(read(api, path, COUNTED[path]))) == 5
    assert len(api.requests) == 3


@pytest.mark.parametrize("path", COUNTED)
def test_records_that_change_while_they_are_read_are_noticed_where_they_are_counted(api, path):
    def one_is_deleted(query):
        if query.get("page", query.get("offset")) in ("1", "0"):
            del api.records[0]

    api.change = one_is_deleted
    with pytest.raises(TransientError, match="the API counts 5 records, then 4: they changed while"):
        read(api, path, COUNTED[path])


def test_the_raw_object_has_the_pages_byte_for_byte(api):
    pages = [
        b'{"data":{"items":[ {"a": 1.10}\n]},\r\n"meta":{"next":"/links?at=2"}}',
        b' {"data":{"items":[]}} ',
    ]
    api.answers["/links"] = [Answer(page) for page in pages]
    assert read(api) == b"".join(map(framed, pages))


def test_without_paging_there_is_one_page(api):
    assert len(records(read(api, "/anything"))) == 2
    assert len(api.requests) == 1


def test_a_token_is_sent_to_the_api_and_only_there(api):
    api.token = "s3cret"
    fields = ConnectionFields("http", api.url, password="s3cret")
    with (
        open_source(entry(), fields, google=lambda: pytest.fail("no bucket is asked")) as opened,
        opened.open(JANUARY) as pages,
    ):
        assert len(records(b"".join(pages))) == 5
        assert "s3cret" not in pages.published.url + opened.base_url


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_busy_api_is_asked_again(api, status):
    api.answers["/links"] = [None, Answer(status=status, headers={"Retry-After": "0"}), Answer(status=status)]
    assert len(records(read(api))) == 5


def test_an_api_that_stays_busy_or_wants_an_hour_is_left_to_the_next_attempt(api):
    hour = Answer(status=429, headers={"Retry-After": "3600"})
    api.answers["/links"] = [hour] * 99
    with pytest.raises(TransientError, match="the source answers 429"):
        read(api)
    assert len(api.requests) == 4


def test_a_page_that_breaks_off_is_read_again_and_the_pages_before_it_are_not(api):
    whole = api.answer("/links", "").body
    api.requests.clear()
    api.answers["/links"] = [None, Answer(whole, cut=30), Answer(whole[:40]), None]
    assert len(records(read(api))) == 5
    assert [query.get("at") for _, query in api.requests] == [None, "2", "2", "2", "4"]


def test_a_page_that_stays_broken_is_an_error_with_its_number_and_address(api):
    api.answers["/links"] = [None] + [Answer(b'{"data": {"items": [1')] * 9
    with pytest.raises(TransientError, match=r"json-seq, page 2: not JSON \(.*/links\?at=2\)"):
        read(api)


def test_a_page_that_is_replaced_while_it_is_read_is_read_anew(api):
    """Its first half is of the old page: the two are never put together."""
    body = api.answer("/links", "").body
    old = Answer(body.replace(b'"id": 1', b'"id": 8'), headers={"ETag": '"old"'}, cut=60)
    api.answers["/links"] = [old, Answer(body, headers={"ETag": '"new"'}), None]
    content = read(api)
    assert len(records(content)) == 5
    assert b'"id": 8' not in content


LOOP = Answer(json.dumps({"meta": {"next": "/links?at=1"}, "data": {"items": [1]}}).encode())


@pytest.mark.parametrize(
    ("path", "paging", "answers", "reason"),
    [
        ("/links", None, [LOOP] * 3, "page 2: the same page again"),
        ("/cursors", None, [Answer(LOOP.body.replace(b"[1]", b"[%d]" % n)) for n in range(9)],
         "page 2: leads back to a page"),
        ("/numbers", None, [Answer(b'{"data": {"items": [1]}}')] * 9, "page 2: the same page again"),
        ("/numbers", PageNumber(total="meta.all"), [], "its meta.all is missing, and has to be a number"),
        ("/links", None, [Answer(LOOP.body.replace(b"/links", b"http://169.254.169.254/links"))],
         "leads to another host, http://169.254.169.254"),
        ("/links", None, [Answer(LOOP.body.replace(b'"/links?at=1"', b"[7]"))], r"its meta.next is \[7\]"),
        ("/links", None, [Answer(b'{"error": "no such thing"}')],
         r"it has no data.items \(its names: error\).*Correct records"),
        ("/links", None, [Answer(b"<html>", kind="text/html")], "an HTML page"),
        ("/links", None, [Answer(status=403)], "the source answers 403"),
        ("/links", None, [Answer(status=401)], "wants another login"),
    ],
)  # fmt: skip
def test_what_cannot_end_well_is_refused_at_once(api, path, paging, answers, reason):
    api.answers[path] = list(answers)
    with pytest.raises(PermanentError, match=reason):
        read(api, path, paging)
    assert len(api.requests) <= 3


def test_a_token_that_expires_on_the_way_is_for_another_attempt_with_a_new_one(api):
    api.answers["/links"] = [None, Answer(status=401)]
    with pytest.raises(TransientError, match=r"wants another login.*try again from the first"):
        read(api)


def test_pages_have_the_limits_of_files(api):
    with pytest.raises(PermanentError, match=r"page 2: .* bytes came, and at most 300 are taken"):
        read(api, limits=Limits(300, 60))
    with pytest.raises(TransientError, match="TAXI_DOWNLOAD_SECONDS"):
        read(api, limits=Limits(10_000, -1))


def test_a_partition_is_published_once_it_is_over_and_has_a_record(api):
    now = Period.parse("2199-01")
    with source(api) as opened:
        assert opened.probe(JANUARY).url.startswith(f"{api.url}/links?from=2024-01-01")
        assert len(api.requests) == 1
        assert opened.probe(now) is None
        with pytest.raises(SourceNotPublishedError, match="2199-01 is not over"):
            list(opened.open(now))
        assert len(api.requests) == 1
        api.records.clear()
        assert opened.probe(JANUARY) is None
        with pytest.raises(SourceNotPublishedError, match="no record is at"):
            list(opened.open(JANUARY))
        api.answers["/links"] = [Answer(status=404)]
        assert opened.probe(JANUARY) is None


def test_a_first_page_without_records_may_lead_to_others(api):
    empty = Answer(b'{"meta": {"next": "/links?at=2"}, "data": {"items": []}}')
    api.answers["/links"] = [empty, None, empty]
    with source(api) as opened:
        assert opened.probe(JANUARY)
        assert read(api).count(b"\x1e") == 3


@pytest.mark.emulators
def test_pages_become_rows_and_a_second_look_finds_what_was_added(api, stack):
    ds = entry(source=replace(entry().source, base_url=api.url), reread=1)
    connections = stack.connections

    def stages(run_id: str) -> list[dict]:
        request = StageRequest(ds, JANUARY, run_id, connections.settings)
        return [run(stage, request, connections) for stage in STAGES]

    def found():
        with connections.source(ds) as opened, stack.lake() as lake:
            return scan(ds, opened, lake)

    api.records.insert(2, '{"at": "2024-01-09T00:00:00Z", "id": 1.5, "fare": 1}')
    first = stages("one")
    assert (first[1]["rows"], first[1]["quarantined"]) == (5, 1)
    with stack.lake() as lake, lake.fetch(lake.find(typed_object(ds, JANUARY))) as file:
        typed = pq.read_table(file).to_pylist()
    assert [(str(row["fare"]), row["zone"]) for row in typed][2] == ("3.100000000", "Z3")
    # Nothing can be compared, so the latest partition is read again: the same bytes are recognised.
    assert found().to_load == (JANUARY,)
    again = stages("two")
    assert (again[0]["reused"], again[1]["reused"]) == (False, True)
    assert again[0]["checksum"] == first[0]["checksum"]
    api.records.append(RECORDS[0].replace('"id": 1,', '"id": 77,'))
    assert stages("three")[1]["rows"] == 6
    ds = replace(ds, reread=0)
    assert found() == Scan(0, (), {})
