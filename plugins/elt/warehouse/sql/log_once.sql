-- A row, unless the latest one already says the same.
${log}
FROM (SELECT 1)
WHERE NOT EXISTS (
  SELECT 1
  FROM (
    SELECT checksum, schema_version
    FROM ${load_log}
    WHERE dataset = @dataset AND IFNULL(month, '') = IFNULL(@month, '') AND stage = @stage
    ORDER BY finished_at DESC
    LIMIT 1
  )
  WHERE checksum = @checksum AND schema_version = @schema_version
)
