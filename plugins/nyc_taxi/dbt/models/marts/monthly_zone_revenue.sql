{{ config(
    materialized='incremental' if target.type == 'bigquery' else 'table',
    incremental_strategy='insert_overwrite' if target.type == 'bigquery' else none,
    partition_by={'field': 'source_month', 'data_type': 'date', 'granularity': 'month'},
    cluster_by=['borough'],
    on_schema_change='fail',
) }}
select
    facts.source_month,
    facts.pickup_zone_id,
    coalesce(zones.borough, 'Unknown') as borough,
    coalesce(zones.zone_name, 'Unknown') as zone_name,
    sum(facts.trips) as trips,
    sum(facts.revenue) as revenue,
    sum(facts.tips) as tips,
    max(facts.built_at) as built_at
from {{ ref('fct_daily_trips') }} as facts
left join {{ ref('stg_zones') }} as zones on facts.pickup_zone_id = zones.zone_id
{% if is_incremental() -%}
where facts.source_month in (
    select source_month from {{ ref('fct_daily_trips') }} where built_at > (select max(built_at) from {{ this }})
)
{% endif -%}
group by 1, 2, 3, 4
