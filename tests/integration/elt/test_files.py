"""Files in buckets, in folders and on SFTP servers: real ones, described as a user does, and their faults."""

import datetime as dt
import gzip
import hashlib
import io
import json
import os
from dataclasses import replace
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest
import requests
from file_servers import line_to, s3_running, sftp_running

from elt.catalogue import Audit, Column, Dataset, Publisher
from elt.connection_fields import ConnectionFields
from elt.connections import EnvironmentConnections
from elt.errors import (
    AccessDeniedError,
    PermanentError,
    SettingError,
    SourceNotPublishedError,
    TransientError,
)
from elt.layout import quarantine_object
from elt.periods import Month
from elt.sources.changes import scan
from taxiway.entries import guess
from taxiway.entries.sample import take

JANUARY, FEBRUARY = Month(2024, 1), Month(2024, 2)
LARGE = os.urandom(3 * 2**20)
VARIABLES = {
    "GCP_PROJECT_ID": "p", "GCP_GCS_BUCKET": "b", "BIGQUERY_DATASET": "d", "GCP_LOCATION": "US",
}  # fmt: skip
STATIONS = Dataset(
    name="stations",
    title="Stations",
    path="/s {year}-{month}+.csv",
    table="stations",
    key="opened",
    first=JANUARY,
    source=Publisher("partner", "file:///"),
    audits=(Audit("row_count"),),
    columns=(
        Column("opened", "datetime", "When it was opened."),
        Column("name", "string", "Its name.", required=False),
    ),
)
PARTS = replace(STATIONS, path="/{year}-{month}/part-*.csv")


@pytest.fixture(scope="session")
def s3(tmp_path_factory):
    with s3_running(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture(scope="session")
def sftp(tmp_path_factory):
    with sftp_running(tmp_path_factory.mktemp("sftp")) as server:
        yield server


def at(base, dataset=STATIONS):
    """The same dataset at another place."""
    return replace(dataset, source=Publisher("partner", base))


def source(dataset, connection="", **variables):
    return EnvironmentConnections({**VARIABLES, "AIRFLOW_CONN_PARTNER": connection, **variables}).source(
        dataset
    )


def received(dataset, connection="", period=JANUARY, **variables):
    with source(dataset, connection, **variables) as found, found.open(period) as transfer:
        return b"".join(transfer)


def probed(dataset, connection="", period=JANUARY, **variables):
    with source(dataset, connection, **variables) as found:
        return found.probe(period)


class Bucket:
    """Files by path in one place, and what reaches it."""

    def __init__(self, base, connection, put, remove, variables=None):
        self.base, self.connection, self.put, self.remove = base, connection, put, remove
        self.variables = variables or {}

    def how(self):
        return {"connection": self.connection, **self.variables}


def folder(path, base, connection=""):
    """A place that is a folder of this machine, whoever serves it."""

    def put(name, content):
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        # As a publisher should: complete under another name, then renamed.
        (path / "incomplete").write_bytes(content)
        (path / "incomplete").rename(path / name)

    return Bucket(base, connection, put, lambda name: (path / name).unlink())


@pytest.fixture(params=["file", "s3", "sftp", pytest.param("gs", marks=pytest.mark.emulators)])
def place(request, tmp_path):
    if request.param == "file":
        return folder(tmp_path, f"file://{tmp_path}")
    if request.param == "sftp":
        server = request.getfixturevalue("sftp")
        below = server.folder / tmp_path.name
        below.mkdir()
        return folder(below, f"sftp://elsewhere.test/{tmp_path.name}", server.connection())
    if request.param == "s3":
        server, bucket = request.getfixturevalue("s3"), tmp_path.name.replace("_", "-")[:60].strip("-")
        server.put(bucket, "another", b"")
        return Bucket(
            f"s3://{bucket}/below", server.connection(),
            lambda name, content: server.put(bucket, f"below/{name}", content),
            lambda name: server.remove(bucket, f"below/{name}"),
        )  # fmt: skip
    return google(
        request.getfixturevalue("emulators"), "of-" + tmp_path.name.replace("_", "-")[:50].strip("-")
    )


def google(emulators, bucket):
    url = emulators.storage_url
    made = requests.post(f"{url}/storage/v1/b", params={"project": emulators.project}, json={"name": bucket})
    assert made.ok, made.text

    def put(name, content):
        query = {"uploadType": "media", "name": f"below/{name}"}
        assert requests.post(f"{url}/upload/storage/v1/b/{bucket}/o", params=query, data=content).ok

    def remove(name):
        path = requests.utils.quote(f"below/{name}", safe="")
        assert requests.delete(f"{url}/storage/v1/b/{bucket}/o/{path}").ok

    return Bucket(f"gs://{bucket}/below", "", put, remove, {"STORAGE_EMULATOR_HOST": url})


def test_a_file_is_found_read_and_known_again(place):
    dataset = at(place.base)
    assert probed(dataset, **place.how()) is None
    with pytest.raises(SourceNotPublishedError, match="not published"):
        received(dataset, **place.how())
    place.put("s 2024-01+.csv", LARGE)
    place.put("s 2024-02+.csv", b"")
    first = probed(dataset, **place.how())
    assert first.size == len(LARGE)
    assert first.url.endswith("/s 2024-01+.csv")
    assert first.etag or first.last_modified
    assert received(dataset, **place.how()) == LARGE
    assert received(dataset, period=FEBRUARY, **place.how()) == b""
    assert probed(dataset, **place.how()) == first
    place.put("s 2024-01+.csv", b"another")
    assert probed(dataset, **place.how()) != first


def test_a_pattern_finds_the_files_of_one_folder_by_name_and_every_change(place):
    dataset = at(place.base, PARTS)
    assert probed(dataset, **place.how()) is None
    for name in ("part-b.csv", "part-a.csv", "_SUCCESS", "part-c.txt", "deeper/part-d.csv"):
        place.put(f"2024-01/{name}", name.encode())
    with source(dataset, **place.how()) as found:
        assert [shard.url.rpartition("/")[2] for shard in found.shards(JANUARY)] == [
            "part-a.csv",
            "part-b.csv",
        ]
        with found.open_shard(found.shards(JANUARY)[1]) as transfer:
            assert b"".join(transfer) == b"part-b.csv"
        with pytest.raises(SourceNotPublishedError):
            found.shards(FEBRUARY)
    states = [probed(dataset, **place.how())]
    assert states[0] == probed(dataset, **place.how())
    place.put("2024-01/part-c.csv", b"added")
    states.append(probed(dataset, **place.how()))
    place.put("2024-01/part-c.csv", b"changed")
    states.append(probed(dataset, **place.how()))
    place.remove("2024-01/part-a.csv")
    states.append(probed(dataset, **place.how()))
    assert len({state.etag for state in states}) == 4


def test_files_with_a_marker_are_published_when_it_is_there_and_it_is_none_of_them(place):
    dataset = at(place.base, replace(PARTS, path="/{year}-{month}/*", format="csv", marker="{month}.done"))
    place.put("2024-01/part-0.csv", b"first")
    with source(dataset, **place.how()) as found:
        assert found.probe(JANUARY) is None
        with pytest.raises(SourceNotPublishedError, match=r"2024-01/\*, and beside it .*/2024-01/01.done"):
            found.shards(JANUARY)
        place.put("2024-01/part-1.csv", b"second")
        place.put("2024-01/01.done", b"")
        names = [shard.url.rpartition("/")[2] for shard in found.shards(JANUARY)]
        assert names == ["part-0.csv", "part-1.csv"]
        assert found.probe(JANUARY).size == len(b"firstsecond")
        # A period that is written anew.
        place.remove("2024-01/01.done")
        assert found.probe(JANUARY) is None


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_an_entry_is_made_of_a_file_where_it_lies_and_reads_it(place, form):
    file = io.BytesIO()
    days = [JANUARY.start + dt.timedelta(days=number % 31) for number in range(5000)]
    table = pa.table({"at": pa.array(days, pa.timestamp("us")), "id": range(5000)})
    (pacsv.write_csv if form == "csv" else pq.write_table)(table, file)
    place.put(f"b_2024-01.{form}", file.getvalue())
    address = f"{place.base}/b_2024-01.{form}"
    wanted = guess.Wanted("b", connection="partner" if place.connection else "")
    variables = {**VARIABLES, "AIRFLOW_CONN_PARTNER": place.connection, **place.variables}
    with (
        guess.place(address, wanted, variables) as publisher,
        take(address, publisher, None, "", 10_000) as sample,
    ):
        assert not sample.whole
        entry = guess.guess(sample, address, wanted, lambda *_: pytest.fail("nothing is to be asked")).dataset
    assert (entry.key, entry.first, [column.type for column in entry.columns]) == (
        "at", JANUARY, ["datetime", "int64"],
    )  # fmt: skip
    assert received(entry, **place.how()) == file.getvalue()


def test_a_file_above_the_limit_is_given_up_before_it_is_read(place):
    place.put("s 2024-01+.csv", LARGE)
    with pytest.raises(PermanentError, match="set TAXI_MAX_FILE_BYTES to more"):
        received(at(place.base), **place.how(), TAXI_MAX_FILE_BYTES="100")


# S3


def test_a_large_listing_comes_in_pages_and_a_broken_object_is_continued(s3):
    s3.put("pages", "2024-01/part-a.csv", LARGE)
    with line_to(urlsplit(s3.url).port) as line:
        connection = s3.connection(extra={"endpoint_url": f"http://127.0.0.1:{line.port}"})
        with source(at("s3://pages", PARTS), connection) as found:
            (shard,) = found.shards(JANUARY)
            line.cuts = [1_000_000, 1_500_000]
            with found.open_shard(shard) as transfer:
                assert b"".join(transfer) == LARGE
            assert transfer.published.url == "s3://pages/2024-01/part-a.csv"


@pytest.mark.parametrize(
    ("base", "fields", "sentence"),
    [
        ("s3://absent", {}, "there is no bucket absent at http.*Correct the address in the entry"),
        ("s3://faults", {"login": "AKIAIOSFODNN7EXAMPLE"}, "InvalidAccessKeyId. Correct login and password"),
        ("s3://faults", {"password": "wrong"}, "SignatureDoesNotMatch. Correct login and password"),
    ],
)
def test_a_bucket_that_is_not_there_and_a_wrong_key_say_so(s3, base, fields, sentence):
    s3.put("faults", "x", b"")
    for ask in (probed, received):
        for dataset in (STATIONS, PARTS)[: 2 if ask is probed else 1]:
            with pytest.raises(PermanentError, match=sentence) as refused:
                ask(at(base, dataset), s3.connection(**fields))
            assert not {"wrong", s3.secret} & set(str(refused.value).replace("'", " ").split())


def test_a_key_that_may_not_read_is_no_file_that_is_missing(s3):
    s3.put("faults", "s 2024-01+.csv", b"x")
    requests.post(f"{s3.url}/moto-api/reset-auth", data=b"999999999", timeout=30)
    import boto3

    admin = {"aws_access_key_id": "admin", "aws_secret_access_key": "admin", "region_name": "eu-west-1"}
    key = boto3.client("iam", endpoint_url=s3.url, **admin).create_access_key(UserName="stranger")[
        "AccessKey"
    ]
    requests.post(f"{s3.url}/moto-api/reset-auth", data=b"0", timeout=30)
    fields = {"login": key["AccessKeyId"], "password": key["SecretAccessKey"]}
    with pytest.raises(PermanentError, match=r"access denied .* AccessDenied.*Allow s3:GetObject"):
        probed(at("s3://faults"), s3.connection(**fields))


@pytest.mark.parametrize(
    ("status", "body", "error", "sentence"),
    [
        (503, "<Error><Code>SlowDown</Code></Error>", TransientError, "answers SlowDown. Try again"),
        (301, "<Error><Code>PermanentRedirect</Code></Error>", PermanentError, "its region is not us-east-1"),
        (
            400,
            "<Error><Code>AuthorizationHeaderMalformed</Code><Region>eu-west-1</Region></Error>",
            PermanentError,
            "Set the connection's region_name to 'eu-west-1'",
        ),
        (403, "<html>", PermanentError, "access denied"),
        (200, "<html>", TransientError, "Try again"),
        (200, '<!DOCTYPE x [<!ENTITY a "aaaa">]><ListBucketResult>&a;', TransientError, "Try again"),
    ],
)
def test_an_answer_that_is_no_listing_is_told_apart(faulty_source, status, body, error, sentence):
    connection = json.dumps({"conn_type": "aws", "extra": {"endpoint_url": faulty_source.url}})
    query = "delimiter=%2F&list-type=2&prefix=2024-01%2Fpart-"
    faulty_source.serve_status(f"/b?{query}", status)
    faulty_source.answers[f"/b?{query}"] = [
        replace(faulty_source.answers[f"/b?{query}"][0], body=body.encode())
    ]
    with pytest.raises(error, match=sentence):
        probed(at("s3://b", PARTS), connection)


def test_a_listing_goes_on_where_its_page_ends(faulty_source):
    connection = json.dumps({"conn_type": "aws", "extra": {"endpoint_url": faulty_source.url}})
    page = "<ListBucketResult><Contents><Key>2024-01/part-{}.csv</Key><ETag>e</ETag><Size>1</Size></Contents>"
    query, more = (
        "delimiter=%2F&list-type=2&prefix=2024-01%2Fpart-",
        "<NextContinuationToken>t/</NextContinuationToken>",
    )
    faulty_source.serve(f"/b?{query}", f"{page.format(1)}{more}</ListBucketResult>".encode())
    faulty_source.serve(
        f"/b?continuation-token=t%2F&{query}", f"{page.format(2)}</ListBucketResult>".encode()
    )
    assert probed(at("s3://b", PARTS), connection).size == 2


def test_the_same_bucket_of_another_service_is_another_source(s3):
    amazon = source(at("s3://b"), json.dumps({"conn_type": "aws"}))
    assert amazon.base_url == "s3://b"
    assert source(at("s3://b"), s3.connection()).base_url == f"s3://b?endpoint={s3.url}"


def test_a_role_that_is_not_supported_is_refused():
    with pytest.raises(SettingError, match="role_arn, which is not supported"):
        source(at("s3://b"), json.dumps({"conn_type": "aws", "extra": {"role_arn": "arn:x"}}))


# Google


@pytest.mark.emulators
def test_a_bucket_of_google_that_is_not_there_says_so_and_a_broken_object_is_continued(emulators):
    place = google(emulators, "broken-line")
    place.put("s 2024-01+.csv", LARGE + LARGE)
    with line_to(urlsplit(emulators.storage_url).port) as line:
        variables = {"STORAGE_EMULATOR_HOST": f"http://127.0.0.1:{line.port}"}
        line.cuts = [10_000_000, 10_000_000, 100_000]
        assert received(at(place.base), **variables) == LARGE + LARGE
    for dataset in (STATIONS, PARTS):
        with pytest.raises(PermanentError, match=r"there is no bucket absent\. Correct the address"):
            probed(at("gs://absent/below", dataset), **place.variables)


def test_what_google_denies_is_tried_again(faulty_source):
    faulty_source.serve_status("/storage/v1/b/b/o/s%202024-01%2B.csv?projection=noAcl&prettyPrint=false", 403)
    with pytest.raises(AccessDeniedError, match=r"gs://b/s 2024-01.*access denied"):
        probed(at("gs://b"), STORAGE_EMULATOR_HOST=faulty_source.url)


# SFTP


def test_a_key_file_logs_in_and_a_host_key_may_come_without_its_type(sftp, tmp_path):
    (sftp.folder / "keys").mkdir()
    (sftp.folder / "keys" / "s 2024-01+.csv").write_bytes(b"x")
    (tmp_path / "key").write_text(sftp.private_key)
    for extra in (
        {"key_file": str(tmp_path / "key"), "host_key": sftp.host_key.split()[1]},
        {"private_key": sftp.private_key, "no_host_key_check": "true"},
    ):
        assert received(at("sftp://x/keys"), sftp.connection(extra, password="")) == b"x"


def test_a_wrong_host_key_a_wrong_login_and_no_login_are_refused(sftp, tmp_path, monkeypatch):
    import asyncssh

    monkeypatch.setenv("HOME", str(tmp_path))
    other = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode()
    for extra in ({"host_key": other}, {}, {"no_host_key_check": "false"}):
        with pytest.raises(PermanentError, match=r"shows a host key that is not the known one.*as host_key"):
            probed(at("sftp://x"), sftp.connection(extra))
    with pytest.raises(PermanentError, match="does not accept the login"):
        probed(at("sftp://x"), sftp.connection(password="wrong"))
    with pytest.raises(SettingError, match=r"wants a login\. Set the Airflow connection"):
        probed(at(f"sftp://127.0.0.1:{sftp.port}"))
    with pytest.raises(PermanentError, match=r"cannot be used .*Correct key_file"):
        probed(at("sftp://x"), sftp.connection({"private_key": "no key"}))
    with pytest.raises(TransientError, match=r"does not answer .*Is the server up"):
        probed(at("sftp://x"), sftp.connection(port=1))


def test_a_broken_sftp_connection_is_continued_and_a_file_that_grows_is_refused(sftp):
    (sftp.folder / "broken").mkdir()
    file = sftp.folder / "broken" / "s 2024-01+.csv"
    file.write_bytes(LARGE)
    with line_to(sftp.port) as line:
        line.cuts = [1_500_000]
        assert received(at("sftp://x/broken"), sftp.connection(port=line.port)) == LARGE
        assert line.opened == 2
        line.cuts = [1_500_000, 0, 0, 0]
        with pytest.raises(TransientError, match="does not answer"):
            received(at("sftp://x/broken"), sftp.connection(port=line.port))
    (sftp.folder / "broken" / "2024-01").mkdir()
    (sftp.folder / "broken" / "2024-01" / "part-0.csv").symlink_to("../s 2024-01+.csv")
    assert probed(at("sftp://x/broken", PARTS), sftp.connection()).size == len(LARGE)
    with source(at("sftp://x/broken"), sftp.connection()) as found, found.open(JANUARY) as transfer:
        pieces = iter(transfer)
        next(pieces)
        file.write_bytes(LARGE + b"more")
        with pytest.raises(TransientError, match="changed at the source while it was read"):
            list(pieces)


# Stages


def csv(*names):
    return (
        "opened,name\n" + "".join(f"2024-01-0{n + 1}T00:00:00,{name}\n" for n, name in enumerate(names))
    ).encode()


def raw(stack):
    with stack.lake() as lake:
        return {each.name: each for each in lake.list("raw/stations/")}


@pytest.mark.emulators
def test_several_files_become_one_partition_and_each_change_loads_it_again(stack, s3, dsn):
    """A month of an S3 bucket, through the lake into Postgres, and what the source check says of it."""
    dataset = at("s3://several/below", PARTS)
    stack = stack.with_postgres(dsn).changed(AIRFLOW_CONN_PARTNER=s3.connection())

    def run(*stages):
        return [stack.run(stage, dataset, "2024-01") for stage in stages][-1]

    def to_load():
        with stack.connections.source(dataset) as found, stack.lake() as lake:
            return scan(dataset, found, lake).to_load

    s3.put("several", "below/2024-02/part-0.csv", csv("a"))
    with pytest.raises(SourceNotPublishedError):
        run("download")
    s3.put("several", "below/2024-01/part-0.csv", csv("a", "b"))
    s3.put("several", "below/2024-01/part-1.csv", b"")
    first = run("download")
    assert (first["bytes"], first["reused"]) == (len(csv("a", "b")), False)
    assert run("download")["reused"]
    assert run("conform")["rows"] == 2
    assert to_load() == ()
    s3.put("several", "below/2024-01/part-1.csv", b"extra,opened\nx,2024-01-03T00:00:00\ny,never\n")
    s3.put("several", "below/2024-01/part-2.csv", csv("c") + b"broken\n")
    assert to_load() == (JANUARY,)
    second = run("download")
    assert second["checksum"] != first["checksum"]
    contents = [csv("a", "b"), b"extra,opened\nx,2024-01-03T00:00:00\ny,never\n", csv("c") + b"broken\n"]
    names = [f"part-{n}.csv" for n in range(3)]
    lines = "".join(f"{n}\t{hashlib.sha256(c).hexdigest()}\n" for n, c in zip(names, contents, strict=True))
    assert second["checksum"] == hashlib.sha256(lines.encode()).hexdigest()
    assert sorted(name.rpartition("/")[2] for name in raw(stack)) == ["manifest.json", *names]
    done = run("conform")
    assert (done["rows"], done["quarantined"], done["drift"]) == (4, 2, ["extra"])
    with stack.lake() as lake, lake.fetch(lake.find(quarantine_object(dataset, JANUARY))) as file:
        rows = [(row["source_file"], row["reason"]) for row in pq.read_table(file).to_pylist()]
    assert [(name, "never" in why, "1 values" in why) for name, why in rows] == [
        ("part-1.csv", True, False),
        ("part-2.csv", False, True),
    ]
    assert run("postgres")["rows"] == 4
    s3.remove("several", "below/2024-01/part-0.csv")
    assert to_load() == (JANUARY,)
    run("download")
    assert run("conform")["rows"] == 2


@pytest.mark.emulators
def test_a_damaged_file_among_several_replaces_nothing_and_the_next_run_finishes(stack, tmp_path):
    dataset = at(f"file://{tmp_path}", replace(PARTS, path="/{year}-{month}/part-*.csv.gz"))
    place = folder(tmp_path, "")
    for n in (0, 1):
        place.put(f"2024-01/part-{n}.csv.gz", gzip.compress(csv("a")))
    stack.run("download", dataset, "2024-01")
    before = raw(stack)
    place.put("2024-01/part-0.csv.gz", gzip.compress(csv("a", "b")))
    place.put("2024-01/part-1.csv.gz", gzip.compress(csv("c"))[:-9])
    with pytest.raises(PermanentError, match=r"part-1.csv.gz: truncated"):
        stack.run("download", dataset, "2024-01")
    assert before.items() <= raw(stack).items()
    assert stack.run("conform", dataset, "2024-01")["rows"] == 2
    place.put("2024-01/part-1.csv.gz", gzip.compress(csv("c")))
    stack.run("download", dataset, "2024-01")
    assert stack.run("conform", dataset, "2024-01")["rows"] == 3
    assert len(raw(stack)) == 3


def test_a_connection_as_a_uri_is_read_alike():
    found = ConnectionFields.parse("aws://key:sec%2Fret@/?region_name=eu-west-1", "X")
    assert (found.login, found.password, found.extra) == ("key", "sec/ret", {"region_name": "eu-west-1"})
