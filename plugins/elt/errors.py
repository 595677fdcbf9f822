"""What can go wrong, as one tree. Every message is one or two plain sentences for the user."""


class PipelineError(Exception):
    """Base of every error this library raises on purpose."""


class UsageError(PipelineError):
    """The request itself is wrong: nothing was tried."""


class UnknownDatasetError(UsageError):
    """A dataset that is not in the catalogue."""


class InvalidMonthError(UsageError):
    """A month that cannot be read, or that the dataset does not have."""


class InvalidDatasetError(UsageError):
    """An entry of the catalogue that contradicts itself."""


class SettingError(UsageError):
    """A variable of the environment that is absent or malformed."""


class PermanentError(PipelineError):
    """Permanent: the data or the state is wrong, and trying again would not help."""


class TableNotFoundError(PermanentError):
    """A table or dataset of the warehouse that is not there."""


class AuditError(PermanentError):
    """A staged month broke a rule with severity *stop*; nothing of it was published."""


class TransientError(PipelineError):
    """Transient: a service did not answer as it should, and trying again may help."""


class SourceNotPublishedError(TransientError):
    """The source does not have this file (yet)."""
