"""NYC taxi trips: an entry per dataset, and the SQL of its marts and audits."""
