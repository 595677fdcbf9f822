-- Any number of rows; as part of a transaction they appear with what they are about. As one JSON list, because
-- BigQuery limits a statement's parameters and its text.
INSERT INTO ${load_log} (
  dataset, month, stage, row_count, quarantined_count, byte_count,
  checksum, schema_version, source_etag, source, run_id, started_at, finished_at
)
SELECT
  JSON_VALUE(entry, '$$.dataset'), JSON_VALUE(entry, '$$.month'), JSON_VALUE(entry, '$$.stage'), ${rows},
  CAST(JSON_VALUE(entry, '$$.quarantined') AS INT64), CAST(JSON_VALUE(entry, '$$.bytes') AS INT64),
  JSON_VALUE(entry, '$$.checksum'), JSON_VALUE(entry, '$$.schema_version'), JSON_VALUE(entry, '$$.source_etag'),
  JSON_VALUE(entry, '$$.source'), JSON_VALUE(entry, '$$.run_id'),
  CAST(JSON_VALUE(entry, '$$.started_at') AS TIMESTAMP), CURRENT_TIMESTAMP()
FROM UNNEST(JSON_QUERY_ARRAY(@entries)) AS entry
${counts}
