"""Creating the warehouse's tables."""

import logging

from elt.catalogue import Dataset
from elt.errors import PermanentError
from elt.layout import lake_table
from elt.settings import Settings
from elt.stores.bigquery import BigQuery
from elt.warehouse.tables import all_tables, external_table

logger = logging.getLogger(__name__)


def ensure(bq: BigQuery) -> None:
    """Create what is missing of the catalogue's tables and views; touch nothing that is there.

    Several may do it at once.
    """
    present = bq.tables()
    for name, table in all_tables(bq.name).items():
        if name not in present:
            bq.create(name, table)


def ensure_lake_table(bq: BigQuery, ds: Dataset, settings: Settings) -> None:
    """Let SQL read a dataset's typed files, of which there is one at least, where BigQuery can.

    An emulator would find them empty. Nothing else needs the table: without it months are loaded too.
    """
    if settings.bigquery_endpoint is not None:
        return
    try:
        bq.create(lake_table(ds), external_table(ds, settings.bucket))
    except PermanentError as error:
        logger.warning("no table over the lake's files of %s: %s", ds.name, error)
