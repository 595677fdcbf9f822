"""A stack's settings as Pulumi keeps them: `infra/stacks/Pulumi.<stack>.yaml`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lakehouse.settings import emulator_of, project_of
from taxiway.environment.home import REPOSITORY, write_atomically

FOLDER = REPOSITORY / "infra" / "stacks"


@dataclass(frozen=True)
class StackFiles:
    """The stacks' files of one folder; by default Pulumi's own, infra/stacks."""

    folder: Path | None = None

    def path_of(self, stack: str) -> Path:
        """Return the file of a stack, named with or without its organization and project."""
        return (self.folder or FOLDER) / f"Pulumi.{stack.rsplit('/', 1)[-1]}.yaml"

    def read(self, stack: str) -> dict[str, str]:
        """Return a stack's settings, keys with their namespaces; secret ones are left out."""
        config = self._content(stack).get("config", {})
        texts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in config.items()}
        return {key: text for key, text in texts.items() if not text.startswith('{"secure":')}

    def has_secrets_provider(self, stack: str) -> bool:
        """Tell whether the stack's secrets are encrypted by a key service instead of a passphrase."""
        return bool(self._content(stack).get("secretsprovider"))

    def write(self, stack: str, settings: Mapping[str, str], without: str = "") -> None:
        """Set some of a stack's settings and remove `without`; all others, and the encryption, stay."""
        import yaml

        content = self._content(stack)
        # Objects are written as such: Pulumi's provider does not take them as text from a file.
        values = {key: json.loads(text) if text.startswith("{") else text for key, text in settings.items()}
        kept = {key: value for key, value in content.get("config", {}).items() if key != without}
        config = {**kept, **values}
        if config != content.get("config"):
            text = yaml.safe_dump({**content, "config": config}, sort_keys=True)
            write_atomically(self.path_of(stack), text, mode=0o644)

    @contextmanager
    def untouched(self, stack: str) -> Iterator[None]:
        """Put a stack's file back as it was, whatever is done to it meanwhile."""
        path = self.path_of(stack)
        before = path.read_text() if path.exists() else None
        try:
            yield
        finally:
            if before is None:
                path.unlink(missing_ok=True)
            elif not path.exists() or path.read_text() != before:
                write_atomically(path, before, mode=0o644)

    def remove(self, stack: str) -> None:
        """Delete a stack's file."""
        self.path_of(stack).unlink(missing_ok=True)

    def _content(self, stack: str) -> dict[str, Any]:
        path = self.path_of(stack)
        if not path.exists():
            return {}
        # Most environments have no such file, and the import costs every command some time.
        import yaml

        return yaml.safe_load(path.read_text()) or {}


def is_on_google_cloud(settings: Mapping[str, str]) -> bool:
    """Tell whether settings are a stack's on Google Cloud: they name a project and no emulator."""
    return bool(project_of(settings)) and not emulator_of(settings, "gcp:storageCustomEndpoint")
