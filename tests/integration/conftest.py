"""The emulated cloud for integration tests, and a source that misbehaves as it is told."""

from collections.abc import Iterator

import emulators as cloud
import faulty_source as faulty
import pytest


@pytest.fixture(scope="session")
def emulators(tmp_path_factory: pytest.TempPathFactory) -> Iterator[cloud.Emulators]:
    """Storage, warehouse, control plane and sample source, for the whole session."""
    with cloud.running(tmp_path_factory.mktemp("emulators")) as running:
        yield running


@pytest.fixture
def faulty_source() -> Iterator[faulty.FaultySource]:
    """A source that misbehaves as the test tells it, path by path."""
    with faulty.running() as source:
        yield source
