-- Every row is of the period it was published for.
SELECT
  COUNTIF(NOT inside) = 0 AS passed,
  FORMAT('%d rows of another period', COUNTIF(NOT inside)) AS found
FROM (
  SELECT DATETIME(${key}) >= @period_start AND DATETIME(${key}) < @period_end AS inside
  FROM ${staging}
)
