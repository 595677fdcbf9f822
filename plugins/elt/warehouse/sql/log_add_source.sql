-- For a load log that an older version has created.
ALTER TABLE ${load_log} ADD COLUMN IF NOT EXISTS source STRING
  OPTIONS (description = 'Base URL the published file came from, without user and password.')
