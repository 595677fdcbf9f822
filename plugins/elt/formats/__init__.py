"""File formats: raw files as Arrow batches, and Parquet as it is written."""
