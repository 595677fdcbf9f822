-- A row, unless the latest one of the same stage already says the same.
INSERT INTO ${load_log} (
  dataset, month, stage, row_count, quarantined_count, byte_count,
  checksum, schema_version, source_etag, source, run_id, started_at, finished_at
)
SELECT
  @dataset, @month, @stage, @rows, @quarantined, @bytes,
  @checksum, @schema_version, @source_etag, @source, @run_id, @started_at, CURRENT_TIMESTAMP()
FROM (SELECT 1)
WHERE NOT EXISTS (
  SELECT 1
  FROM (
    SELECT checksum, schema_version, source
    FROM ${load_log}
    WHERE dataset = @dataset AND IFNULL(month, '') = IFNULL(@month, '') AND stage = @stage
    ORDER BY finished_at DESC
    LIMIT 1
  )
  WHERE checksum = @checksum AND schema_version = @schema_version AND IFNULL(source, '') = IFNULL(@source, '')
)
