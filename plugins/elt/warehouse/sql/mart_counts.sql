LEFT JOIN (
  SELECT ${period} AS start, COUNT(*) AS row_count
  FROM (
${built}
  )
  GROUP BY start
) AS counted ON counted.start = CAST(JSON_VALUE(entry, '$$.start') AS ${kind})
