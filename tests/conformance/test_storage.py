"""What we rely on from Cloud Storage. Where the emulated one needed a correction, its code names the gap."""

import io
import secrets
from typing import Any
from urllib.parse import quote

import pytest
import requests

pytestmark = pytest.mark.emulators
EIGHT_MIB = 8 << 20


@pytest.fixture
def name() -> str:
    """An object's name with what Hive partitions and other worlds put into names."""
    return f"typed/yellow/year=2024/month=01/{secrets.token_hex(4)} 100%.parquet"


@pytest.fixture
def new_bucket(cloud: Any) -> Any:
    """Create buckets that are deleted afterwards: takes the body without a name, returns the URL."""
    created = []

    def create(**attributes: Any) -> str:
        url = f"{cloud.storage}/b/{cloud.run}-{secrets.token_hex(3)}"
        cloud.ok(
            "POST", f"{cloud.storage}/b", {"name": url.rsplit("/", 1)[1], **attributes}, project=cloud.project
        )
        created.append(url)
        return url

    yield create
    for url in created:
        cloud.call("DELETE", url)


def put(cloud: Any, bucket: str, name: str, content: bytes, **query: str) -> requests.Response:
    """Upload in one request."""
    return cloud.session.post(
        f"{cloud.upload}/b/{bucket}/o",
        params={"uploadType": "media", "name": name, **query},
        data=content,
        headers={"Content-Type": "application/octet-stream"},
    )


def resource(cloud: Any, bucket: str, name: str) -> str:
    """Return an object's URL."""
    return f"{cloud.storage}/b/{bucket}/o/{quote(name, safe='')}"


def error_of(answer: requests.Response) -> tuple[int, int, str]:
    """Return the status, and code and reason of Google's error body."""
    error = answer.json()["error"]
    assert error["message"]
    return answer.status_code, error["code"], error["errors"][0]["reason"]


def start_resumable(cloud: Any, bucket: str, name: str, **query: str) -> requests.Response:
    """Open an upload session; its URL is the answer's Location."""
    query = {"uploadType": "resumable", "name": name, **query}
    return cloud.session.post(f"{cloud.upload}/b/{bucket}/o", params=query, json={})


def send_chunk(session: Any, url: str, content: bytes, span: str) -> requests.Response:
    """Send a part of an upload."""
    return session.put(url, data=content, headers={"Content-Range": f"bytes {span}"}, allow_redirects=False)


def test_a_bucket_keeps_what_it_was_created_with(cloud: Any, new_bucket: Any) -> None:
    wanted = {
        "location": "US",
        "storageClass": "NEARLINE",
        "labels": {"taxiway-stack": "try", "managed-by": "pulumi"},
        "iamConfiguration": {
            "uniformBucketLevelAccess": {"enabled": True},
            "publicAccessPrevention": "enforced",
        },
        "lifecycle": {"rule": [{"action": {"type": "Delete"}, "condition": {"age": 30}}]},
        "versioning": {"enabled": False},
        "softDeletePolicy": {"retentionDurationSeconds": "0"},
    }
    got = cloud.ok("GET", new_bucket(**wanted))
    assert got["iamConfiguration"]["uniformBucketLevelAccess"].pop("lockedTime")
    assert {key: got[key] for key in wanted if key not in ("iamConfiguration", "softDeletePolicy")} == {
        key: wanted[key] for key in wanted if key not in ("iamConfiguration", "softDeletePolicy")
    }
    assert got["softDeletePolicy"]["retentionDurationSeconds"] == "0"
    assert wanted["iamConfiguration"].items() <= got["iamConfiguration"].items()


def test_a_bucket_that_says_nothing_gets_the_defaults(cloud: Any, new_bucket: Any) -> None:
    got = cloud.ok("GET", new_bucket())
    assert (got["location"], got["locationType"], got["storageClass"]) == ("US", "multi-region", "STANDARD")
    assert got["softDeletePolicy"]["retentionDurationSeconds"] == str(7 * 24 * 3600)
    assert got["iamConfiguration"]["publicAccessPrevention"] == "inherited"
    assert got["metageneration"] == "1"
    assert "labels" not in got


def test_a_label_patched_to_null_goes_and_the_others_stay(cloud: Any, new_bucket: Any) -> None:
    url = new_bucket(labels={"a": "1", "b": "2"})
    got = cloud.ok("PATCH", url, {"labels": {"a": None, "c": "3"}})
    assert (got["labels"], got["metageneration"]) == ({"b": "2", "c": "3"}, "2")


def test_a_lifecycle_patched_to_null_goes(cloud: Any, new_bucket: Any) -> None:
    rules = {"rule": [{"action": {"type": "Delete"}, "condition": {"age": 30}}]}
    assert "lifecycle" not in cloud.ok("PATCH", new_bucket(lifecycle=rules), {"lifecycle": None})


def test_a_second_bucket_of_a_name_is_a_conflict(cloud: Any, bucket: str) -> None:
    again = cloud.call("POST", f"{cloud.storage}/b", {"name": bucket}, project=cloud.project)
    assert error_of(again) == (409, 409, "conflict")


def test_a_bucket_name_in_capitals_is_refused(cloud: Any) -> None:
    refused = cloud.call("POST", f"{cloud.storage}/b", {"name": "Not A Bucket"}, project=cloud.project)
    assert error_of(refused) == (400, 400, "invalid")


def test_a_bucket_that_is_gone_is_not_found(cloud: Any, new_bucket: Any) -> None:
    url = new_bucket()
    cloud.ok("DELETE", url)
    assert error_of(cloud.call("GET", url)) == (404, 404, "notFound")
    assert error_of(cloud.call("DELETE", url)) == (404, 404, "notFound")


def test_a_bucket_with_objects_is_not_deleted(cloud: Any, bucket: str, name: str) -> None:
    put(cloud, bucket, name, b"x")
    assert error_of(cloud.call("DELETE", f"{cloud.storage}/b/{bucket}")) == (409, 409, "conflict")


def test_an_open_upload_does_not_keep_a_bucket_alive(cloud: Any, new_bucket: Any) -> None:
    url = new_bucket()
    assert start_resumable(cloud, url.rsplit("/", 1)[1], "half").ok
    cloud.ok("DELETE", url)
    assert cloud.call("GET", url).status_code == 404


def test_buckets_are_listed_by_project_and_prefix(cloud: Any, new_bucket: Any) -> None:
    name = new_bucket().rsplit("/", 1)[1]
    found = cloud.ok("GET", f"{cloud.storage}/b", project=cloud.project, prefix=name)
    assert [bucket["name"] for bucket in found["items"]] == [name]
    found = cloud.ok("GET", f"{cloud.storage}/b", project=cloud.project, prefix=f"{name}-not")
    assert found.get("items", []) == []


def test_a_bucket_has_no_anywhere_caches(cloud: Any, bucket: str) -> None:
    assert cloud.ok("GET", f"{cloud.storage}/b/{bucket}/anywhereCaches").get("items", []) == []


def test_a_policy_read_before_another_change_is_refused(cloud: Any, bucket: str) -> None:
    url = f"{cloud.storage}/b/{bucket}/iam"
    policy = cloud.ok("GET", url, optionsRequestedPolicyVersion="3")
    first = cloud.ok("PUT", url, policy)
    assert first["etag"] != policy["etag"]
    assert error_of(cloud.call("PUT", url, policy))[0] == 412
    assert cloud.ok("GET", url)["etag"] == first["etag"]


@pytest.mark.parametrize("kind", ["media", "multipart", "resumable"])
def test_an_object_made_under_generation_zero_is_made_once(
    cloud: Any, storage_client: Any, bucket: str, name: str, kind: str
) -> None:
    def upload() -> int:
        blob = storage_client.bucket(bucket).blob(name, chunk_size=EIGHT_MIB if kind == "resumable" else None)
        if kind == "media":
            return put(cloud, bucket, name, b"x", ifGenerationMatch="0").status_code
        try:
            blob.upload_from_file(
                io.BytesIO(b"x"), if_generation_match=0, size=None if kind == "resumable" else 1
            )
        except Exception as error:
            return int(getattr(error, "code", 0))
        return 200

    assert (upload(), upload()) == (200, 412)


def test_an_object_changes_only_from_the_generation_given(cloud: Any, bucket: str, name: str) -> None:
    first = put(cloud, bucket, name, b"one").json()["generation"]
    second = put(cloud, bucket, name, b"two", ifGenerationMatch=first)
    assert second.ok
    assert error_of(put(cloud, bucket, name, b"three", ifGenerationMatch=first)) == (
        412,
        412,
        "conditionNotMet",
    )
    url = resource(cloud, bucket, name)
    assert cloud.call("PATCH", url, {"metadata": {"a": "b"}}, ifGenerationMatch=first).status_code == 412
    assert cloud.call("DELETE", url, ifGenerationMatch=first).status_code == 412
    assert cloud.session.get(url, params={"alt": "media"}).content == b"two"
    assert cloud.call("DELETE", url, ifGenerationMatch=second.json()["generation"]).ok


def test_an_upload_that_began_before_another_ended_is_refused(cloud: Any, bucket: str, name: str) -> None:
    session = start_resumable(cloud, bucket, name, ifGenerationMatch="0").headers["Location"]
    put(cloud, bucket, name, b"the other one")
    assert send_chunk(cloud.session, session, b"late", "0-3/4").status_code == 412
    assert (
        cloud.session.get(resource(cloud, bucket, name), params={"alt": "media"}).content == b"the other one"
    )


def test_a_generation_that_is_not_there_is_not_found(cloud: Any, bucket: str, name: str) -> None:
    put(cloud, bucket, name, b"x")
    url = resource(cloud, bucket, name)
    assert cloud.call("GET", url, generation="1").status_code == 404
    assert cloud.call("DELETE", url, generation="1").status_code == 404
    assert cloud.call("GET", url).ok


def test_an_object_that_is_not_there_is_not_found(cloud: Any, bucket: str) -> None:
    for method in ("GET", "DELETE"):
        assert error_of(cloud.call(method, resource(cloud, bucket, "nowhere"))) == (404, 404, "notFound")


def test_custom_metadata_is_merged_and_counted(cloud: Any, bucket: str, name: str) -> None:
    assert put(cloud, bucket, name, b"x").json()["metageneration"] == "1"
    url = resource(cloud, bucket, name)
    cloud.ok("PATCH", url, {"metadata": {"etag": '"abc"', "sha256": "0f"}})
    got = cloud.ok("PATCH", url, {"metadata": {"sha256": None, "url": "http://a/b?c"}})
    assert (got["metadata"], got["metageneration"]) == ({"etag": '"abc"', "url": "http://a/b?c"}, "3")


def test_a_stream_of_unknown_length_arrives_in_chunks(storage_client: Any, bucket: str, name: str) -> None:
    content = secrets.token_bytes(2 * EIGHT_MIB + 17)
    blob = storage_client.bucket(bucket).blob(name, chunk_size=EIGHT_MIB)
    blob.metadata = {"source": "test"}
    blob.upload_from_file(Stream(content), if_generation_match=0)
    assert (blob.size, blob.metadata, blob.metageneration) == (len(content), {"source": "test"}, 1)
    assert storage_client.bucket(bucket).blob(name).download_as_bytes() == content


def test_a_stream_of_a_whole_number_of_chunks_arrives(storage_client: Any, bucket: str, name: str) -> None:
    content = secrets.token_bytes(EIGHT_MIB)
    storage_client.bucket(bucket).blob(name, chunk_size=EIGHT_MIB).upload_from_file(Stream(content))
    assert storage_client.bucket(bucket).get_blob(name).download_as_bytes() == content


def test_an_empty_stream_makes_an_empty_object(storage_client: Any, bucket: str, name: str) -> None:
    storage_client.bucket(bucket).blob(name, chunk_size=EIGHT_MIB).upload_from_file(Stream(b""))
    assert storage_client.bucket(bucket).get_blob(name).download_as_bytes() == b""


def test_a_file_of_known_length_arrives_in_chunks(storage_client: Any, bucket: str, name: str) -> None:
    content = secrets.token_bytes(EIGHT_MIB + 1)
    blob = storage_client.bucket(bucket).blob(name, chunk_size=EIGHT_MIB)
    blob.upload_from_file(io.BytesIO(content), size=len(content), checksum="crc32c")
    assert storage_client.bucket(bucket).get_blob(name).download_as_bytes(checksum="crc32c") == content


def test_parts_of_an_object_can_be_read(cloud: Any, storage_client: Any, bucket: str, name: str) -> None:
    put(cloud, bucket, name, bytes(range(100)))
    blob = storage_client.bucket(bucket).get_blob(name)
    assert blob.download_as_bytes(start=10, end=19) == bytes(range(10, 20))
    tail = cloud.session.get(
        resource(cloud, bucket, name), params={"alt": "media"}, headers={"Range": "bytes=-5"}
    )
    assert (tail.status_code, tail.headers["Content-Range"]) == (206, "bytes 95-99/100")
    assert tail.content == bytes(range(95, 100))
    with blob.open("rb", chunk_size=16) as file:
        file.seek(90)
        assert (file.read(), file.read()) == (bytes(range(90, 100)), b"")


def test_a_range_past_the_end_is_refused(cloud: Any, bucket: str, name: str) -> None:
    put(cloud, bucket, name, b"short")
    url, asked = resource(cloud, bucket, name), {"Range": "bytes=5-9"}
    assert cloud.session.get(url, params={"alt": "media"}, headers=asked).status_code == 416


def test_an_interrupted_upload_goes_on_from_what_arrived(cloud: Any, bucket: str, name: str) -> None:
    content = secrets.token_bytes(3 << 18)
    url = start_resumable(cloud, bucket, name).headers["Location"]
    fresh = send_chunk(cloud.session, url, b"", "*/*")
    assert (fresh.status_code, fresh.headers.get("Range")) == (308, None)
    first = send_chunk(cloud.session, url, content[: 1 << 18], f"0-{(1 << 18) - 1}/*")
    assert (first.status_code, first.headers["Range"]) == (308, f"bytes=0-{(1 << 18) - 1}")
    assert cloud.call("GET", resource(cloud, bucket, name)).status_code == 404
    again = send_chunk(cloud.session, url, content[1 << 18 :], f"{1 << 18}-{len(content) - 1}/{len(content)}")
    assert (again.status_code, again.json()["size"]) == (200, str(len(content)))
    assert cloud.session.get(resource(cloud, bucket, name), params={"alt": "media"}).content == content


def test_objects_are_listed_by_prefix_and_folder(cloud: Any, bucket: str) -> None:
    for name in ("list/a/1", "list/a/2", "list/b"):
        put(cloud, bucket, name, b"x")
    url = f"{cloud.storage}/b/{bucket}/o"
    assert [item["name"] for item in cloud.ok("GET", url, prefix="list/a/")["items"]] == [
        "list/a/1",
        "list/a/2",
    ]
    found = cloud.ok("GET", url, prefix="list/", delimiter="/")
    assert ([item["name"] for item in found["items"]], found["prefixes"]) == (["list/b"], ["list/a/"])


def test_a_deleted_object_can_be_found_while_soft_delete_lasts(cloud: Any, new_bucket: Any) -> None:
    url = new_bucket()
    bucket = url.rsplit("/", 1)[1]
    put(cloud, bucket, "gone", b"x")
    cloud.ok("DELETE", f"{url}/o/gone")
    assert cloud.ok("GET", f"{url}/o").get("items", []) == []
    assert [item["name"] for item in cloud.ok("GET", f"{url}/o", softDeleted="true")["items"]] == ["gone"]


def test_a_link_to_an_object_works_whatever_its_name(cloud: Any, bucket: str, name: str) -> None:
    put(cloud, bucket, name, b"content")
    link = cloud.ok("GET", resource(cloud, bucket, name))["mediaLink"]
    assert cloud.session.get(link).content == b"content"


class Stream:
    """Bytes that come without saying how many there are."""

    def __init__(self, content: bytes) -> None:
        self._content = io.BytesIO(content)

    def read(self, size: int = -1) -> bytes:
        return self._content.read(size)

    def tell(self) -> int:
        return self._content.tell()
