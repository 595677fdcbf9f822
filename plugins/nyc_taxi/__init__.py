"""Trips of New York's taxis, as TLC publishes them: an entry for each dataset, and their marts and audits.

Everything here is for changing. What an entry may say: docs/your-own-dataset.md.
"""
