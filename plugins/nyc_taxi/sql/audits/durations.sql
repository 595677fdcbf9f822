-- A trip ends after it began, within a day: more than one in twenty that does not is worth a look.
SELECT
  COUNTIF(${dropoff} < ${pickup} OR ${dropoff} > DATETIME_ADD(${pickup}, INTERVAL 1 DAY))
    <= 0.05 * COUNT(*) AS passed,
  FORMAT('%d of %d trips end before they begin, or after more than a day',
    COUNTIF(${dropoff} < ${pickup} OR ${dropoff} > DATETIME_ADD(${pickup}, INTERVAL 1 DAY)), COUNT(*)) AS found
FROM ${staging}
