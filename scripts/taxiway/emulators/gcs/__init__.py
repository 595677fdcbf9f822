"""The storage service: gcp-storage-emulator, with thin corrections where Cloud Storage does otherwise."""

from pathlib import Path

OBJECTS = "objects"


def objects_root(data: Path) -> Path:
    """Return the folder in which an object lies as the plain file `<bucket>/<object>`."""
    return data / OBJECTS
