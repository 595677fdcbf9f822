-- What scripts/schema adds to a table; NULL in the rows that are there.
ALTER TABLE ${table} ADD COLUMN IF NOT EXISTS `${column}` ${type}
  OPTIONS (description = ${description})
