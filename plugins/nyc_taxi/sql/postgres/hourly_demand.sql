SELECT
  '${dataset}' AS dataset, source_month, date_trunc('hour', ${pickup}) AS pickup_hour,
  ${zone}::bigint AS pu_location_id, count(*) AS trips
FROM ${source}
GROUP BY 2, 3, 4
