-- Refunds are negative and meters err, but not often: more than one trip in twenty is worth a look.
SELECT
  COUNTIF(IS_NAN(${total}) OR ${total} < 0 OR ${total} > 5000) <= 0.05 * COUNT(*) AS passed,
  FORMAT('%d of %d trips charged below 0, above 5,000 USD or no number',
    COUNTIF(IS_NAN(${total}) OR ${total} < 0 OR ${total} > 5000), COUNT(*)) AS found
FROM ${staging}
