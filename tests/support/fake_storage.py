"""Google Cloud Storage in memory: objects with generations, preconditions, uploads in pieces."""

import base64
import json
import re
from dataclasses import dataclass, field
from typing import Any

import google_crc32c
from fake_http import Answer, GoogleError, Request, Service
from google.auth.credentials import AnonymousCredentials
from google.cloud.storage import Client

OBJECTS = re.compile(r"/(?:(?P<kind>upload|download)/)?storage/v1/b/(?P<bucket>[^/]+)/o(?:/(?P<name>.+))?")


@dataclass
class Object:
    """One object; its generation tells one write from another."""

    content: bytes
    generation: int
    metadata: dict[str, str] = field(default_factory=dict)


class FakeStorage(Service):
    """The buckets of a project; `objects` are by bucket and name."""

    host = "http://storage.test"

    def __init__(self, *buckets: str) -> None:
        super().__init__()
        self.objects: dict[str, dict[str, Object]] = {bucket: {} for bucket in buckets}
        self._uploads: dict[str, dict[str, Any]] = {}
        self._writes = 0

    def client(self) -> Client:
        options = {"api_endpoint": self.host}
        return Client("p", AnonymousCredentials(), _http=self.session(), client_options=options)

    def answer(self, request: Request) -> Answer:
        found = OBJECTS.fullmatch(request.path)
        if found is None:
            raise GoogleError(404, f"no such method: {request.path}")
        kind, bucket, name = found["kind"], found["bucket"], found["name"]
        if bucket not in self.objects:
            raise GoogleError(404, "The specified bucket does not exist.")
        if kind == "upload":
            return self._upload(request, bucket)
        if name is None:
            return self._list(bucket, request.query.get("prefix", ""))
        return self._object(request, bucket, name, media=kind == "download")

    def _list(self, bucket: str, prefix: str) -> Answer:
        names = sorted(name for name in self.objects[bucket] if name.startswith(prefix))
        return Answer(body={"items": [self._resource(bucket, name) for name in names]})

    def _object(self, request: Request, bucket: str, name: str, *, media: bool) -> Answer:
        found = self.objects[bucket].get(name)
        wanted = request.query.get("generation")
        if found is None or (wanted and int(wanted) != found.generation):
            raise GoogleError(404, f"No such object: {bucket}/{name}")
        if request.method == "DELETE":
            del self.objects[bucket][name]
            return Answer(204)
        if request.method == "PATCH":
            self._check(request, found)
            found.metadata.update(request.json.get("metadata") or {})
        if media and (part := re.fullmatch(r"bytes=(\d+)-(\d+)", request.headers.get("range", ""))):
            return Answer(206, body=found.content[int(part[1]) : int(part[2]) + 1])
        if media:
            return Answer(body=found.content, headers={"X-Goog-Hash": f"crc32c={_crc32c(found.content)}"})
        return Answer(body=self._resource(bucket, name))

    def _check(self, request: Request, found: Object | None) -> None:
        wanted = request.query.get("ifGenerationMatch")
        if wanted is not None and int(wanted) != (found.generation if found else 0):
            raise GoogleError(412, "At least one of the pre-conditions you specified did not hold.")

    def _upload(self, request: Request, bucket: str) -> Answer:
        if request.query["uploadType"] == "multipart":
            boundary = request.headers["content-type"].split("boundary=")[1].strip("\"'").encode()
            _, facts, content, _ = request.body.split(b"--" + boundary)
            about = json.loads(facts.split(b"\r\n\r\n", 1)[1])
            return self._write(request, bucket, about, content.split(b"\r\n\r\n", 1)[1][:-2])
        if request.method == "POST":
            self._check(request, self.objects[bucket].get(request.json["name"]))
            upload = str(len(self._uploads))
            self._uploads[upload] = {"about": request.json, "begun": request, "content": b""}
            where = f"{self.host}/upload/storage/v1/b/{bucket}/o?uploadType=resumable&upload_id={upload}"
            return Answer(headers={"Location": where})
        return self._continue(request, bucket, self._uploads[request.query["upload_id"]])

    def _continue(self, request: Request, bucket: str, upload: dict[str, Any]) -> Answer:
        upload["content"] += request.body
        size = request.headers["content-range"].rpartition("/")[2]
        if size == "*" or int(size) > len(upload["content"]):
            return Answer(308, headers={"Range": f"bytes=0-{len(upload['content']) - 1}"})
        return self._write(upload["begun"], bucket, upload["about"], upload["content"])

    def _write(self, request: Request, bucket: str, about: dict[str, Any], content: bytes) -> Answer:
        name = about["name"]
        self._check(request, self.objects[bucket].get(name))
        self._writes += 1
        self.objects[bucket][name] = Object(content, self._writes, dict(about.get("metadata") or {}))
        return Answer(body=self._resource(bucket, name))

    def _resource(self, bucket: str, name: str) -> dict[str, Any]:
        found = self.objects[bucket][name]
        return {
            "name": name, "bucket": bucket, "size": str(len(found.content)),
            "generation": str(found.generation), "metageneration": "1", "metadata": found.metadata,
            "crc32c": _crc32c(found.content),
        }  # fmt: skip


def _crc32c(content: bytes) -> str:
    return base64.b64encode(google_crc32c.value(content).to_bytes(4, "big")).decode()
