-- A row; as part of a transaction it appears with what it is about.
INSERT INTO ${load_log} (
  dataset, month, stage, row_count, quarantined_count, byte_count,
  checksum, schema_version, source_etag, source, run_id, started_at, finished_at
)
SELECT
  @dataset, @month, @stage, ${rows}, @quarantined, @bytes,
  @checksum, @schema_version, @source_etag, @source, @run_id, @started_at, CURRENT_TIMESTAMP()
