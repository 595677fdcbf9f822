-- Refunds are negative and meters err, but not often: more than one trip in twenty is worth a look.
SELECT
  COUNTIF(${total} < 0 OR ${total} > 5000) <= 0.05 * COUNT(*) AS passed,
  FORMAT('%d of %d trips charged below 0 or above 5,000 USD',
    COUNTIF(${total} < 0 OR ${total} > 5000), COUNT(*)) AS found
FROM ${staging}
