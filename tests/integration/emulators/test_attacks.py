"""What other users of the machine, and web pages, try with the emulators; each of these once worked."""

from __future__ import annotations

import base64
import http.client
import itertools
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
import requests
from emulators import Emulators, Service, running

pytestmark = pytest.mark.emulators
TOKEN = "of-this-environment-alone"
OURS = {"Authorization": f"Bearer {TOKEN}"}
QUERY = {"query": "SELECT 1 AS x", "useLegacySql": False}


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulators]:
    """Emulators that ask for a token."""
    with running(tmp_path_factory.mktemp("attacked"), TOKEN) as emulators:
        requests.post(
            f"{emulators.storage_url}/storage/v1/b?project=p1",
            json={"name": "lake"},
            headers=OURS,
            timeout=10,
        )
        yield emulators


def services(cloud: Emulators) -> dict[str, tuple[str, str]]:
    """URL and a path to read of each service."""
    return {
        "gcs": (cloud.storage_url, "/storage/v1/b?project=p1"),
        "bigquery": (cloud.bigquery_url, "/bigquery/v2/projects/p1/datasets"),
        "control-plane": (cloud.control_plane_url, "/crm/v1/projects/p1"),
        "sample-source": (cloud.source_url, "/misc/taxi_zone_lookup.csv"),
    }


NAMES = ("gcs", "bigquery", "control-plane", "sample-source")
GUARDED = NAMES[:3]
CHANGES = {
    "gcs": "/storage/v1/b?project=p1",
    "bigquery": "/bigquery/v2/projects/p1/queries",
    "control-plane": "/iam/v1/projects/p1/serviceAccounts",
}


@pytest.mark.parametrize("name", NAMES)
def test_a_client_of_the_environment_is_served(cloud: Emulators, name: str) -> None:
    url, path = services(cloud)[name]
    assert requests.get(url + path, headers=OURS, timeout=10).status_code == 200


@pytest.mark.parametrize("name", GUARDED)
@pytest.mark.parametrize(
    "authorization",
    [None, "", "Bearer", "Bearer ", "Bearer wrong", f"Basic {TOKEN}", TOKEN, f"Bearer {TOKEN}x"],
)
def test_whoever_has_no_token_is_not(cloud: Emulators, name: str, authorization: str | None) -> None:
    url, path = services(cloud)[name]
    headers = {} if authorization is None else {"Authorization": authorization}
    answer = requests.get(url + path, headers=headers, timeout=10)
    assert (answer.status_code, answer.json()["error"]["status"]) == (401, "UNAUTHENTICATED")
    assert requests.post(url + CHANGES[name], json={}, headers=headers, timeout=10).status_code == 401
    assert requests.get(f"{url}/healthz", headers=headers, timeout=10).ok


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "host", ["evil.test", "evil.test:{port}", "127.0.0.1.evil.test", "0.0.0.0:{port}", ""]
)
def test_a_name_that_was_bound_to_this_machine_reaches_nothing(
    cloud: Emulators, name: str, host: str
) -> None:
    """DNS rebinding: to the browser the page then has the service's own origin."""
    url, path = services(cloud)[name]
    headers = OURS | {"Host": host.format(port=urlsplit(url).port)}
    answer = requests.get(url + path, headers=headers, timeout=10)
    assert answer.status_code in (400, 403)
    assert "host name" in answer.text or not host


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "header",
    [
        {"Origin": "http://evil.test"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:8080"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
    ids=str,
)
def test_no_page_is_answered(cloud: Emulators, name: str, header: dict[str, str]) -> None:
    url, path = services(cloud)[name]
    answer = requests.get(url + path, headers=OURS | header, timeout=10)
    assert (answer.status_code, "web page" in answer.text) == (403, True)


@pytest.mark.parametrize("name", NAMES)
def test_a_person_may_look_with_a_browser(cloud: Emulators, name: str) -> None:
    url, _ = services(cloud)[name]
    assert requests.get(f"{url}/healthz", headers={"Sec-Fetch-Site": "none"}, timeout=10).ok


@pytest.mark.parametrize("name", GUARDED)
@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded; charset=utf-8", "multipart/form-data"]
)
def test_a_form_changes_nothing(cloud: Emulators, name: str, kind: str) -> None:
    """<form enctype="text/plain"> sends JSON across sites without asking first."""
    url, _ = services(cloud)[name]
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        answer = requests.request(
            method,
            url + CHANGES[name],
            data=json.dumps(QUERY),
            headers=OURS | {"Content-Type": kind},
            timeout=10,
        )
        assert answer.status_code == 415


def test_what_is_uploaded_may_be_text(cloud: Emulators) -> None:
    url = f"{cloud.storage_url}/upload/storage/v1/b/lake/o?uploadType=media&name=note"
    assert requests.post(url, data=b"note", headers=OURS | {"Content-Type": "text/plain"}, timeout=10).ok


def test_an_object_that_is_a_page_runs_nothing(cloud: Emulators) -> None:
    url = f"{cloud.storage_url}/upload/storage/v1/b/lake/o?uploadType=media&name=x.html"
    requests.post(url, data=b"<script>", headers=OURS | {"Content-Type": "text/html"}, timeout=10)
    got = requests.get(f"{cloud.storage_url}/storage/v1/b/lake/o/x.html?alt=media", headers=OURS, timeout=10)
    assert got.content == b"<script>"
    assert got.headers["X-Content-Type-Options"] == "nosniff"
    assert got.headers["Content-Security-Policy"] == "sandbox"


SPLIT = "text/html\r\nSet-Cookie: _token=evil; Path=/"


def multipart(metadata: Any) -> dict[str, Any]:
    """The body and type of an upload of metadata and content."""
    lines = ("--sep", "Content-Type: application/json", "", json.dumps(metadata),
             "--sep", "Content-Type: text/plain", "", "x", "--sep--", "")  # fmt: skip
    headers = OURS | {"Content-Type": "multipart/related; boundary=sep"}
    return {"data": "\r\n".join(lines).encode(), "headers": headers, "timeout": 10}


@pytest.mark.parametrize("field", ["contentType", "contentDisposition", "cacheControl", "contentLanguage"])
def test_no_field_of_an_object_makes_a_header_of_its_own(cloud: Emulators, field: str) -> None:
    objects = f"{cloud.storage_url}/storage/v1/b/lake/o"
    uploads = f"{cloud.storage_url}/upload/storage/v1/b/lake/o"
    requests.post(f"{uploads}?uploadType=multipart", **multipart({"name": "split"}))
    given = {"name": "split", field: SPLIT}
    answers = [
        requests.post(f"{uploads}?uploadType=multipart", **multipart(given)),
        requests.post(f"{uploads}?uploadType=resumable", json=given, headers=OURS, timeout=10),
        requests.patch(f"{objects}/split", json={field: SPLIT}, headers=OURS, timeout=10),
        requests.put(f"{objects}/split", json={field: SPLIT}, headers=OURS, timeout=10),
        requests.post(f"{objects}/split/rewriteTo/b/lake/o/two", json=given, headers=OURS, timeout=10),
    ]
    assert [answer.status_code for answer in answers] == [400] * 5
    assert "Set-Cookie" not in requests.get(f"{objects}/split?alt=media", headers=OURS, timeout=10).headers


NAMES_OF_OBJECTS = {
    "x%00y": 400,
    "n" * 300: 200,
    "n" * 1_024: 200,
    "n" * 1_025: 400,
    "%E6%BC%A2" * 341: 200,
    "%E6%BC%A2" * 342: 400,
    "%ff": 400,
    "a%0Ab": 400,
    ".": 400,
    "..": 400,
    "a%2Fb": 200,
    "a": 200,
    "a%2F": 200,
    "..%2F..%2Fescaped": 200,
    "%2Fetc%2Fpasswd": 200,
    "C%3A%5Cx": 200,
}


def test_no_name_of_an_object_keeps_the_service_from_starting(tmp_path: Path) -> None:
    service = Service("gcs", tmp_path, ("--data", str(tmp_path / "gcs")))
    with service:
        service.wait_until_healthy()
        uploads, objects = f"{service.url}/upload/storage/v1/b/lake/o", f"{service.url}/storage/v1/b/lake/o"
        requests.post(f"{service.url}/storage/v1/b?project=p1", json={"name": "lake"}, timeout=10)
        for name, status in NAMES_OF_OBJECTS.items():
            url = f"{uploads}?uploadType=media&name={name}"
            assert requests.post(url, data=name.encode(), timeout=10).status_code == status, name
            url = f"{uploads}?uploadType=resumable&name={name}"
            assert requests.post(url, json={}, timeout=10).status_code == status, name
        service.kill()
        service.start().wait_until_healthy()
        stored = [name for name, status in NAMES_OF_OBJECTS.items() if status == 200]
        for name in stored:
            quoted = name.replace("..", "%2E%2E")
            got = requests.get(f"{objects}/{quoted}?alt=media", timeout=10)
            assert (got.status_code, got.content) == (200, name.encode())
        listed = requests.get(objects, timeout=10).json()["items"]
        assert sorted(item["name"] for item in listed) == sorted(unquote(name) for name in stored)
    assert {path.name for path in tmp_path.iterdir()} == {"gcs", "gcs.log", "gcs.exchanges"}


POISON = "\\ud800"  # half of a surrogate pair, as JSON writes it


@pytest.mark.parametrize(
    ("method", "path", "body", "read"),
    [
        ("PATCH", "gcs/storage/v1/b/lake", {"labels": {"a": POISON}}, "gcs/storage/v1/b?project=p1"),
        ("POST", "gcs/storage/v1/b?project=p1", {"name": "two", "website": {"mainPageSuffix": POISON}},
         "gcs/storage/v1/b?project=p1"),
        ("PATCH", "gcs/storage/v1/b/lake/o/note", {"contentType": POISON}, "gcs/storage/v1/b/lake/o"),
        ("PATCH", "gcs/storage/v1/b/lake/o/note", {"contexts": {"custom": {"a": POISON}}},
         "gcs/storage/v1/b/lake/o"),
        ("POST", "bigquery/bigquery/v2/projects/p1/datasets",
         {"datasetReference": {"datasetId": "poison"}, "description": POISON},
         "bigquery/bigquery/v2/projects/p1/datasets"),
        ("POST", "control-plane/iam/v1/projects/p1/serviceAccounts",
         {"accountId": "poisoned", "serviceAccount": {"displayName": POISON}},
         "control-plane/iam/v1/projects/p1/serviceAccounts"),
    ],
)  # fmt: skip
def test_no_text_that_cannot_be_sent_again_is_kept(
    cloud: Emulators, method: str, path: str, body: Any, read: str
) -> None:
    """Each list that such a text stands in would fail from then on."""
    upload = f"{cloud.storage_url}/upload/storage/v1/b/lake/o?uploadType=media&name=note"
    requests.post(upload, data=b"x", headers=OURS, timeout=10)

    def url(path: str) -> str:
        name, _, rest = path.partition("/")
        return f"{services(cloud)[name][0]}/{rest}"

    content = json.dumps(body).replace("\\\\", "\\")
    headers = OURS | {"Content-Type": "application/json"}
    assert requests.request(method, url(path), data=content, headers=headers, timeout=10).status_code == 400
    assert requests.get(url(read), headers=OURS, timeout=10).status_code == 200


TOKENS = ("no", "5", '"x"', "[]", "{}", '{"last": 5}', '{"last": ["a", "b", 3]}', '{"last": [1, 2]}',
          '{"last": ["\\ud800", 1]}', "[" * 100_000)  # fmt: skip


@pytest.mark.parametrize(
    "path",
    [
        "gcs/storage/v1/b/lake/o?",
        "gcs/storage/v1/b?project=p1&",
        "bigquery/bigquery/v2/projects/p1/datasets?",
        "bigquery/bigquery/v2/projects/p1/jobs?",
        "control-plane/iam/v1/projects/p1/serviceAccounts?",
    ],
)
def test_a_page_token_of_ones_own_making_is_refused(cloud: Emulators, path: str) -> None:
    name, _, rest = path.partition("/")
    url = f"{services(cloud)[name][0]}/{rest}"
    for token in TOKENS:
        query = {"pageToken": base64.urlsafe_b64encode(token.encode()).decode()[:40_000]}
        assert requests.get(url, params=query, headers=OURS, timeout=10).status_code == 400, token[:30]
    for size in ("-1", "x", "1e3", "9" * 5_000):
        answer = requests.get(url, params={"maxResults": size, "pageSize": size}, headers=OURS, timeout=10)
        assert answer.status_code == 400, size[:30]


def test_a_read_that_names_another_method_stays_a_read(cloud: Emulators) -> None:
    url = f"{cloud.storage_url}/storage/v1/b/lake"
    headers = OURS | {"X-HTTP-Method-Override": "DELETE"}
    assert requests.get(url, headers=headers, timeout=10).json()["name"] == "lake"


@pytest.mark.parametrize(("module", "file"), [("iam", "control-plane.json"), ("bigquery", "datasets.json")])
@pytest.mark.parametrize("content", ["", "{", "[]", "null", '"x"', "\0"])
def test_a_file_that_was_cut_off_is_named_in_a_line(
    tmp_path: Path, module: str, file: str, content: str
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / file).write_text(content)
    options = ("--data", str(tmp_path / "data"))
    if module == "bigquery":
        options += ("--lake-root", str(tmp_path))
    service = Service(module, tmp_path, options)
    assert service.start().wait() == 1
    assert f"{file} holds no JSON object" in service.log().splitlines()[-1]
    assert (tmp_path / "data" / file).read_text() == content


@pytest.mark.parametrize("authorization", [None, "Bearer wrong", f"Bearer {TOKEN}"])
def test_grpc_asks_for_the_same_token(cloud: Emulators, authorization: str | None) -> None:
    import grpc
    from google.api_core.exceptions import Unauthenticated
    from google.cloud.bigquery_storage_v1 import BigQueryReadClient, types
    from google.cloud.bigquery_storage_v1.services.big_query_read.transports import BigQueryReadGrpcTransport

    base = f"{cloud.bigquery_url}/bigquery/v2/projects/p1"
    requests.post(f"{base}/datasets", json={"datasetReference": {"datasetId": "g"}}, headers=OURS, timeout=10)
    make = {"query": "CREATE OR REPLACE TABLE g.t AS SELECT 1 AS x", "useLegacySql": False}
    assert requests.post(f"{base}/queries", json=make, headers=OURS, timeout=30).ok
    transport = BigQueryReadGrpcTransport(channel=grpc.insecure_channel(cloud.bigquery_grpc))
    client = BigQueryReadClient(transport=transport)
    metadata = [("authorization", authorization)] if authorization else []

    def read() -> int:
        session = client.create_read_session(
            parent="projects/p1",
            read_session=types.ReadSession(
                table="projects/p1/datasets/g/tables/t", data_format=types.DataFormat.ARROW
            ),
            max_stream_count=1,
            metadata=metadata,
            retry=None,
        )
        rows = client.read_rows(session.streams[0].name, metadata=metadata, retry=None)
        return sum(message.row_count for message in rows)

    if authorization == f"Bearer {TOKEN}":
        assert read() == 1
        return
    with pytest.raises(Unauthenticated):
        read()
    with pytest.raises(Unauthenticated):
        list(client.read_rows("projects/p1/locations/us/sessions/s/streams/1", metadata=metadata, retry=None))


def test_a_token_of_our_own_key_opens_the_others(cloud: Emulators) -> None:
    """Google's clients get their token as from Google: by a key of a service account."""
    from google.auth.transport.requests import Request
    from google.oauth2.service_account import Credentials

    accounts = f"{cloud.control_plane_url}/iam/v1/projects/p1/serviceAccounts"
    requests.post(accounts, json={"accountId": "pipelines"}, headers=OURS, timeout=10)
    email = "pipelines@p1.iam.gserviceaccount.com"
    made = requests.post(f"{accounts}/{email}/keys", json={}, headers=OURS, timeout=10).json()
    content = json.loads(base64.b64decode(made["privateKeyData"]))
    credentials = Credentials.from_service_account_info(content, scopes=["x"])
    credentials.refresh(Request())
    assert credentials.token == TOKEN


# What SQL may reach


@pytest.fixture(scope="module")
def secret(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file that nobody but its owner may read."""
    path = tmp_path_factory.mktemp("secrets") / "admin_password"
    path.write_text("hunter2")
    path.chmod(0o600)
    return path


STATEMENTS = (
    "SELECT content FROM read_text('{secret}')",
    "SELECT content FROM read_text('{relative}')",
    "SELECT content FROM read_blob('{folder}/*')",
    "SELECT * FROM read_csv('{secret}', header=false)",
    "SELECT * FROM read_json('{secret}')",
    "SELECT * FROM read_parquet('{secret}')",
    "SELECT * FROM glob('{folder}/*')",
    "SELECT * FROM '{secret}'",
    "SELECT * FROM `{secret}`",
    "SELECT * FROM sniff_csv('{secret}')",
    "WITH a AS (SELECT content FROM read_text('{secret}')) SELECT * FROM a",
    "CREATE TABLE attack.stolen AS SELECT content FROM read_text('{secret}')",
    "CREATE VIEW attack.window AS SELECT content FROM read_text('{secret}')",
    "DECLARE x STRING; SET x = (SELECT content FROM read_text('{secret}')); SELECT x",
    "EXECUTE IMMEDIATE \"SELECT content FROM read_text('{secret}')\"",
    "BEGIN TRANSACTION; SELECT content FROM read_text('{secret}'); COMMIT TRANSACTION",
    "COPY (SELECT 1 AS print) TO '{target}'",
    "COPY (SELECT 1 AS print) TO 'written.py'",
    "COPY (SELECT 1 AS print) TO '{lake}/files/written.py'",
    "COPY attack.t TO '{target}'",
    "COPY attack.t FROM '{secret}'",
    "EXPORT DATA OPTIONS (uri='file://{target}', format='CSV') AS SELECT 1 AS print",
    "EXPORT DATA OPTIONS (uri='gs://lake/written.csv', format='CSV') AS SELECT 1 AS print",
    "EXPORT DATA OPTIONS (uri='gs://../written.csv', format='CSV') AS SELECT 1 AS print",
    "EXPORT DATABASE '{folder}'",
    "IMPORT DATABASE '{folder}'",
    "ATTACH '{target}' AS other",
    "ATTACH '{folder}/x.db' AS other (TYPE SQLITE)",
    "INSTALL httpfs",
    "LOAD httpfs",
    "LOAD '{secret}'",
    "SET enable_external_access = true",
    "SET allowed_directories = ['/']",
    "RESET enable_external_access",
    "PRAGMA enable_profiling",
    "PRAGMA profiling_output = '{target}'",
    "SET GLOBAL lock_configuration = false",
    "CREATE SECRET s (TYPE S3)",
    "CREATE PERSISTENT SECRET s (TYPE S3)",
    "CALL pragma_version()",
    "SELECT * FROM sqlite_scan('{secret}', 'x')",
    "SELECT * FROM arrow_table",
    "SELECT getenv('HOME')",
    "CREATE FUNCTION attack.f() RETURNS STRING LANGUAGE js AS 'return read(`{secret}`)'",
)


@pytest.fixture(scope="module")
def attacked(cloud: Emulators) -> str:
    """The URL of a project with a dataset and a table."""
    base = f"{cloud.bigquery_url}/bigquery/v2/projects/p1"
    requests.post(
        f"{base}/datasets", json={"datasetReference": {"datasetId": "attack"}}, headers=OURS, timeout=10
    )
    body = {"query": "CREATE TABLE attack.t (a STRING)", "useLegacySql": False}
    requests.post(f"{base}/queries", json=body, headers=OURS, timeout=30)
    return base


@pytest.mark.parametrize("statement", STATEMENTS)
@pytest.mark.parametrize("how", ["queries", "jobs"])
def test_no_statement_reads_or_writes_a_file(
    cloud: Emulators, attacked: str, secret: Path, tmp_path: Path, statement: str, how: str
) -> None:
    target = tmp_path / "target.py"
    sql = statement.format(
        secret=secret, folder=secret.parent, target=target, lake=cloud.folder / "gcs" / "objects",
        relative=f"../{secret.parent.name}/{secret.name}",
    )  # fmt: skip
    query = {"query": sql, "useLegacySql": False}
    body = query if how == "queries" else {"configuration": {"query": query}}
    answer = requests.post(f"{attacked}/{how}", json=body, headers=OURS, timeout=30)
    assert "hunter2" not in answer.text
    found = answer.json()
    failed = found.get("error") or found.get("errors") or found.get("status", {}).get("errorResult")
    assert failed, answer.text
    assert not target.exists()
    assert not list((cloud.folder / "gcs" / "objects").rglob("written*"))
    assert not list(Path.cwd().glob("written*"))
    reread = {"query": "SELECT 1 AS x", "useLegacySql": False}
    assert requests.post(f"{attacked}/queries", json=reread, headers=OURS, timeout=30).json()["rows"]


JOBS = (
    {"load": {"sourceUris": ["file://{secret}"]}},
    {"load": {"sourceUris": ["{secret}"]}},
    {"load": {"sourceUris": ["~/.bashrc"]}},
    {"load": {"sourceUris": ["gs://lake/../../../../../../../..{secret}"]}},
    {"load": {"sourceUris": ["gs://../objects/index.sqlite3"]}},
    {"load": {"sourceUris": ["gs://lake/x", "file://{secret}"]}},
    {"load": {"sourceUris": ["file://{uploads}/x"]}},
    {"load": {"sourceUris": ["file://{uploads}/../../secrets"]}},
    {"load": {"sourceUris": [["{secret}"]]}},
    {"load": {"sourceUris": ["file://{secret}"], "sourceFormat": "AVRO"}},
    {"load": {"sourceUris": ["file://{secret}"], "sourceFormat": "ORC"}},
    {"load": {"sourceUris": ["file://{secret}"], "autodetect": True}},
    {"extract": {"destinationUris": ["file://{target}"]}},
    {"extract": {"destinationUris": ["{target}"]}},
    {"extract": {"destinationUris": ["gs://lake/written.csv"]}},
    {"extract": {"destinationUris": ["file://{uploads}/written.csv"]}},
    {"extract": {"destinationUris": []}},
)


@pytest.mark.parametrize("job", JOBS, ids=str)
def test_no_job_reads_or_writes_a_file(
    cloud: Emulators, attacked: str, secret: Path, tmp_path: Path, job: dict[str, Any]
) -> None:
    target, uploads = tmp_path / "target.py", cloud.folder / "bigquery" / "uploads"
    table = {"projectId": "p1", "datasetId": "attack", "tableId": "t"}
    known = {"load": {"destinationTable": table}, "extract": {"sourceTable": table}}
    (kind, options), *_ = job.items()
    text = json.dumps(
        {kind: known[kind] | {"sourceFormat": "CSV"} | options}
        if kind == "load"
        else {kind: known[kind] | options}
    )
    for name, value in (("secret", secret), ("target", target), ("uploads", uploads)):
        text = text.replace(f"{{{name}}}", str(value))
    answer = requests.post(
        f"{attacked}/jobs", json={"configuration": json.loads(text)}, headers=OURS, timeout=30
    )
    found = answer.json()
    assert found.get("error") or found["status"].get("errorResult"), answer.text
    assert not target.exists()
    assert not list(uploads.iterdir())
    assert not Path("/tmp/extract_output").exists()
    rows = requests.get(f"{attacked}/datasets/attack/tables/t/data", headers=OURS, timeout=10).json()
    assert "hunter2" not in json.dumps(rows)


PIPELINES, OTHER = (f"{name}@p1.iam.gserviceaccount.com" for name in ("pipelines", "other"))
READER = {"role": "roles/storage.objectViewer", "members": [f"serviceAccount:{PIPELINES}"]}


@pytest.fixture(scope="module")
def granted(cloud: Emulators) -> str:
    """A dataset of the pipelines' account, and two buckets with a file, of which that may read one."""
    for bucket, bindings in (
        ("own", [{"role": "roles/storage.objectAdmin", "members": READER["members"]}]),
        # Someone else's: listed by the account, read by others.
        (
            "foreign",
            [
                {"role": "roles/storage.legacyBucketReader", "members": READER["members"]},
                {"role": "roles/storage.objectViewer", "members": [f"serviceAccount:{OTHER}"]},
            ],
        ),
    ):
        storage, query = f"{cloud.storage_url}/storage/v1/b", {"uploadType": "media", "name": "x.csv"}
        upload = f"{cloud.storage_url}/upload/storage/v1/b/{bucket}/o"
        for method, url, options in (
            ("POST", f"{storage}?project=p1", {"json": {"name": bucket}}),
            ("PUT", f"{storage}/{bucket}/iam", {"json": {"bindings": bindings}}),
            ("POST", upload, {"params": query, "data": f"a\n{bucket}\n"}),
        ):
            requests.request(method, url, headers=OURS, timeout=10, **options).raise_for_status()
    access = [
        {"role": "OWNER", "specialGroup": "projectOwners"},
        {"role": "WRITER", "userByEmail": PIPELINES},
        {"role": "READER", "userByEmail": OTHER},
    ]
    body = {"datasetReference": {"datasetId": "granted"}, "access": access}
    base = f"{cloud.bigquery_url}/bigquery/v2/projects/p1"
    requests.post(f"{base}/datasets", json=body, headers=OURS, timeout=10).raise_for_status()
    statement = {"query": "CREATE TABLE granted.t (a STRING)", "useLegacySql": False}
    requests.post(f"{base}/queries", json=statement, headers=OURS, timeout=30).raise_for_status()
    return base


def loaded(base: str, *uris: str) -> Any:
    """The error of a load into the account's table, none if it was done."""
    target = {"projectId": "p1", "datasetId": "granted", "tableId": "t"}
    load = {"sourceUris": uris, "destinationTable": target, "sourceFormat": "CSV"}
    job = requests.post(
        f"{base}/jobs", json={"configuration": {"load": load}}, headers=OURS, timeout=30
    ).json()
    return job["status"].get("errorResult")


@pytest.mark.parametrize(
    ("uris", "said"),
    [
        (["gs://foreign/x.csv"], "File gs://foreign/x.csv: Access Denied"),
        (["gs://own/x.csv", "gs://foreign/x.csv"], "File gs://foreign/x.csv: Access Denied"),
        # Whether it exists is not told either.
        (["gs://foreign/nothing"], "File gs://foreign/nothing: Access Denied"),
        (["gs://foreign/x*"], "BigQuery BigQuery: Permission denied while globbing file pattern."),
        # Nobody was granted anything here.
        (["gs://lake/x"], "File gs://lake/x: Access Denied"),
    ],
)
def test_a_load_reads_no_bucket_that_its_account_may_not(granted: str, uris: list[str], said: str) -> None:
    assert loaded(granted, *uris) == {"reason": "accessDenied", "message": f"Access Denied: {said}"}
    rows = requests.get(f"{granted}/datasets/granted/tables/t/data", headers=OURS, timeout=10).json()
    assert "foreign" not in json.dumps(rows)


def test_a_load_reads_a_bucket_as_soon_as_its_account_may(cloud: Emulators, granted: str) -> None:
    assert loaded(granted, "gs://own/x.csv", "gs://own/*.csv") is None
    policy = f"{cloud.storage_url}/storage/v1/b/foreign/iam"
    before = requests.get(policy, headers=OURS, timeout=10).json()
    for member in (READER["members"][0], "allUsers"):
        assert loaded(granted, "gs://foreign/x.csv")["reason"] == "accessDenied"
        bindings = [*before["bindings"], {**READER, "members": [member]}]
        requests.put(policy, json={"bindings": bindings}, headers=OURS, timeout=10).raise_for_status()
        assert loaded(granted, "gs://foreign/x.csv") is None
        requests.put(policy, json={"bindings": before["bindings"]}, headers=OURS, timeout=10)


@pytest.mark.parametrize(
    "statement",
    [
        "LOAD DATA INTO granted.t FROM FILES (format = 'CSV', uris = ['gs://foreign/x.csv'])",
        "CREATE EXTERNAL TABLE granted.e (a STRING) OPTIONS (format = 'CSV', uris = ['gs://foreign/x.csv']);"
        "SELECT a FROM granted.e",
        "SELECT a FROM EXTERNAL_QUERY('gs://foreign/x.csv', 'SELECT 1')",
    ],
)
def test_no_statement_reads_a_bucket(granted: str, statement: str) -> None:
    body = {"query": statement, "useLegacySql": False}
    answer = requests.post(f"{granted}/queries", json=body, headers=OURS, timeout=30).json()
    assert answer.get("error") or not answer.get("rows"), answer


# What a connection may cost


@pytest.mark.parametrize("name", NAMES)
def test_a_request_whose_head_never_ends_is_cut_off(cloud: Emulators, name: str) -> None:
    url = urlsplit(services(cloud)[name][0])
    with socket.create_connection((url.hostname, url.port), timeout=20) as client:
        client.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Filler: ")
        answer = b""
        try:
            for _ in range(64):
                client.sendall(b"x" * (64 << 10))
            answer = client.recv(1000)
        except OSError:
            pass
        assert answer == b"" or b" 400 " in answer
    assert requests.get(f"{services(cloud)[name][0]}/healthz", timeout=10).ok


@pytest.mark.parametrize("name", GUARDED)
def test_a_body_without_end_is_refused(cloud: Emulators, name: str) -> None:
    url, _ = services(cloud)[name]
    endless = ((b'{"x": "' if not number else b"x" * (1 << 20)) for number in range(64))
    headers = OURS | {"Content-Type": "application/json"}
    try:
        answer = requests.post(url + CHANGES[name], data=endless, headers=headers, timeout=30)
        assert (answer.status_code, answer.json()["error"]["code"]) == (413, 413)
    except requests.ConnectionError:
        pass  # refused while it was still being sent
    assert requests.get(f"{url}/healthz", timeout=10).ok


@pytest.mark.parametrize("name", GUARDED)
def test_a_bomb_does_not_go_off(cloud: Emulators, name: str) -> None:
    import gzip

    url, _ = services(cloud)[name]
    bomb = gzip.compress(b'{"x": "' + b"x" * (200 << 20))
    headers = OURS | {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    answer = requests.post(url + CHANGES[name], data=bomb, headers=headers, timeout=30)
    assert answer.status_code == 413


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("length", ["-1", "abc", "1e3", "99999999999999999999999", "5, 5"])
def test_a_length_that_is_none_is_refused(cloud: Emulators, name: str, length: str) -> None:
    url = urlsplit(services(cloud)[name][0])
    with socket.create_connection((url.hostname, url.port), timeout=20) as client:
        head = f"POST /storage/v1/b HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {length}\r\n\r\n"
        client.sendall(head.encode())
        client.shutdown(socket.SHUT_WR)
        answer = client.recv(1000)
    assert b" 400 " in answer or b" 401 " in answer or b" 501 " in answer or not answer
    assert requests.get(f"{services(cloud)[name][0]}/healthz", timeout=10).ok


@pytest.mark.parametrize("name", NAMES)
def test_a_log_never_speaks_to_the_terminal(cloud: Emulators, name: str) -> None:
    url, log = urlsplit(services(cloud)[name][0]), {"control-plane": "iam", "sample-source": "tlc_sample"}
    connection = http.client.HTTPConnection(url.netloc, timeout=10)
    paths = ("/%1b]0;owned%07", "/%0a2026%20forged%20line", "/storage/v1/b/%9b31m", "/storage/v1/b/x%0d")
    escaping = {"User-Agent": "\x1b]0;owned\x07"}
    # What is rejected is logged with its path unquoted.
    sent = (OURS, OURS | escaping, {"Origin": "http://evil.test"})
    for path, headers in itertools.product(paths, sent):
        connection.putrequest("GET", path)
        for header, value in headers.items():
            connection.putheader(header, value)
        connection.endheaders()
        connection.getresponse().read()
    text = (cloud.folder / f"{log.get(name, name)}.log").read_bytes()
    assert not [byte for byte in text if byte < 32 and byte != 10]
    assert b"\n2026 forged" not in text
    assert rb"rejected: GET /\x1b]0;owned\x07" in text
