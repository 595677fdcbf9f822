"""Names and labels, a pure function of (project, stack), valid wherever Google Cloud takes them.

A stack whose name is plain keeps it readable: bucket `acme-taxiway-alice`, dataset `taxiway_alice`.
A name that had to be changed or cut ends in a hash of the original, so that two never meet.
"""

import hashlib
import re
from dataclasses import dataclass
from typing import Final

# The Pulumi project: `name` in Pulumi.yaml, which scripts/init gives to both, and a test holds equal.
PROJECT: Final = "taxiway"
_HASH = 10
_PLAIN = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
# Buckets refuse Google's own name and its misspellings.
_GOOGLE = re.compile(r"g[o0]{2}g")
# What could be read as another stack's name: our separator, or the hash of a name that was changed.
_AMBIGUOUS = re.compile(rf"(^|-)({PROJECT}(-|$)|[0-9a-f]{{{_HASH}}}$)")


@dataclass(frozen=True)
class Names:
    """Physical names of one stack's resources."""

    bucket: str
    dags_bucket: str
    dataset: str
    account: str
    reader: str
    label: str

    @classmethod
    def of(cls, project: str, stack: str, bucket: str = "", pulumi: str = PROJECT) -> "Names":
        """Return the names for a stack; its project and name are any texts but empty ones.

        `bucket` is a name of the owner's choice, for one that somebody else in the world has taken; `pulumi`
        the Pulumi project, by default this one.
        """
        hashed = hashlib.sha256(f"{project}\0{stack}".encode()).hexdigest()
        digest = hashed[:_HASH]
        return cls(
            bucket=bucket or _bucket(project, stack, digest, pulumi),
            dags_bucket=_fit(f"{pulumi}-dags-", stack, f"-{digest}", digest, 63),
            dataset=_fit(f"{pulumi}-", stack, "", digest, 1024).replace("-", "_"),
            account=_fit(f"{pulumi}-", stack, "", digest, 30),
            # No stack's own has two dashes; where it has to be cut there is room for another hash alone.
            reader=_fit(f"{pulumi}-", stack, "--reader", hashed[_HASH : 2 * _HASH], 30),
            # Stacks of Taxiway's own have labels without it, and keep them.
            label=_fit("" if pulumi == "taxiway" else f"{pulumi}-", stack, "", digest, 63),
        )

    def part(self, what: str) -> str:
        """Return the name of one of several things of a kind; the name of an only one has no two dashes."""
        return f"{self.account}--{what}"


def labels(stack_label: str, owner: str) -> dict[str, str]:
    """Return the labels of everything that takes labels; without an owner the stack's name stands in."""
    return {
        "managed-by": "pulumi",
        "taxiway-owner": label_value(owner) or stack_label,
        "taxiway-stack": stack_label,
    }


def label_value(text: str) -> str:
    """Return the text as a label's value: at most 63 of [a-z0-9_-], an address without its domain."""
    return re.sub(r"[^a-z0-9_-]+", "-", text.split(":")[-1].split("@")[0].lower()).strip("-")[:63].rstrip("-")


def region(location: str) -> str:
    """Return the region of what has no multi-regions, Composer and the runner: `us-central1` for `US`."""
    return {"US": "us-central1", "EU": "europe-west1"}.get(location.upper(), location.lower())


def zone(location: str) -> str:
    """Return the runner's zone: every region has a `b`, not every one an `a`."""
    return f"{region(location)}-b"


def image(project: str, location: str, account: str) -> str:
    """Return where the runner's image is in Artifact Registry; its tag says which one runs."""
    return f"{region(location)}-docker.pkg.dev/{project.replace(':', '/')}/{account}/taxiway:current"


def _bucket(project: str, stack: str, digest: str, pulumi: str) -> str:
    """Return a name that is unique in the world, as the project's id is."""
    if _PLAIN.fullmatch(project) and not _GOOGLE.search(project) and f"-{pulumi}-" not in f"{project}-":
        return _fit(f"{project}-{pulumi}-", stack, "", digest, 63)
    return _fit(f"{pulumi}-", stack, f"-{digest}", digest, 63)


def _fit(prefix: str, text: str, suffix: str, digest: str, limit: int) -> str:
    """Return prefix + text + suffix where that is valid and fits, else the text cut and with the hash."""
    whole = prefix + text + suffix
    plain = _PLAIN.fullmatch(text) and not _GOOGLE.search(text) and not _AMBIGUOUS.search(text)
    if plain and len(whole) <= limit:
        return whole
    room = limit - len(prefix) - _HASH - 1
    slug = _GOOGLE.sub("x", re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-"))
    return f"{prefix}{slug[:room]}-{digest}".replace("--", "-").lstrip("-")
