-- The latest row of each stage: the state of the partitions asked for.
SELECT
  dataset, month, stage, row_count, quarantined_count, byte_count,
  checksum, schema_version, source_etag, source, run_id, started_at, finished_at
FROM ${load_log}
WHERE ${partitions}
QUALIFY ROW_NUMBER() OVER (PARTITION BY dataset, month, stage ORDER BY finished_at DESC) = 1
