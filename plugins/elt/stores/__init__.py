"""The stores: the lake's bucket, the warehouse's dataset, Postgres. They take clients; they make none."""
