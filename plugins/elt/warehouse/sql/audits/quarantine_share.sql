-- A few rows never fit; more than one in a hundred means that the file or the catalogue is wrong.
SELECT
  @quarantined <= 0.01 * (@rows + @quarantined) AS passed,
  FORMAT('%d of %d rows in quarantine', @quarantined, @rows + @quarantined) AS found
