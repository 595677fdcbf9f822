"""From a file's rows to the catalogue's one schema, or to quarantine."""
