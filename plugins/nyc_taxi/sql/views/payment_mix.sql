SELECT
  mart.dataset, mart.source_month, mart.pickup_date, mart.payment_type,
  CASE mart.payment_type
    WHEN 0 THEN 'Flex fare'
    WHEN 1 THEN 'Credit card'
    WHEN 2 THEN 'Cash'
    WHEN 3 THEN 'No charge'
    WHEN 4 THEN 'Dispute'
    WHEN 5 THEN 'Unknown'
    WHEN 6 THEN 'Voided trip'
  END AS payment,
  mart.trips,
  1.0 * mart.trips / SUM(mart.trips) OVER (PARTITION BY mart.dataset, mart.source_month, mart.pickup_date)
    AS share,
  mart.revenue, mart.tips
FROM ${mart} AS mart
