-- Judge a staged partition, and keep what was found whether it is published or not.
INSERT INTO ${audit_results} (dataset, month, run_id, audit, severity, passed, found, checked_at)
SELECT @dataset, @month, @run_id, audit, severity, passed, found, CURRENT_TIMESTAMP()
FROM (
${audits}
)
