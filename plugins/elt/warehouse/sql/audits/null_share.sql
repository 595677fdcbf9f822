-- A column that is null more often than in the periods before, by five points, may have lost its source.
SELECT
  COUNTIF(staged.share > published.share + 0.05) = 0 AS passed,
  IFNULL(
    STRING_AGG(
      IF(
        staged.share > published.share + 0.05,
        FORMAT('%s %.1f %% null, %.1f %% before', name, 100 * staged.share, 100 * published.share),
        NULL
      ),
      ', ' ORDER BY name
    ),
    'no column is null more often than before'
  ) AS found
FROM (
  SELECT name, share
  FROM (SELECT ${null_shares} FROM ${staging}) UNPIVOT (share FOR name IN (${columns}))
) AS staged
JOIN (
  SELECT name, share
  FROM (
    SELECT ${null_shares}
    FROM ${table}
    WHERE ${period} >= @compared_since AND ${period} < @${period}
  ) UNPIVOT (share FOR name IN (${columns}))
) AS published USING (name)
