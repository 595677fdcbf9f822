-- Every row is of the month it was published for.
SELECT
  COUNTIF(DATE_TRUNC(DATE(${key}), MONTH) != @source_month) = 0 AS passed,
  FORMAT('%d rows of another month', COUNTIF(DATE_TRUNC(DATE(${key}), MONTH) != @source_month)) AS found
FROM ${staging}
