"""Partitions of several files in raw/: the manifest that makes them one."""

import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from elt.layout import raw_folder, raw_object
from elt.stage_request import StageRequest
from elt.stores.gcs import Content, Lake, Stored


@dataclass(frozen=True)
class Shard:
    """One file of a partition: its published name, its object, bytes, and the SHA-256 of these."""

    name: str
    object: str
    size: int
    checksum: str


def manifest(request: StageRequest, lake: Lake, shards: Sequence[Shard], facts: dict[str, str]) -> Stored:
    """Write the object that says which files a partition is. It has a checksum over all of them."""
    lines = "".join(f"{shard.name}\t{shard.checksum}\n" for shard in shards)
    about = {
        **request.names,
        **facts,
        "source_last_modified": "",
        "bytes": str(sum(shard.size for shard in shards)),
        "checksum": hashlib.sha256(lines.encode()).hexdigest(),
    }
    text = json.dumps([asdict(shard) for shard in shards], indent=1).encode()
    content = Content(io.BytesIO(text), len(text), "application/json", about)
    return lake.write(raw_object(request.dataset, request.period), content)


def in_lake(request: StageRequest, lake: Lake, stored: Stored) -> list[tuple[str, Stored]] | None:
    """The files of a manifest, by name; None unless all of them are there as it says."""
    with lake.fetch(stored) as file:
        shards = [Shard(**found) for found in json.load(file)]
    there = {each.name: each for each in lake.list(raw_folder(request.dataset, request.period))}
    found = [(shard, there.get(shard.object)) for shard in shards]
    same = [
        (shard.name, each)
        for shard, each in found
        if each is not None and each.metadata.get("checksum") == shard.checksum
    ]
    return same if len(same) == len(shards) else None
