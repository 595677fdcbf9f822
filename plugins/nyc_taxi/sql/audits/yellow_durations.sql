-- A trip ends after it began: more than one in twenty that does not is worth a look.
SELECT
  COUNTIF(tpep_dropoff_datetime < tpep_pickup_datetime) <= 0.05 * COUNT(*) AS passed,
  FORMAT('%d of %d trips end before they begin',
    COUNTIF(tpep_dropoff_datetime < tpep_pickup_datetime), COUNT(*)) AS found
FROM ${staging}
