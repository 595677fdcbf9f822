INSERT INTO ${mart} (dataset, source_month, pickup_date, payment_type, trips, revenue, tips)
SELECT
  @dataset, @source_month, DATE(${pickup}) AS pickup_date, ${payment} AS payment_type,
  COUNT(*) AS trips, ROUND(SUM(${revenue}), 2) AS revenue, ROUND(SUM(${tips}), 2) AS tips
FROM ${source}
WHERE source_month = @source_month
GROUP BY pickup_date, payment_type
