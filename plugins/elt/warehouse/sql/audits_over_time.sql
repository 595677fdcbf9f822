-- How each judgement of a dataset ended, oldest first: names of the audits by their results.
SELECT
  month, checked_at,
  STRING_AGG(IF(passed, audit, NULL)) AS passed,
  STRING_AGG(IF(NOT passed AND severity = 'warn', audit, NULL)) AS warned,
  STRING_AGG(IF(NOT passed AND severity = 'stop', audit, NULL)) AS stopped
FROM ${audit_results}
WHERE dataset = @dataset
GROUP BY month, checked_at
ORDER BY checked_at
