"""Questions to the warehouse, Postgres and the lake's files, and their answers in any form."""
