"""What every component of one stack shares: its settings, names and labels."""

from dataclasses import dataclass

import pulumi
from pulumi.runtime.config import CONFIG, get_config_env

from lakehouse.names import Names, labels
from lakehouse.settings import Settings, SettingsError


@dataclass(frozen=True)
class Context:
    """One stack's settings and all that follows from them."""

    settings: Settings
    names: Names
    labels: dict[str, str]

    @classmethod
    def of(cls, settings: Settings, stack: str) -> "Context":
        """Return the context of a stack."""
        names = Names.of(settings.project, stack)
        return cls(settings, names, labels(names.label, settings.owner))

    @classmethod
    def of_stack(cls) -> "Context":
        """Return the context of the stack that Pulumi runs now.

        Raises pulumi.RunError where a setting is wrong: Pulumi shows its message without a traceback.
        """
        # The whole configuration, not single keys: a misspelt `ephemeral` must not pass unseen.
        config = {key: str(value) for key, value in {**get_config_env(), **CONFIG.get()}.items()}
        try:
            return cls.of(Settings.from_config(config), pulumi.get_stack())
        except SettingsError as error:
            raise pulumi.RunError(str(error)) from None

    def protection(self, parent: pulumi.Resource) -> pulumi.ResourceOptions:
        """Return the options of a child that holds data."""
        return pulumi.ResourceOptions(parent=parent, protect=not self.settings.ephemeral)

    @property
    def deletion_policy(self) -> str:
        """The provider's own switch against deletion, for whoever removes Pulumi's `protect`."""
        return "DELETE" if self.settings.ephemeral else "PREVENT"
