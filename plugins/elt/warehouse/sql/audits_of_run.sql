SELECT audit, severity, passed, found
FROM ${audit_results}
WHERE dataset = @dataset AND IFNULL(month, '') = IFNULL(@month, '') AND run_id = @run_id
QUALIFY checked_at = MAX(checked_at) OVER ()
