"""The storage service as a process: what shows when it is killed, kept waiting, or asked for the absent."""

import http.client
import secrets
import socket
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from emulators import Emulators, Service

pytestmark = pytest.mark.emulators
MIB = 1 << 20


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """A storage service of the test's own, to be killed."""
    with Service("gcs", tmp_path, ("--data", str(tmp_path / "gcs"))) as running:
        yield running.wait_until_healthy()


@pytest.fixture
def bucket(service: Service) -> str:
    """A bucket that forgets at once what is deleted; its name."""
    body = {"name": "lake", "softDeletePolicy": {"retentionDurationSeconds": "0"}}
    assert requests.post(f"{service.url}/storage/v1/b", params={"project": "p1"}, json=body).ok
    return "lake"


def put(url: str, name: str, content: bytes) -> requests.Response:
    """Upload in one request."""
    query = {"uploadType": "media", "name": name}
    return requests.post(f"{url}/upload/storage/v1/b/lake/o", params=query, data=content, timeout=10)


def get(url: str, name: str) -> bytes:
    """Return an object's content."""
    answer = requests.get(f"{url}/storage/v1/b/lake/o/{name}", params={"alt": "media"}, timeout=10)
    assert answer.ok, answer.text
    return answer.content


def objects(url: str) -> dict[str, dict[str, Any]]:
    """Return all objects' metadata by name."""
    found = requests.get(f"{url}/storage/v1/b/lake/o", timeout=10).json()
    return {item["name"]: item for item in found["items"]}


def test_what_was_answered_survives_a_kill_at_any_moment(service: Service, bucket: str) -> None:
    """Gap: the library writes content and metadata in place, and starts with neither after a kill between."""
    for _ in range(3):
        answered = uploaded_until_killed(service)
        service.start().wait_until_healthy()
        kept = objects(service.url)
        assert answered.items() <= {name: item["generation"] for name, item in kept.items()}.items()
        for name, item in kept.items():
            content = get(service.url, name)
            assert (len(content), zlib.crc32(content)) == (int(item["size"]), int(name.split("-")[1]))


def uploaded_until_killed(service: Service) -> dict[str, str]:
    """Upload until the service is killed; return the generations of what was answered."""
    answered = {}
    killer = threading.Timer(0.05 + secrets.randbelow(100) / 1000, service.kill)
    killer.start()
    while True:
        content = secrets.token_bytes(MIB)
        name = f"object-{zlib.crc32(content)}"
        try:
            answered[name] = put(service.url, name, content).json()["generation"]
        except requests.RequestException:
            killer.join()
            return answered


class Killed(BaseException):
    """Stands for a kill in the middle of a change."""


@pytest.mark.parametrize(("step", "left"), [("write_bytes", b"old"), ("path", b"new"), ("done", b"new")])
def test_an_overwrite_cut_short_is_the_old_object_or_the_new_one(
    tmp_path: Path, step: str, left: bytes
) -> None:
    """Gap: the library replaces the content first, so a kill leaves new bytes under the old metadata."""
    from taxiway.emulators.gcs.store import Store

    store = Store(tmp_path)
    store.create_bucket("lake", {"name": "lake"})
    store.create_file("lake", "one", b"old", {"size": 3, "content": "old"})
    with cut_short_at(store, step), pytest.raises(Killed):
        store.create_file("lake", "one", b"new", {"size": 3, "content": "new"})
        raise Killed
    again = Store(tmp_path)
    assert (again.get_file("lake", "one"), again.get_file_obj("lake", "one")["content"].encode()) == (
        left,
        left,
    )
    assert not [
        path.name for path in tmp_path.rglob("*") if path.is_file() and path.name not in (".meta", "one")
    ]


@contextmanager
def cut_short_at(store: Any, step: str) -> Iterator[None]:
    """Let the next change be killed: before its commit (write_bytes), after it (path), or not at all."""
    files, meta = store._store, ".meta"
    write, path = files.write_bytes, files.path
    committed: list[str] = []

    def write_bytes(name: str, content: bytes) -> None:
        if name == meta and step == "write_bytes":
            raise Killed
        write(name, content)
        committed.extend([name] if name == meta else [])

    def find(name: str) -> Path:
        if committed and step == "path":
            raise Killed
        return path(name)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "write_bytes", write_bytes)
        patch.setattr(files, "path", find)
        yield


def test_a_change_that_could_not_be_written_is_forgotten(
    service: Service, bucket: str, tmp_path: Path
) -> None:
    put(service.url, "one", b"old")
    blocker = tmp_path / "gcs" / "objects" / "..meta.tmp"
    blocker.mkdir()
    assert put(service.url, "one", b"new").status_code == 500
    blocker.rmdir()
    assert get(service.url, "one") == b"old"
    assert put(service.url, "one", b"newer").ok
    assert get(service.url, "one") == b"newer"


def test_an_upload_goes_on_after_a_kill(service: Service, bucket: str) -> None:
    content = secrets.token_bytes(MIB)
    query = {"uploadType": "resumable", "name": "big"}
    session = requests.post(f"{service.url}/upload/storage/v1/b/lake/o", params=query, json={})
    url = session.headers["Location"]
    half = MIB // 2
    requests.put(url, data=content[:half], headers={"Content-Range": f"bytes 0-{half - 1}/*"})
    service.kill()
    service.start().wait_until_healthy()
    where = requests.put(url, headers={"Content-Range": "bytes */*"}, allow_redirects=False)
    assert (where.status_code, where.headers["Range"]) == (308, f"bytes=0-{half - 1}")
    requests.put(url, data=content[half:], headers={"Content-Range": f"bytes {half}-{MIB - 1}/{MIB}"})
    assert get(service.url, "big") == content


def test_a_chunk_sent_again_is_taken_once(service: Service, bucket: str) -> None:
    """Gap: the library answers 400 to a chunk whose first answer was lost."""
    query = {"uploadType": "resumable", "name": "twice"}
    url = requests.post(f"{service.url}/upload/storage/v1/b/lake/o", params=query, json={}).headers[
        "Location"
    ]
    for span, chunk, status in (("0-3/*", b"abcd", 308), ("0-3/*", b"abcd", 308), ("4-5/6", b"ef", 200)):
        headers = {"Content-Range": f"bytes {span}"}
        assert requests.put(url, data=chunk, headers=headers, allow_redirects=False).status_code == status
    assert get(service.url, "twice") == b"abcdef"


def test_a_slow_client_does_not_keep_the_others_waiting(service: Service, bucket: str) -> None:
    """Gap: the library has one thread, and it waits for the body of a request."""
    address = urlsplit(service.url)
    with socket.create_connection((address.hostname, address.port)) as slow:
        head = "POST /upload/storage/v1/b/lake/o?uploadType=media&name=slow HTTP/1.1\r\nHost: x\r\n"
        slow.sendall(f"{head}Content-Length: 1000\r\n\r\n0123456789".encode())
        assert put(service.url, "quick", b"x").ok
        assert requests.get(f"{service.url}/healthz", timeout=2).ok
    assert "slow" not in objects(service.url)


def test_a_reader_that_dawdles_gets_what_it_asked_for(service: Service, bucket: str) -> None:
    old = secrets.token_bytes(16 * MIB)
    put(service.url, "big", old)
    with requests.get(
        f"{service.url}/storage/v1/b/lake/o/big", params={"alt": "media"}, stream=True
    ) as answer:
        first = answer.raw.read(1000)
        put(service.url, "big", b"new")
        assert first + answer.raw.read() == old
    assert get(service.url, "big") == b"new"


def test_one_connection_serves_many_requests(service: Service, bucket: str) -> None:
    """Gap: the library closes the connection after each answer."""
    connection = http.client.HTTPConnection(urlsplit(service.url).netloc, timeout=10)
    for number in range(20):
        path = f"/upload/storage/v1/b/lake/o?uploadType=media&name=o{number}"
        for method, url, status in (("POST", path, 200), ("GET", "/storage/v1/b/lake/o/nowhere", 404)):
            connection.request(method, url, body=b"x" if method == "POST" else None)
            answer = connection.getresponse()
            assert (answer.status, bool(answer.read())) == (status, True)
            assert connection.sock is not None
    connection.close()


def test_an_object_lies_as_a_plain_file_for_the_warehouse(
    service: Service, bucket: str, tmp_path: Path
) -> None:
    from taxiway.emulators.gcs import objects_root

    name = "typed/yellow/year=2024/month=01/a b%.parquet"
    put(service.url, name, b"content")
    assert (objects_root(tmp_path / "gcs") / bucket / name).read_bytes() == b"content"


def test_an_object_can_take_the_name_of_a_folder_that_emptied(service: Service, bucket: str) -> None:
    """Gap: the library leaves the folder, and the object that should take its place fails."""
    put(service.url, "a/b", b"x")
    requests.delete(f"{service.url}/storage/v1/b/lake/o/a%2Fb")
    assert put(service.url, "a", b"y").ok
    assert get(service.url, "a") == b"y"


def test_nobody_wipes_everything_with_one_get(service: Service, bucket: str) -> None:
    """Gap: the library's GET /wipe deletes all buckets."""
    put(service.url, "one", b"x")
    assert requests.get(f"{service.url}/wipe").status_code == 404
    assert "one" in objects(service.url)


def test_deleting_a_bucket_leaves_no_file(service: Service, bucket: str, tmp_path: Path) -> None:
    put(service.url, "a/b", b"x")
    requests.delete(f"{service.url}/storage/v1/b/lake/o/a%2Fb")
    assert requests.delete(f"{service.url}/storage/v1/b/lake").ok
    assert {path.name for path in tmp_path.rglob("*") if path.is_file()} == {".meta", "gcs.log"}


def test_what_it_does_not_know_is_refused_with_a_reason(service: Service) -> None:
    refused = requests.get(f"{service.url}/storage/v1/b/lake/notificationConfigs")
    assert refused.status_code == 501
    assert "notificationConfigs" in refused.json()["error"]["message"]
    assert "notificationConfigs" in service.log()


def test_a_body_that_is_not_json_is_refused(service: Service) -> None:
    headers = {"Content-Type": "application/json"}
    url = f"{service.url}/storage/v1/b?project=p1"
    assert requests.post(url, data=b"{no", headers=headers).status_code == 400


def test_a_taken_port_is_said_in_one_line(tmp_path: Path) -> None:
    options = ("--data", str(tmp_path / "gcs"))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        service = Service("gcs", tmp_path, options, port=taken.getsockname()[1])
        assert service.start().wait() == 1
    assert service.log().splitlines()[-1].endswith("Address already in use")
    assert "Traceback" not in service.log()


def test_it_stops_when_told(service: Service) -> None:
    assert service.stop() == 0


def test_two_addresses_of_one_service_each_link_to_themselves(emulators: Emulators) -> None:
    """Gap: the library keeps the address of whoever uploaded; in another network it leads nowhere."""
    url = emulators.storage_url
    requests.post(f"{url}/storage/v1/b", params={"project": "p1"}, json={"name": "links"})
    query = {"uploadType": "media", "name": "x"}
    requests.post(f"{url}/upload/storage/v1/b/links/o", params=query, data=b"x")
    other = requests.get(f"{url}/storage/v1/b/links/o/x", headers={"Host": "storage:9023"}).json()
    assert other["mediaLink"].startswith("http://storage:9023/")
