{{ config(materialized='table') }}
select
    facts.source_month,
    facts.payment_type,
    types.payment_name,
    sum(facts.trips) as trips,
    sum(facts.revenue) as revenue,
    sum(facts.tips) as tips
from {{ ref('fct_daily_trips') }} as facts
left join {{ ref('payment_types') }} as types on facts.payment_type = types.payment_type
group by 1, 2, 3
