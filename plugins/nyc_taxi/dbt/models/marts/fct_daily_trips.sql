{#- On BigQuery only the months are rebuilt that were published since; Postgres is small enough to start anew. -#}
{{ config(
    materialized='incremental' if target.type == 'bigquery' else 'table',
    incremental_strategy='insert_overwrite' if target.type == 'bigquery' else none,
    partition_by={'field': 'source_month', 'data_type': 'date', 'granularity': 'month'},
    cluster_by=['pickup_zone_id'],
    on_schema_change='fail',
) }}
{%- set months = changed_months('yellow') %}
select
    source_month,
    cast(pickup_at as date) as pickup_date,
    pickup_zone_id,
    payment_type,
    count(*) as trips,
    sum(total_amount) as revenue,
    sum(tip_amount) as tips,
    sum(duration_seconds) as duration_seconds,
    {{ dbt.current_timestamp() }} as built_at
from {{ ref('stg_yellow_trips') }}
{% if is_incremental() -%}
where source_month in ({{ months | join(', ') or 'null' }})
{% endif -%}
group by source_month, cast(pickup_at as date), pickup_zone_id, payment_type
