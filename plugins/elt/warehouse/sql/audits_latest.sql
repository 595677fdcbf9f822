-- What the latest judgement of each partition did not let pass.
SELECT dataset, month, audit, severity, found
FROM (
  SELECT dataset, month, audit, severity, passed, found
  FROM ${audit_results}
  WHERE ${partitions}
  QUALIFY checked_at = MAX(checked_at) OVER (PARTITION BY dataset, month)
)
WHERE NOT passed
ORDER BY severity, audit
