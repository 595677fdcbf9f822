"""The warehouse service: bqemulator, with thin corrections where BigQuery does otherwise."""
