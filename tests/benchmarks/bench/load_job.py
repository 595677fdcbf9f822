"""One load job into an empty table, as short as the API allows: the limit for the warehouse."""

from __future__ import annotations

import json
import sys
import time
from uuid import uuid4

from google.auth.credentials import AnonymousCredentials
from google.cloud.bigquery import Client, LoadJobConfig

from bench.data import MONTH
from elt.catalogue.registry import dataset
from elt.layout import typed_object
from elt.settings import Settings
from elt.warehouse.tables import staged_fields


def main() -> None:
    """Load it; the last line of the output has the seconds and the rows."""
    settings, entry = Settings.from_environment(), dataset("yellow")
    client = Client(
        settings.project,
        credentials=AnonymousCredentials(),  # type: ignore[no-untyped-call]
        client_options={"api_endpoint": settings.bigquery_endpoint},
    )
    started = time.monotonic()
    job = client.load_table_from_uri(
        f"gs://{settings.bucket}/{typed_object(entry, MONTH)}",
        f"{settings.project}.{settings.dataset}.limit_{uuid4().hex}",
        job_config=LoadJobConfig(source_format="PARQUET", schema=staged_fields(entry)),
    )
    job.result()
    rows = job.output_rows
    sys.stdout.write("\n" + json.dumps({"seconds": time.monotonic() - started, "rows": rows}) + "\n")


if __name__ == "__main__":
    main()
