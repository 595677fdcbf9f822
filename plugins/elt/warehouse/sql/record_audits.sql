-- Judge what is staged, and keep what was found whether it is published or not.
INSERT INTO ${audit_results} (dataset, month, run_id, audit, severity, passed, found, checked_at)
${judgements}
