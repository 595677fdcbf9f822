"""A question to each store, and a chart: scripts/notebook opens it."""

import marimo

__generated_with = "0.25.2"
app = marimo.App(width="medium")


@app.cell
def _():
    import altair as alt
    import marimo as mo

    from taxiway.asking.notebook import ask

    return alt, ask, mo


@app.cell(hide_code=True)
def _(mo):
    mo.md("""
    # A first look

    `ask` reads the stack that `scripts/notebook` was called for: all rows of a query, with exact values.
    Run all cells by the button at the lower right. A cell that you change runs again, and so does each that
    uses it.
    """)
    return


@app.cell
def _(ask):
    # The warehouse: BigQuery, or its emulator.
    by_hour = ask(
        "warehouse",
        """
        SELECT EXTRACT(HOUR FROM tpep_pickup_datetime) AS hour, COUNT(*) AS trips
        FROM yellow_trips GROUP BY hour ORDER BY hour
        """,
    )
    return (by_hour,)


@app.cell
def _(alt, by_hour):
    chart = (
        alt.Chart(by_hour, title="Yellow taxis: trips by hour of the day")
        .mark_bar()
        .encode(x="hour:O", y="trips:Q", tooltip=["hour", "trips"])
    )
    chart
    return (chart,)


@app.cell
def _(ask):
    # Postgres has the same rows.
    by_vendor = ask(
        "postgres",
        "SELECT vendor_id, COUNT(*) AS trips FROM yellow_trips GROUP BY vendor_id ORDER BY vendor_id",
    )
    by_vendor
    return (by_vendor,)


@app.cell
def _(ask):
    # The lake's files, by DuckDB: the folders of a file are columns, too.
    by_month = ask("lake", "SELECT year, month, COUNT(*) AS trips FROM yellow GROUP BY ALL ORDER BY ALL")
    by_month
    return (by_month,)


if __name__ == "__main__":
    app.run()
