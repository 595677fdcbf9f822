INSERT INTO ${mart} (dataset, source_month, pickup_date, pu_location_id, trips, revenue)
SELECT
  @dataset, @source_month, DATE(${pickup}) AS pickup_date, ${zone} AS pu_location_id,
  COUNT(*) AS trips, ROUND(SUM(${revenue}), 2) AS revenue
FROM ${source}
WHERE source_month = @source_month
GROUP BY pickup_date, pu_location_id
