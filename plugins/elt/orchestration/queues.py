"""Celery queues: which workers may take a task. With LocalExecutor they mean nothing.

A pool says how much may happen at once in all workers together; the queue that follows from it says where.
So a machine with much network can serve `download` alone, one with much memory `load`.
"""

from collections.abc import Mapping
from types import MappingProxyType

from elt.orchestration.pools import DOWNLOAD, SOURCE

DEFAULT = "default"
LOAD = "load"
# Tasks without a pool wait, ask or let a service work: any worker bears them.
QUEUES: Mapping[str, str] = MappingProxyType({"default_pool": DEFAULT, SOURCE: DEFAULT, DOWNLOAD: "download"})


def queue_of(pool: str) -> str:
    """The queue of the tasks that take from a pool."""
    return QUEUES.get(pool, LOAD)
