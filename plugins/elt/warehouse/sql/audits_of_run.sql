-- The latest judgement of each partition by a run.
SELECT month, audit, severity, passed, found
FROM ${audit_results}
WHERE (${partitions}) AND run_id = @run_id
QUALIFY checked_at = MAX(checked_at) OVER (PARTITION BY month)
