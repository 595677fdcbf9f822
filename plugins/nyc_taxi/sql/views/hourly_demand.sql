SELECT
  mart.dataset, mart.source_month, mart.pickup_hour, mart.pu_location_id,
  zones.borough, zones.zone, mart.trips
FROM ${mart} AS mart
LEFT JOIN ${zones} AS zones ON zones.location_id = mart.pu_location_id
