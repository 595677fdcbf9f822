"""The benchmark: the platform beside its limits and its peers. `scripts/bench` starts it."""

MONTH = "2024-01"
