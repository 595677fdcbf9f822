-- What the latest judgement of each partition says.
SELECT
  dataset, month, COUNT(*) AS audits,
  COUNTIF(NOT passed AND severity = 'warn') AS warnings,
  COUNTIF(NOT passed AND severity = 'stop') AS failures
FROM (
  SELECT dataset, month, severity, passed
  FROM ${audit_results}
  WHERE ${partitions}
  QUALIFY checked_at = MAX(checked_at) OVER (PARTITION BY dataset, month)
)
GROUP BY dataset, month
