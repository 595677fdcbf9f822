"""The compose target: the whole platform as containers, by docker-compose.yaml at the root."""
