"""Loading partitions through Airflow."""
