SELECT
  '${dataset}' AS dataset, source_month, ${pickup}::date AS pickup_date, ${zone}::bigint AS pu_location_id,
  count(*) AS trips, round(sum((${revenue})::numeric), 2)::double precision AS revenue
FROM ${source}
GROUP BY 2, 3, 4
