"""What every component of one stack shares: its settings, names and labels."""

from dataclasses import dataclass

import pulumi

from lakehouse.names import Names, labels
from lakehouse.settings import KEYS, NAMESPACE, Settings, SettingsError

# The provider's own settings, from which ours follow where they are not set.
_PROVIDER_KEYS = ("project", "storageCustomEndpoint", "bigQueryCustomEndpoint")


@dataclass(frozen=True)
class Context:
    """One stack's settings and all that follows from them."""

    settings: Settings
    names: Names
    labels: dict[str, str]

    @classmethod
    def of_stack(cls) -> "Context":
        """Return the context of the stack that Pulumi runs now.

        Raises pulumi.RunError where a setting is wrong: Pulumi shows its message without a traceback.
        """
        try:
            settings = Settings.from_config(_configuration())
        except SettingsError as error:
            raise pulumi.RunError(str(error)) from None
        names = Names.of(settings.project, pulumi.get_stack(), settings.bucket)
        return cls(settings, names, labels(names.label, settings.owner))

    @property
    def deletion_policy(self) -> str:
        """The provider's own switch against deletion, for whoever removes Pulumi's `protect`."""
        return "DELETE" if self.settings.ephemeral else "PREVENT"


def _configuration() -> dict[str, str]:
    # pulumi.Config can be asked for known keys alone. Pulumi's engine hands over the rest in the environment,
    # and there a misspelt key is found; an in-process evaluation looks for those before it runs the program.
    found = {key: str(value) for key, value in pulumi.runtime.get_config_env().items()}
    for namespace, keys in ((NAMESPACE, KEYS.values()), ("gcp", _PROVIDER_KEYS)):
        config = pulumi.Config(namespace)
        found |= {f"{namespace}:{key}": str(value) for key in keys if (value := config.get(key)) is not None}
    return found
