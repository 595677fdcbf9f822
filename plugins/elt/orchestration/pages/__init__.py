"""Pages in Airflow's UI: what is loaded, dataset by dataset. `plugins/taxiway_pages.py` is the plugin.

`app` has the routes, `coverage` and `describing` what they answer with, `airflow` what they ask Airflow;
`static/` has what the browser gets. Nothing here starts a run: the browser asks Airflow's own API to, as the
user who is signed in.
"""
