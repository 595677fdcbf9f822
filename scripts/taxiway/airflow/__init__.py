"""Airflow: its REST API, and how a platform is opened."""
