"""One file a dataset."""

# As they are listed; all others follow by name.
ORDER = ("yellow", "green", "fhv", "fhvhv", "zones")
