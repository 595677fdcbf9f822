SELECT
  '${dataset}' AS dataset, source_month, ${pickup}::date AS pickup_date, ${payment}::bigint AS payment_type,
  count(*) AS trips, round(sum((${revenue})::numeric), 2)::double precision AS revenue,
  round(sum((${tips})::numeric), 2)::double precision AS tips
FROM ${source}
GROUP BY 2, 3, 4
