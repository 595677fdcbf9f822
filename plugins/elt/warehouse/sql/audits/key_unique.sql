-- The key says which row is meant.
SELECT
  COUNT(${key}) = COUNT(DISTINCT ${key}) AS passed,
  FORMAT('%d rows share their ${key_name} with another', COUNT(${key}) - COUNT(DISTINCT ${key})) AS found
FROM ${staging}
