-- The total is the sum of its parts, to the cent; some vendors book the congestion surcharge twice, or leave it out.
-- More than one trip in ten that does not add up is worth a look.
SELECT
  -- NOT near, for far: near NaN is nothing, while what is far from it depends on the engine.
  COUNTIF(NOT LEAST(ABS(rest), ABS(rest + surcharge), ABS(rest - 2.5)) <= 0.05) <= 0.1 * COUNT(*) AS passed,
  FORMAT('%d of %d totals are not the sum of their parts',
    COUNTIF(NOT LEAST(ABS(rest), ABS(rest + surcharge), ABS(rest - 2.5)) <= 0.05), COUNT(*)) AS found
FROM (SELECT ${total} - ${parts} AS rest, COALESCE(${surcharge}, 0) AS surcharge FROM ${staging})
