"""The storage service as a process: what shows when it is killed, kept waiting, or asked for the absent."""

import http.client
import os
import secrets
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from emulators import Emulators, Service

from taxiway.emulators.gcs import find, objects_root
from taxiway.emulators.gcs.store import SESSION_SECONDS, Incoming, Store

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
    return {item["name"]: item for item in found.get("items", [])}


def test_what_was_answered_survives_a_kill_at_any_moment(service: Service, bucket: str) -> None:
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


DIES = """
import os, sys
from pathlib import Path
from taxiway.emulators.gcs import store as module

class Dying(module.Store):
    def _write(self, stored):
        super()._write(stored)
        if sys.argv[2] == "before":
            os._exit(9)

    def discard(self, path):
        if sys.argv[2] == "after":
            os._exit(9)
        super().discard(path)

store = Dying(Path(sys.argv[1]))
with store.new_file() as path:
    module.Incoming(path).write([b"new"])
    if sys.argv[2] == "uncommitted":
        os._exit(9)
    generation = str(store.next_generation())
    store.put({"bucket": "lake", "name": "one", "generation": generation, "content": "new"}, path)
os._exit(9)
"""


@pytest.mark.parametrize(
    ("moment", "left"), [("uncommitted", "old"), ("before", "old"), ("after", "new"), ("done", "new")]
)
def test_an_overwrite_cut_short_is_the_old_object_or_the_new_one(
    tmp_path: Path, moment: str, left: str
) -> None:
    store = Store(tmp_path)
    store.put_bucket({"name": "lake"})
    with store.new_file() as path:
        Incoming(path).write([b"old"])
        store.put({"bucket": "lake", "name": "one", "generation": "1", "content": "old"}, path)
    store.close()
    assert subprocess.run([sys.executable, "-c", DIES, str(tmp_path), moment]).returncode == 9
    again = Store(tmp_path)
    found = again.live("lake", "one")
    assert found is not None
    assert (found.resource["content"], again.path(found).read_text()) == (left, left)
    assert [path.name for path in (tmp_path / "files").iterdir()] == [found.file]
    again.close()


def test_a_change_that_could_not_be_written_is_forgotten(
    service: Service, bucket: str, tmp_path: Path
) -> None:
    put(service.url, "one", b"old")
    files = tmp_path / "gcs" / "objects" / "files"
    elsewhere = files.rename(files.with_name("elsewhere"))
    assert put(service.url, "one", b"new").status_code == 500
    elsewhere.rename(files)
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


def test_half_a_chunk_is_kept_and_the_upload_goes_on_behind_it(service: Service, bucket: str) -> None:
    content = secrets.token_bytes(MIB)
    query = {"uploadType": "resumable", "name": "big"}
    session = requests.post(f"{service.url}/upload/storage/v1/b/lake/o", params=query, json={})
    url = urlsplit(session.headers["Location"])
    with socket.create_connection((url.hostname, url.port)) as client:
        head = f"PUT {url.path}?{url.query} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {MIB}\r\n"
        client.sendall(f"{head}Content-Range: bytes 0-{MIB - 1}/{MIB}\r\n\r\n".encode() + content[: MIB // 2])
    asked = {"headers": {"Content-Range": "bytes */*"}, "allow_redirects": False, "timeout": 10}
    kept = requests.put(session.headers["Location"], **asked).headers.get("Range", "bytes=0--1")
    start = int(kept.rsplit("-", 1)[1]) + 1
    assert 0 < start <= MIB // 2
    span = {"Content-Range": f"bytes 0-{MIB - 1}/{MIB}"}
    assert requests.put(session.headers["Location"], data=content, headers=span, timeout=10).ok
    assert get(service.url, "big") == content


def test_a_session_that_nobody_continues_goes_with_its_bytes(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.put_bucket({"name": "lake"})
    session = store.session(store.begin("lake", "one", {}, {}))
    assert session is not None
    store.received(session).write([b"x" * MIB])
    store.close()
    with sqlite3.connect(tmp_path / "index.sqlite3") as index:
        index.execute("UPDATE session SET touched = ?", (time.time() - SESSION_SECONDS - 1,))
    again = Store(tmp_path)
    assert again.session(session.id) is None
    assert list((tmp_path / "files").iterdir()) == []
    again.close()


def test_an_object_outlives_the_session_that_uploaded_it(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.put_bucket({"name": "lake"})
    session = store.session(store.begin("lake", "one", {}, {}))
    assert session is not None
    incoming = store.received(session)
    incoming.write([b"content"])
    store.put({"bucket": "lake", "name": "one", "generation": "1"}, incoming.path, session=session.id)
    with sqlite3.connect(tmp_path / "index.sqlite3") as index:
        index.execute("UPDATE session SET touched = ?", (time.time() - SESSION_SECONDS - 1,))
    store.sweep()
    live = store.live("lake", "one")
    assert live is not None
    assert store.session(session.id) is None
    assert store.path(live).read_bytes() == b"content"
    store.close()


def test_what_was_soft_deleted_goes_when_its_time_is_over(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.put_bucket({"name": "lake", "softDeletePolicy": {"retentionDurationSeconds": "604800"}})
    with store.new_file() as path:
        store.put({"bucket": "lake", "name": "one", "generation": "1"}, path)
    live = store.live("lake", "one")
    assert live is not None
    store.delete(live, keep_version=True)
    assert store.version("lake", "one", 1, deleted=True)
    with sqlite3.connect(tmp_path / "index.sqlite3") as index:
        index.execute("UPDATE object SET until = ?", (time.time() - 1,))
    store.sweep()
    assert store.version("lake", "one", 1, deleted=True) is None
    assert list((tmp_path / "files").iterdir()) == []
    store.close()


def test_a_slow_client_does_not_keep_the_others_waiting(service: Service, bucket: str) -> None:
    address = urlsplit(service.url)
    with socket.create_connection((address.hostname, address.port)) as slow:
        head = "POST /upload/storage/v1/b/lake/o?uploadType=media&name=slow HTTP/1.1\r\nHost: 127.0.0.1\r\n"
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
    connection = http.client.HTTPConnection(urlsplit(service.url).netloc, timeout=10)
    for number in range(20):
        path = f"/upload/storage/v1/b/lake/o?uploadType=media&name=o{number}"
        for method, url, status in (("POST", path, 200), ("GET", "/storage/v1/b/lake/o/nowhere", 404)):
            connection.request(method, url, body=b"x" if method == "POST" else None)
            answer = connection.getresponse()
            assert (answer.status, bool(answer.read())) == (status, True)
            assert connection.sock is not None
    connection.close()


def test_the_warehouse_finds_the_file_of_an_object_of_any_name(
    service: Service, bucket: str, tmp_path: Path
) -> None:
    root = objects_root(tmp_path / "gcs")
    for name in ("typed/a b%.parquet", "typed/", "typed", "n" * 1024):
        put(service.url, name, name.encode())
        assert [path.read_bytes() for _, path in find(root, "lake", name)] == [name.encode()]
    assert [name for name, _ in find(root, "lake", "typed*")] == ["typed", "typed/", "typed/a b%.parquet"]
    assert find(root, "lake", "typed/*.csv") == find(root, "lake", "nowhere") == []
    with pytest.raises(FileNotFoundError, match="bucket"):
        find(root, "nowhere", "x")
    with pytest.raises(FileNotFoundError, match="no storage service"):
        find(tmp_path / "nowhere", "lake", "x")


FINDS = """
import os, sys
from pathlib import Path
from taxiway.emulators.gcs import find
os.setgid(65534), os.setuid(65534)
print(find(Path(sys.argv[1]), "lake", "one")[0][1].read_text())
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
@pytest.mark.parametrize("end", ["it runs", "it was killed", "it ended"])
def test_the_warehouse_needs_no_right_to_write(
    service: Service, bucket: str, tmp_path: Path, end: str
) -> None:
    """In Compose it has the storage service's folder read-only."""
    put(service.url, "one", b"old")
    put(service.url, "one", b"content")
    if end == "it was killed":
        service.kill()
    elif end == "it ended":
        service.stop()
    for folder in (*tmp_path.parents, tmp_path, tmp_path / "gcs", tmp_path / "gcs" / "objects"):
        if folder.is_relative_to("/tmp") and folder != Path("/tmp"):
            folder.chmod(0o755)
    command = [sys.executable, "-c", FINDS, str(objects_root(tmp_path / "gcs"))]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stdout == "content\n", done.stderr


def test_deleting_a_bucket_leaves_no_file(service: Service, bucket: str, tmp_path: Path) -> None:
    put(service.url, "a/b", b"x")
    query = {"uploadType": "resumable", "name": "half"}
    url = requests.post(f"{service.url}/upload/storage/v1/b/lake/o", params=query, json={}).headers[
        "Location"
    ]
    requests.put(url, data=b"abcd", headers={"Content-Range": "bytes 0-3/*"})
    requests.delete(f"{service.url}/storage/v1/b/lake/o/a%2Fb")
    assert requests.delete(f"{service.url}/storage/v1/b/lake").ok
    assert list((tmp_path / "gcs" / "objects" / "files").iterdir()) == []


def test_what_somebody_put_beside_the_data_keeps_no_service_from_starting(
    service: Service, bucket: str, tmp_path: Path
) -> None:
    put(service.url, "one", b"x")
    put(service.url, "lost", b"x")
    service.kill()
    root = tmp_path / "gcs" / "objects"
    with sqlite3.connect(root / "index.sqlite3") as index:
        lost = index.execute("SELECT file FROM object WHERE name = 'lost'").fetchone()[0]
    (root / "files" / lost).unlink()
    (root / "files" / "folder" / "inner").mkdir(parents=True)
    (root / "files" / "dangling").symlink_to(root / "nowhere")
    (root / "stray").write_bytes(b"\0" * 10)
    service.start().wait_until_healthy()
    assert get(service.url, "one") == b"x"
    assert requests.get(f"{service.url}/storage/v1/b/lake/o/lost?alt=media").status_code == 404
    assert put(service.url, "lost", b"again").ok
    assert get(service.url, "lost") == b"again"


def test_data_of_an_older_version_are_named_and_left_alone(tmp_path: Path) -> None:
    old = tmp_path / "gcs" / "objects"
    old.mkdir(parents=True)
    (old / ".meta").write_text('{"buckets": {}}')
    service = Service("gcs", tmp_path, ("--data", str(tmp_path / "gcs")))
    assert service.start().wait() == 1
    assert "holds objects of an older version" in service.log().splitlines()[-1]
    assert "scripts/down" in service.log()
    assert [path.name for path in old.iterdir()] == [".meta"]


def test_a_second_service_does_not_take_the_data_of_the_first(service: Service, tmp_path: Path) -> None:
    second = Service("gcs", tmp_path / "gcs", ("--data", str(tmp_path / "gcs")))
    assert second.start().wait() == 1
    assert "another storage service uses" in second.log().splitlines()[-1]


def test_an_index_that_is_none_is_named(tmp_path: Path) -> None:
    root = tmp_path / "gcs" / "objects"
    root.mkdir(parents=True)
    (root / "index.sqlite3").write_bytes(b"no database" * 1000)
    service = Service("gcs", tmp_path, ("--data", str(tmp_path / "gcs")))
    assert service.start().wait() == 1
    assert "index.sqlite3: file is not a database" in service.log().splitlines()[-1]


def test_memory_does_not_follow_the_size_of_an_object(service: Service, bucket: str) -> None:
    def peak() -> int:
        status = Path(f"/proc/{service.pid}/status").read_text()
        return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1])

    put(service.url, "small", b"x" * MIB)
    get(service.url, "small")
    before = peak()
    query = {"uploadType": "media", "name": "big"}
    block = secrets.token_bytes(MIB)
    made = requests.post(
        f"{service.url}/upload/storage/v1/b/lake/o",
        params=query,
        data=(block for _ in range(200)),
        timeout=60,
    )
    assert made.json()["size"] == str(200 * MIB)
    with requests.get(f"{service.url}/storage/v1/b/lake/o/big?alt=media", stream=True, timeout=60) as answer:
        assert sum(len(piece) for piece in answer.iter_content(MIB)) == 200 * MIB
    assert peak() - before < 20_000


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
    assert "Address already in use" in service.log().splitlines()[-1]
    assert "Traceback" not in service.log()


def test_it_stops_when_told(service: Service) -> None:
    assert service.stop() == 0


def test_two_addresses_of_one_service_each_link_to_themselves(emulators: Emulators) -> None:
    url = emulators.storage_url
    requests.post(f"{url}/storage/v1/b", params={"project": "p1"}, json={"name": "links"})
    query = {"uploadType": "media", "name": "x"}
    requests.post(f"{url}/upload/storage/v1/b/links/o", params=query, data=b"x")
    other = requests.get(f"{url}/storage/v1/b/links/o/x", headers={"Host": "localhost:9023"}).json()
    assert other["mediaLink"].startswith("http://localhost:9023/")
