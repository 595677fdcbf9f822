"""The verbs: each parses its command line and calls what does the work."""
