"""The lake over Google's own client, against a bucket in memory that fails as it is told."""

import io
import traceback
from dataclasses import replace

import pytest
import requests
from fake_http import Answer
from fake_storage import FakeStorage
from fakes import STORAGE_RETRY
from google.auth.exceptions import RefreshError, TransportError

from elt.errors import AccessDeniedError, PermanentError, TransientError
from elt.stores import gcs
from elt.stores.gcs import Content, Lake

BIG = bytes(range(256)) * 4 * 9_000  # an upload in several requests


class Broken(io.BytesIO):
    """A stream that breaks after its first piece."""

    def read(self, size: int = -1) -> bytes:
        if self.tell():
            raise PermanentError("the file is bad")
        return super().read(size)


@pytest.fixture
def storage() -> FakeStorage:
    return FakeStorage("b")


@pytest.fixture
def lake(storage) -> Lake:
    return Lake(storage.client(), "b", retry=STORAGE_RETRY)


def put(lake: Lake, name: str, content: bytes = b"rows", over="any", **metadata: str):
    return lake.write(name, Content(io.BytesIO(content), len(content), "x/y", metadata), over=over)


def read(lake: Lake, stored) -> bytes:
    with lake.fetch(stored) as file:
        return file.read()


def test_an_object_is_found_with_its_size_and_metadata(lake):
    assert lake.find("raw/x") is None
    stored = put(lake, "raw/x", b"rows", checksum="c")
    assert lake.find("raw/x") == stored
    assert (stored.name, stored.size, stored.metadata) == ("raw/x", 4, {"checksum": "c"})
    assert lake.uri("raw/x") == "gs://b/raw/x"


@pytest.mark.parametrize("known", [True, False])
def test_a_large_object_goes_up_in_pieces_whether_its_size_is_known_or_not(lake, storage, known):
    stored = lake.write("raw/x", Content(io.BytesIO(BIG), len(BIG) if known else None, "x/y", {}))
    assert stored.size == len(BIG) > 2 * gcs.CHUNK
    assert [method for method, _ in storage.requests] == ["POST", "PUT", "PUT", "PUT"]
    assert read(lake, stored) == BIG


def test_a_stream_that_breaks_leaves_the_object_as_it_was(lake):
    before = put(lake, "raw/x")
    with pytest.raises(PermanentError, match="the file is bad"):
        lake.write("raw/x", Content(Broken(BIG), None, "x/y", {}))
    assert lake.find("raw/x") == before


def test_an_object_replaces_only_what_it_was_meant_to(lake):
    first = put(lake, "typed/x", over=None)
    second = put(lake, "typed/x", b"new", over=first)
    for over in (None, first):
        with pytest.raises(TransientError, match=r"gs://b/typed/x: replaced by someone else meanwhile"):
            put(lake, "typed/x", b"newer", over=over)
    assert lake.find("typed/x") == second


def test_metadata_are_added_to_the_object_they_are_of_only(lake):
    first = put(lake, "raw/x", b"one", etag="1")
    assert lake.describe(first, {"checksum": "c"}).metadata == {"etag": "1", "checksum": "c"}
    put(lake, "raw/x", b"two")
    with pytest.raises(TransientError, match="replaced by someone else"):
        lake.describe(first, {"checksum": "of one"})
    with pytest.raises(TransientError, match=r"gs://b/raw/x: not found"):
        lake.fetch(first)


def test_what_was_found_is_what_is_fetched(lake):
    stored = put(lake, "raw/x", b"one")
    assert read(lake, stored) == b"one"


def test_objects_are_listed_below_a_prefix(lake):
    for name in ("raw/a", "raw/b", "typed/a"):
        put(lake, name)
    assert [stored.name for stored in lake.list("raw/")] == ["raw/a", "raw/b"]


def test_an_object_is_removed_whether_it_is_there_or_not(lake):
    put(lake, "raw/a")
    for _ in range(2):
        lake.remove("raw/a")
    assert lake.find("raw/a") is None


def test_a_fetch_that_fails_keeps_no_temporary_file(lake, storage):
    stored = put(lake, "raw/a")
    storage.faults = [403]
    with pytest.raises(AccessDeniedError) as failure:
        lake.fetch(stored)
    # The error keeps the frames alive, and what is open in them.
    files = [frame.f_locals["file"] for frame, _ in traceback.walk_tb(failure.tb) if "file" in frame.f_locals]
    assert [file.closed for file in files] == [True]


def test_leaving_a_lake_closes_its_client(storage):
    with Lake(storage.client(), "b"):
        pass
    assert storage.closed


@pytest.mark.parametrize(
    ("fault", "kind", "text"),
    [
        (401, PermanentError, "no credentials"),
        (403, AccessDeniedError, r"access denied .* Google needs up to 7 minutes\."),
        (
            RefreshError("invalid_grant"),
            PermanentError,
            r"the credentials are not accepted \(invalid_grant\)",
        ),
        (404, TransientError, r"not found .*Is the stack up\?"),
        (500, TransientError, "the lake does not answer"),
        (RefreshError("busy", retryable=True), TransientError, "no token could be had"),
        (TransportError("no route"), TransientError, r"no token could be had \(.*no route\)"),
        (requests.ConnectionError("gone"), TransientError, "the lake does not answer"),
    ],
)
def test_an_error_names_the_object_and_says_whether_to_try_again(lake, storage, fault, kind, text):
    storage.faults = [fault] * 1000
    with pytest.raises(kind, match=rf"^gs://b/raw/: {text}") as failure:
        list(lake.list("raw/"))
    assert "\n" not in str(failure.value)


def test_a_bucket_that_is_gone_is_named(storage):
    with pytest.raises(TransientError, match=r"gs://nobodys/raw/x: not found"):
        put(Lake(storage.client(), "nobodys"), "raw/x")


@pytest.mark.parametrize("status", [429, 503])
def test_a_hiccup_is_not_noticed(lake, storage, status):
    put(lake, "raw/x")
    storage.faults = [status, status]
    assert lake.find("raw/x")
    assert storage.faults == []


def test_every_request_has_a_time_out(lake, storage):
    stored = put(lake, "raw/x")
    read(lake, put(lake, "raw/y", BIG))
    lake.describe(stored, {"a": "b"})
    list(lake.list(""))
    lake.remove("raw/x")
    assert {method for method, _ in storage.requests} == {"GET", "POST", "PUT", "PATCH", "DELETE"}
    assert set(storage.timeouts) == {gcs.TIMEOUT}


class Breaking(FakeStorage):
    """A bucket whose downloads break after `most` bytes, and whose uploads keep all but `lost` of a piece."""

    most, lost = 1_000_000, 0
    ranges: tuple[str | None, ...] = ()

    def answer(self, request):
        answer = super().answer(request)
        if not isinstance(answer.body, bytes) or not answer.body:
            return answer
        asked = request.headers.get("range")
        self.ranges += (asked,)
        start = int(asked.removeprefix("bytes=").partition("-")[0]) if asked else 0
        rest = answer.body[start:]
        headers = {**(answer.headers or {}), "Content-Length": str(len(rest))}
        if asked:
            headers["Content-Range"] = f"bytes {start}-{len(answer.body) - 1}/{len(answer.body)}"
        return Answer(206 if asked else 200, rest[: self.most], headers)

    def _continue(self, request, bucket, upload):
        if self.lost and not upload["content"]:
            request = replace(request, body=request.body[: -self.lost])
        return super()._continue(request, bucket, upload)


# The window is over when the connection breaks for the first time, as with a download that takes minutes.
NO_TIME = STORAGE_RETRY.with_timeout(1e-6)


def test_a_download_is_continued_where_it_broke_however_long_it_took():
    storage = Breaking("b")
    lake = Lake(storage.client(), "b", retry=NO_TIME)
    stored = put(lake, "raw/x", BIG)
    assert read(lake, stored) == BIG
    assert len(storage.ranges) == 10
    assert len(set(storage.ranges)) == 10, "no byte is sent twice"


def test_a_download_that_gets_nowhere_is_given_up_and_one_that_was_damaged_is_noticed():
    storage = Breaking("b")
    lake = Lake(storage.client(), "b", retry=NO_TIME)
    stored = put(lake, "raw/x", BIG)
    storage.most = 0
    with pytest.raises(TransientError, match="the lake does not answer"):
        lake.fetch(stored)
    storage.most = 5_000_000

    def spoil(_):
        storage.objects["b"]["raw/x"].content = bytes(len(BIG))

    storage.after = spoil
    with pytest.raises(TransientError, match=r"gs://b/raw/x: damaged on the way\. Try again\."):
        lake.fetch(stored)


def test_an_upload_of_which_the_lake_keeps_less_than_it_was_sent_is_transient():
    """Google may: "you should not assume that the server received all bytes sent in any given request"."""
    storage = Breaking("b")
    storage.lost = 1 << 20
    with pytest.raises(TransientError, match=r"gs://b/raw/x: the upload was not kept whole"):
        put(Lake(storage.client(), "b", retry=STORAGE_RETRY), "raw/x", BIG)
    assert storage.objects["b"] == {}
