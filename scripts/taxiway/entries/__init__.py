"""Entries of the catalogue, written for the user: from a file, from a data contract, and as one."""
