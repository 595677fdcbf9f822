"""The library's store, made to survive kill -9 at any moment."""

import json
import logging
import os
import secrets
import shutil
from pathlib import Path
from typing import Any

from gcp_storage_emulator.exceptions import NotFound
from gcp_storage_emulator.storage import RESUMABLE_DIR, Storage, _FileStore

from taxiway.emulators.gcs import objects_root
from taxiway.emulators.serving import write_atomically

STAGED = "_staged"
logger = logging.getLogger("gcs")


class Files(_FileStore):  # type: ignore[misc]
    """Gap: the library overwrites files in place, so a kill leaves half an object."""

    def path(self, name: str) -> Path:
        """Return where `name` lies on disk."""
        return Path(self._disk_path(name))

    def write_bytes(self, rel: str, content: bytes) -> None:
        """Write all of `content` or nothing."""
        write_atomically(self.path(rel), content)


class Store(Storage):  # type: ignore[misc]
    """One write of `.meta` is the commit: new content moves in, and old content goes, only after it.

    Gap: the library changes content first and metadata afterwards, neither atomically. Here a change that
    was cut short is redone (`moves`) when the store is opened again.
    """

    def __init__(self, data: Path) -> None:  # not the library's, which creates a folder of another name
        self._moves: dict[str, str] = {}
        self._doomed: list[str] = []
        self._data_dir, self._use_memory_fs = str(data), False
        self._store = Files(use_memory=False, root=objects_root(data))
        self._read_config_from_file()

    def reload(self) -> None:
        """Forget a change that failed before its commit, on a full disk for instance."""
        self._moves, self._doomed = {}, []
        self._read_config_from_file()

    def _read_config_from_file(self) -> None:
        super()._read_config_from_file()
        if self._store.exists_file(".meta"):
            self._moves = json.loads(self._store.read_bytes(".meta")).get("moves", {})
        self._move_staged()
        shutil.rmtree(self._store.path(STAGED), ignore_errors=True)

    def _write_config_to_file(self) -> None:
        state = {
            "buckets": self.buckets,
            "objects": self.objects,
            "resumable": self.resumable,
            "bucket_iam_policies": self.bucket_iam_policies,
            "soft_deleted": self.soft_deleted,
            "moves": self._moves,
        }
        self._store.write_bytes(".meta", json.dumps(state).encode())
        self._move_staged()
        self._remove_doomed()

    def _move_staged(self) -> None:
        for staged, name in self._moves.items():
            if self._store.exists_file(staged):
                self._store.path(name).parent.mkdir(parents=True, exist_ok=True)
                self._store.path(staged).replace(self._store.path(name))
        self._moves = {}

    def _remove_doomed(self) -> None:
        doomed, self._doomed = self._doomed, []
        for name in doomed:
            self._store.path(name).unlink(missing_ok=True)
            self._prune_folders(name)

    def _prune_folders(self, name: str) -> None:
        """Remove folders an object leaves empty: else object `a` could never follow object `a/b`."""
        for folder in list(Path(name).parents)[:-2]:
            try:
                self._store.path(str(folder)).rmdir()
            except OSError:
                return

    def _delete_file(self, bucket_name: str, file_name: str) -> None:
        self._doomed.append(self._object_path(bucket_name, file_name))

    def create_file(
        self,
        bucket_name: str,
        file_name: str,
        content: bytes,
        file_obj: dict[str, Any],
        file_id: str | None = None,
    ) -> None:
        """Store a whole object; `file_id` names the resumable session that ends with it.

        Raises NotFound where the bucket does not exist.
        """
        if bucket_name not in self.buckets:
            raise NotFound
        staged, name = f"{STAGED}/{secrets.token_hex(8)}", self._object_path(bucket_name, file_name)
        self._store.write_bytes(staged, content)
        self._store.path(name).parent.mkdir(parents=True, exist_ok=True)
        self._moves[staged] = name
        self.objects.setdefault(bucket_name, {})[file_name] = file_obj
        if file_id:
            self.delete_resumable_file_obj(file_id)
            self._delete_file(RESUMABLE_DIR, self.safe_id(file_id))
        self._write_config_to_file()

    def get_resumable_byte_count(self, file_id: str) -> int:
        """Return how many bytes of a session have arrived."""
        path = self._session_path(file_id)
        return path.stat().st_size if path.exists() else 0

    def add_to_resumable_upload(
        self, file_id: str, content: bytes, total_size: int | None = None, expected_start: int | None = None
    ) -> bytes | None:
        """Append a chunk; return the whole content once `total_size` bytes are there, else None.

        Gap: the library reads and rewrites all earlier chunks for each new one, and refuses a chunk that is
        sent again because its answer was lost.
        """
        received = self.get_resumable_byte_count(file_id)
        path, start = self._session_path(file_id), received if expected_start is None else expected_start
        if start > received:
            return None
        path.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o644), "r+b") as file:
            file.truncate(start)
            file.seek(start)
            file.write(content or b"")
        size = start + len(content or b"")
        return path.read_bytes()[:total_size] if total_size is not None and size >= total_size else None

    def _session_path(self, file_id: str) -> Path:
        return self._store.path(self._object_path(RESUMABLE_DIR, self.safe_id(file_id)))

    def delete_bucket(self, bucket_name: str) -> None:
        """Delete an empty bucket. Raises NotFound, or Conflict where objects are left in it.

        Gap: the library refuses while an upload session is open, which an interrupted download leaves behind.
        """
        for file_id, file_obj in list(self.resumable.items()):
            if file_obj.get("bucket") == bucket_name and not self.objects.get(bucket_name):
                del self.resumable[file_id]
                self._delete_file(RESUMABLE_DIR, self.safe_id(file_id))
        super().delete_bucket(bucket_name)

    def open_file(self, bucket_name: str, file_name: str) -> tuple[Any, dict[str, Any]]:
        """Return an open binary file and the object's metadata, consistent with each other.

        Raises NotFound where there is no such object.
        """
        file_obj = self.get_file_obj(bucket_name, file_name)
        try:
            return self._store.path(self._object_path(bucket_name, file_name)).open("rb"), file_obj
        except FileNotFoundError as error:
            raise NotFound from error
