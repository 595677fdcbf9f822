"""The kinds of resources that the in-process engine can make in the emulators, by Pulumi's type."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from taxiway.engines.errors import EngineError
from taxiway.engines.kinds.accounts import Account, Key
from taxiway.engines.kinds.base import Kind
from taxiway.engines.kinds.bigquery import Dataset
from taxiway.engines.kinds.members import AccountMember, BucketMember, DatasetMember, ProjectMember
from taxiway.engines.kinds.services import Service
from taxiway.engines.kinds.storage import Bucket

KINDS: Final[Mapping[str, Kind]] = {
    "gcp:bigquery/dataset:Dataset": Dataset(),
    "gcp:bigquery/datasetIamMember:DatasetIamMember": DatasetMember(),
    "gcp:projects/iAMMember:IAMMember": ProjectMember(),
    "gcp:projects/service:Service": Service(),
    "gcp:serviceaccount/account:Account": Account(),
    "gcp:serviceaccount/iAMMember:IAMMember": AccountMember(),
    "gcp:serviceaccount/key:Key": Key(),
    "gcp:storage/bucket:Bucket": Bucket(),
    "gcp:storage/bucketIAMMember:BucketIAMMember": BucketMember(),
}


def kind(type_: str) -> Kind:
    """Return what the engine knows about a type; raises EngineError where that is nothing."""
    if type_ not in KINDS:
        raise EngineError(f"The in-process engine cannot make {type_}.", "Use --engine cli.")
    return KINDS[type_]
