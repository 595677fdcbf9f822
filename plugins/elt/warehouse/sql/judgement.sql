SELECT @dataset, @month, @run_id, audit, severity, passed, found, CURRENT_TIMESTAMP()
FROM (
${audits}
)
