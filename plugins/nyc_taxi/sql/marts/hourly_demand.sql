INSERT INTO ${mart} (dataset, source_month, pickup_hour, pu_location_id, trips)
SELECT
  @dataset, @source_month, DATETIME_TRUNC(${pickup}, HOUR) AS pickup_hour, ${zone} AS pu_location_id,
  COUNT(*) AS trips
FROM ${source}
WHERE source_month = @source_month
GROUP BY pickup_hour, pu_location_id
