-- All of the typed file arrived: no more, no less.
SELECT
  COUNT(*) = @rows AS passed,
  FORMAT('%d rows staged, %d in the lake', COUNT(*), @rows) AS found
FROM ${staging}
