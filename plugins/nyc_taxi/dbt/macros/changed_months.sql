{#- The months, as literals, that were published after this model was last built; none on a first build.

The hour is for what was being published meanwhile: a month rebuilt once too often is the same month. -#}
{% macro changed_months(dataset) %}
    {%- if not (execute and is_incremental()) -%}{{ return([]) }}{%- endif -%}
    {%- set changed -%}
        select distinct month
        from {{ source('taxi', 'load_log') }}
        where dataset = '{{ dataset }}' and stage = 'warehouse'
          and finished_at > (
            select timestamp_sub(coalesce(max(built_at), timestamp '1970-01-02'), interval 1 hour) from {{ this }}
          )
        order by month
    {%- endset -%}
    {%- set months = [] -%}
    {%- for month in run_query(changed).columns[0].values() -%}
        {%- do months.append("date '" ~ month ~ "-01'") -%}
    {%- endfor -%}
    {{ return(months) }}
{% endmacro %}
