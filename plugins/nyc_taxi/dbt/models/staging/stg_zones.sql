select
    location_id as zone_id,
    zone as zone_name,
    borough,
    service_zone
from {{ source('taxi', 'zones') }}
