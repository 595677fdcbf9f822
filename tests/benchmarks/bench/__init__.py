"""Measurements of the platform against its limits and its peers, on this machine."""

# All measurements are of this month of yellow taxis.
MONTH = "2024-01"
