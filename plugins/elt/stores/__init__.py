"""Where rows are kept: the lake, the warehouse, Postgres. Each store is handed the client it works over."""

from google.auth.exceptions import DefaultCredentialsError, RefreshError

from elt.catalogue import Column

# What every table of rows by months begins with, whatever the store.
MONTH_COLUMN = Column("source_month", "date", "First day of the month whose file the row came in.")


def are_refused(error: Exception) -> bool:
    """Whether an error says that Google does not accept the credentials, and will not in a minute either."""
    return isinstance(error, RefreshError | DefaultCredentialsError) and not error.retryable
