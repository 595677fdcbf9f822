"""One file a dataset. What is common to several is beside this folder: tlc.py, audits.py, marts.py, sql/."""

# As they are listed in Airflow's pages, the docs and scripts/status; a file that is not here follows by name.
ORDER = ("yellow", "green", "fhv", "fhvhv", "zones")
