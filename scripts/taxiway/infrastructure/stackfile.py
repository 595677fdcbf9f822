"""A stack's settings as Pulumi keeps them: `infra/stacks/Pulumi.<stack>.yaml`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from taxiway.environment.home import REPOSITORY, write_atomically

FOLDER = REPOSITORY / "infra" / "stacks"


def path_of(stack: str) -> Path:
    """Return the file of a stack, named with or without its organization and project."""
    return FOLDER / f"Pulumi.{stack.rsplit('/', 1)[-1]}.yaml"


def read(stack: str) -> dict[str, str]:
    """Return a stack's settings, keys with their namespaces; secret ones are left out."""
    config = _content(stack).get("config", {})
    return {key: _text(value) for key, value in config.items() if not _is_secret(value)}


def project(stack: str) -> str:
    """Return the Google Cloud project of a stack; empty if its settings name none."""
    settings = read(stack)
    return settings.get("taxiway:project") or settings.get("gcp:project", "")


def is_on_google_cloud(settings: Mapping[str, str]) -> bool:
    """Tell whether settings are a stack's on Google Cloud: they name a project and no emulator."""
    named = settings.get("taxiway:project") or settings.get("gcp:project")
    return bool(named) and not settings.get("gcp:storageCustomEndpoint", "").startswith("http://")


def has_secrets_provider(stack: str) -> bool:
    """Tell whether the stack's secrets are encrypted by a key service instead of a passphrase."""
    return bool(_content(stack).get("secretsprovider"))


def write(stack: str, settings: Mapping[str, str]) -> None:
    """Set some of a stack's settings; all others, and the stack's encryption, stay."""
    content = _content(stack)
    config = {**content.get("config", {}), **{key: _value(text) for key, text in settings.items()}}
    if config != content.get("config"):
        text = yaml.safe_dump({**content, "config": config}, sort_keys=True)
        write_atomically(path_of(stack), text, mode=0o644)


@contextmanager
def untouched(stack: str) -> Iterator[None]:
    """Put a stack's file back as it was, whatever is done to it meanwhile."""
    path = path_of(stack)
    before = path.read_text() if path.exists() else None
    try:
        yield
    finally:
        if before is None:
            path.unlink(missing_ok=True)
        elif not path.exists() or path.read_text() != before:
            write_atomically(path, before, mode=0o644)


def remove(stack: str) -> None:
    """Delete a stack's file."""
    path_of(stack).unlink(missing_ok=True)


def _content(stack: str) -> dict[str, Any]:
    path = path_of(stack)
    return (yaml.safe_load(path.read_text()) or {}) if path.exists() else {}


def _is_secret(value: Any) -> bool:
    return isinstance(value, dict) and set(value) == {"secure"}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _value(text: str) -> Any:
    """Objects are written as such: Pulumi's provider does not take them as text from a file."""
    return json.loads(text) if text.startswith("{") else text
