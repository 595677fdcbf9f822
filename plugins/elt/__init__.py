"""The library: datasets from their source through the lake to the warehouse and Postgres.

It knows no dataset by name: entries are found in the packages beside it.
Only `elt.orchestration` imports Airflow. DAG files read `catalogue`, `errors`, `layout`, `periods`
and `settings` at parse, so these import nothing outside the standard library.
"""
