"""Creating the warehouse's tables."""

from nyc_taxi.bigquery import BigQuery
from nyc_taxi.tables import all_tables


def ensure(bq: BigQuery) -> None:
    """Create what is missing of the catalogue's tables and views; touch nothing that is there.

    Several may do it at once.
    """
    present = bq.tables()
    for name, table in all_tables(bq.name).items():
        if name not in present:
            bq.create(name, table)
