-- No row lacks its key.
SELECT
  COUNTIF(${key} IS NULL) = 0 AS passed,
  FORMAT('%d rows without ${key_name}', COUNTIF(${key} IS NULL)) AS found
FROM ${staging}
