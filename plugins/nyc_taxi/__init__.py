"""NYC taxi data: from the publisher's site through the lake to the warehouse and Postgres.

Nothing here imports Airflow, and `catalogue`, `errors`, `layout`, `months` and `settings` import
nothing outside the standard library: DAG files read them at parse.
"""
