"""A project of somebody's own: a copy of this checkout without its example, into which updates are merged."""
