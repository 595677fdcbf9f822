select
    source_month,
    tpep_pickup_datetime as pickup_at,
    tpep_dropoff_datetime as dropoff_at,
    {{ dbt.datediff('tpep_pickup_datetime', 'tpep_dropoff_datetime', 'second') }} as duration_seconds,
    pu_location_id as pickup_zone_id,
    do_location_id as dropoff_zone_id,
    payment_type,
    trip_distance,
    -- Money is added up in decimals: in any order of the rows the sum is the same.
    cast(tip_amount as numeric) as tip_amount,
    cast(total_amount as numeric) as total_amount
from {{ source('taxi', 'yellow_trips') }}
