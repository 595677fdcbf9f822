"""What the warehouse holds beside trips: tables, load log, audits, marts; their SQL is in sql/."""
