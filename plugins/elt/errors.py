"""What can go wrong, as one tree.

PipelineError
├── UsageError                the request is wrong: nothing was tried, and nobody retries it
│   ├── UnknownDatasetError
│   ├── InvalidPeriodError
│   ├── InvalidDatasetError
│   └── SettingError
├── PermanentError            the data or the state is wrong: fails at once
│   ├── TableNotFoundError
│   └── AuditError
├── TransientError            a service did not answer as it should: retried
│   ├── SourceNotPublishedError
│   └── AccessDeniedError     retried for minutes: a grant takes that long
└── JobRunningError           no failure: a job is still running, come back when it has ended

A message is one to three plain sentences for the user.
"""


class PipelineError(Exception):
    """Base of every error this library raises on purpose."""


class UsageError(PipelineError):
    """The request itself is wrong: nothing was tried."""


class UnknownDatasetError(UsageError):
    """A dataset that is not in the catalogue."""


class InvalidPeriodError(UsageError):
    """A period that cannot be read, or that the dataset does not have."""


class InvalidDatasetError(UsageError):
    """An entry of the catalogue that contradicts itself."""


class SettingError(UsageError):
    """A variable of the environment, or a connection, that is absent or malformed."""


class PermanentError(PipelineError):
    """The data or the state is wrong: trying again would not help."""


class NoCredentialsError(PermanentError):
    """Nothing here gives credentials for Google."""


class TableNotFoundError(PermanentError):
    """A table or dataset of the warehouse that is not there."""


class AuditError(PermanentError):
    """A staged partition broke a rule with severity *stop*; nothing of it was published."""


class TransientError(PipelineError):
    """A service did not answer as it should: trying again may help."""


class SourceNotPublishedError(TransientError):
    """The source does not have this file (yet)."""


class AccessDeniedError(TransientError):
    """Google does not allow it, or not yet: grants and newly enabled APIs take minutes to be effective."""


class JobRunningError(PipelineError):
    """A BigQuery job has outlasted the patience of whoever waited; it goes on running.

    Wait until job `job_id` of `project` in `location` has ended, then run the same stage again with
    `awaited=job_id`: it finds the job by its id and goes on, or reports why the job failed.
    """

    def __init__(self, job_id: str, project: str, location: str) -> None:
        # All arguments go to the base class: an exception is pickled by them.
        super().__init__(job_id, project, location)
        self.job_id, self.project, self.location = job_id, project, location

    def __str__(self) -> str:
        return f"BigQuery job {self.job_id} is still running in {self.project} ({self.location})."


def first_line(error: BaseException, limit: int = 300) -> str:
    """What a foreign error says, as one line for a message of ours; its type where it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:limit]
