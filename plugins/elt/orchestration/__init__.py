"""All that Airflow sees. No other folder of the library imports Airflow."""
