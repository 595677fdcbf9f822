"""Measurements of the platform against its limits and its peers, on this machine."""
