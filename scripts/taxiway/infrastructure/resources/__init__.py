"""The kinds of resources that the in-process engine can make in the emulators, by Pulumi's type."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from taxiway.infrastructure.errors import EngineError
from taxiway.infrastructure.resources.accounts import Account, Key
from taxiway.infrastructure.resources.base import Kind
from taxiway.infrastructure.resources.bigquery import Dataset
from taxiway.infrastructure.resources.members import AccountMember, BucketMember, DatasetMember, ProjectMember
from taxiway.infrastructure.resources.services import Service
from taxiway.infrastructure.resources.storage import Bucket

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
