"""The compose target: the whole platform as containers, by docker-compose.yaml at the root.

Commands use `target`. `prepare`, `loader` and `api_accepts` run in the image of Airflow, which holds neither
Pulumi nor infra/; `infrastructure` runs in that of the emulators, which holds neither Airflow nor plugins/.
"""

TROUBLE = "trouble"
"""What `infrastructure` writes for `loader` to print: Compose goes on without a service that is optional."""
