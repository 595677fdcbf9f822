"""The stages of a partition's way: each is idempotent and may be killed at any moment."""
