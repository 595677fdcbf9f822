"""The stream between source and lake: the same bytes, and none of a bad file's last ones."""

import gzip
import hashlib
from collections.abc import Iterator
from contextlib import closing
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elt.catalogue import Format
from elt.errors import PermanentError
from elt.stages.download import AHEAD, MEDIA_TYPES, Reader

NAME = "yellow_tripdata_2024-01.parquet"


def reader(*pieces: bytes, form: str = "parquet") -> Reader:
    return Reader(iter(pieces), NAME, form)


def drain(stream: Reader, size: int) -> Iterator[bytes]:
    while data := stream.read(size):
        yield data


@given(st.lists(st.binary(min_size=1, max_size=9), max_size=9), st.integers(1, 40))
@settings(deadline=None)  # each example starts a thread
def test_what_is_read_is_what_was_published_whatever_the_pieces(middle, size):
    pieces = [b"PAR1", *middle, b"1234PAR1"]
    stream, whole = reader(*pieces), b"".join(pieces)
    chunks = list(drain(stream, size))
    assert b"".join(chunks) == whole
    assert all(len(chunk) == size for chunk in chunks[:-1]), "a short chunk ends an upload"
    assert stream.tell() == len(whole)
    assert stream.checksum == hashlib.sha256(whole).hexdigest()


def test_no_more_is_received_ahead_than_is_sent_at_once():
    received = []

    def endless():
        while True:
            received.append(1)
            yield b"PAR1" + bytes(96)

    with closing(Reader(endless(), NAME, "parquet")) as stream:
        stream.read(100)
    # Two were needed to know that the first one is not the end.
    assert len(received) <= 2 + AHEAD


@given(st.integers(1, 40), st.integers(1, 12))
@settings(deadline=None)  # each example starts a thread
def test_a_file_without_its_footer_never_hands_out_its_end(size, piece):
    whole = b"PAR1" + bytes(40)
    stream = reader(*(whole[i : i + piece] for i in range(0, len(whole), piece)))
    got = b""
    with pytest.raises(
        PermanentError, match=rf"{NAME}: truncated \(its Parquet footer is missing after 44 bytes\)"
    ):
        for chunk in drain(stream, size):
            got += chunk
    assert len(got) < len(whole)


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", "empty"), (b"<!DOCTYPE html><p>Sorry", "HTML"), (b"\n  <HTML>", "HTML"),
     (b"<?xml version='1.0'?><Error/>", "XML"),
     (b"VendorID,tpep_pickup_datetime\n", "not Parquet .it begins with b'Vend'"), (b"PA", "not Parquet"),
     (b"PAR1", "truncated"), (b"PAR1PAR1", "truncated")],
)  # fmt: skip
def test_what_is_not_the_file_is_refused_by_name_and_reason(content, reason):
    for pieces in ([content] if content else [], [content[i : i + 1] for i in range(len(content))]):
        with pytest.raises(PermanentError, match=rf"{NAME}: .*{reason}"):
            reader(*pieces).read(1000)


def test_a_csv_needs_no_footer_but_is_not_a_web_page():
    assert reader(b"a,b\n1,2\n", form="csv").read(100) == b"a,b\n1,2\n"
    with pytest.raises(PermanentError, match="HTML"):
        reader(b"<!doctype html>", form="csv").read(100)


def test_what_is_no_table_may_be_anything_but_a_web_page():
    for content in (b"%PDF-1.7", b"PK\x03\x04", b"<?xml version='1.0'?><svg/>", b"<!DOCTYPE svg><svg/>"):
        assert reader(content, form="any").read(100) == content
    for content in (b"", b"<!DOCTYPE html>", b"<html>"):
        with pytest.raises(PermanentError):
            reader(content, form="any").read(100)


GZIPPED = gzip.compress(b"a,b\n" + bytes(range(256)) * 500)
NOUGHTS = gzip.compress(bytes(20_000_000))


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 70_000), st.integers(1, 5_000))
def test_a_gzip_that_is_cut_anywhere_never_hands_out_its_end(size, piece):
    for content, cuts in ((GZIPPED, (1, 8, len(GZIPPED) // 2)), (GZIPPED * 2, (4,)), (NOUGHTS, (3,))):
        for cut in cuts:
            short = content[:-cut]
            stream = reader(*(short[i : i + piece] for i in range(0, len(short), piece)), form="csv.gz")
            got = b""
            with pytest.raises(PermanentError, match=rf"{NAME}: truncated .its gzip content goes on after"):
                for chunk in drain(stream, size):
                    got += chunk
            assert len(got) < len(short)


@pytest.mark.parametrize("spoil", [slice(200, 210), slice(-8, -4)])
def test_a_gzip_that_is_damaged_is_refused(spoil):
    content = bytearray(GZIPPED)
    content[spoil] = bytes(byte ^ 0xFF for byte in content[spoil])
    with pytest.raises(PermanentError, match="corrupt gzip"):
        list(drain(reader(bytes(content), form="csv.gz"), 100))


@pytest.mark.parametrize("content", [GZIPPED, GZIPPED * 3, GZIPPED + bytes(512), NOUGHTS], ids=len)
def test_a_whole_gzip_is_what_was_published(content):
    assert b"".join(drain(reader(content, form="jsonl.gz"), 1000)) == content


@pytest.mark.parametrize("form", ["csv.gz", "jsonl.gz"])
def test_what_should_be_gzipped_is(form):
    content = gzip.compress(b"a,b\n1,2\n")
    assert reader(content, form=form).read(100) == content
    with pytest.raises(PermanentError, match=r"not gzip \(it begins with b'a,b"):
        reader(b"a,b\n1,2\n", form=form).read(100)


def test_every_format_has_a_media_type():
    assert set(MEDIA_TYPES) == set(get_args(Format))
