-- What audits have ever found in a dataset, newest first, also in what was loaded again since.
SELECT month, audit, severity, found, checked_at
FROM ${audit_results}
WHERE dataset = @dataset AND NOT passed
ORDER BY checked_at DESC, audit
LIMIT 50
