"""What can go wrong, as one tree. Every message is one or two plain sentences for the user."""

# ruff: noqa: N818 - a name says what happened; that it is an error, its place in the tree does


class TaxiError(Exception):
    """Base of every error this library raises on purpose."""


class UsageError(TaxiError):
    """The request itself is wrong: nothing was tried."""


class UnknownDataset(UsageError):
    """A dataset that is not in the catalogue."""


class BadMonth(UsageError):
    """A month that cannot be read, or that the dataset does not have."""


class BadDataset(UsageError):
    """An entry of the catalogue that contradicts itself."""


class MissingSetting(UsageError):
    """A variable of the environment that is absent or malformed."""


class Refused(TaxiError):
    """Permanent: the data or the state is wrong, and trying again would not help."""


class Missing(Refused):
    """A table or dataset of the warehouse that is not there."""


class AuditFailed(Refused):
    """A staged month broke a rule with severity *stop*; nothing of it was published."""


class Trouble(TaxiError):
    """Transient: a service did not answer as it should, and trying again may help."""


class NotPublished(Trouble):
    """The source does not have this file (yet)."""
