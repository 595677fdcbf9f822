-- Money is added up in decimals, so that half a cent is rounded alike by every engine, in any order of the rows.
-- What is no decimal (NaN, infinity) makes the sum what it is.
INSERT INTO ${mart} (dataset, source_month, pickup_date, pu_location_id, trips, revenue)
SELECT
  @dataset, @source_month, DATE(${pickup}) AS pickup_date, ${zone} AS pu_location_id,
  COUNT(*) AS trips,
  IF(
    COUNTIF(${revenue} IS NOT NULL AND SAFE_CAST(${revenue} AS NUMERIC) IS NULL) > 0, SUM(${revenue}),
    CAST(ROUND(SUM(SAFE_CAST(${revenue} AS NUMERIC)), 2) AS FLOAT64)
  ) AS revenue
FROM ${source}
WHERE source_month = @source_month
GROUP BY pickup_date, pu_location_id
