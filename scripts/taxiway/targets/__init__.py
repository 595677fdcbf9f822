"""Where a platform runs, and which stack is meant."""
