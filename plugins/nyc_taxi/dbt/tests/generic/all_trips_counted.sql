{#- Months whose trips do not add up to the rows of the source: what an incremental build has missed. -#}
{% test all_trips_counted(model) %}
with counted as (
    select source_month, sum(trips) as trips from {{ model }} group by source_month
),
published as (
    select source_month, count(*) as trips from {{ source('taxi', 'yellow_trips') }} group by source_month
)
select published.source_month
from published left join counted on published.source_month = counted.source_month
where coalesce(counted.trips, 0) <> published.trips
{% endtest %}
