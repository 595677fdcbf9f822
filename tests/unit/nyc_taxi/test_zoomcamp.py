"""The course's copies of the trips, by the entries of docs/zoomcamp.md: the rows of TLC's own files."""

import csv
import gzip
import io
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from repository import REPOSITORY, TLC

from elt.catalogue import Dataset
from elt.catalogue.checks import Checks, Packages, clash
from elt.catalogue.registry import DATASETS, MARTS
from elt.conforming.stream import Split
from elt.periods import Month
from taxiway.emulators.tlc_sample import source

PAGE = (REPOSITORY / "docs" / "zoomcamp.md").read_text()


@pytest.fixture(scope="module")
def copies() -> dict[str, Dataset]:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names = dict[str, Any]()
    exec(compile(code, "dtc.py", "exec"), names)
    return {value.name: value for value in names.values() if isinstance(value, Dataset)}


def as_copied(parquet: bytes) -> bytes:
    """As pandas wrote the copies: whole numbers with gaps as 1.0, nothing for null, line feeds alone."""
    table, written = pq.read_table(io.BytesIO(parquet)), io.StringIO()
    writer = csv.writer(written, lineterminator="\n")
    writer.writerow(table.column_names)
    writer.writerows(zip(*(column.to_pylist() for column in table.columns), strict=True))
    return gzip.compress(written.getvalue().encode())


def conformed(ds: Dataset, content: bytes, month: Month) -> tuple[pa.Table, int]:
    with Split(io.BytesIO(content), ds, month) as parts:
        return pa.Table.from_batches([part.typed for part in parts]), parts.quarantined


def published(name: str, month: str, folder: Path) -> bytes:
    """TLC's own rows where they are here, else the sample source's."""
    file = TLC / "trip-data" / f"{name}_tripdata_{month}.parquet"
    if not file.exists():
        file = folder / "file"
        source.write_here(source.DATASETS[name], file, source.parse_month(month), 2_000)
    return file.read_bytes()


@pytest.mark.parametrize("name", ["yellow", "green", "fhv"])
@pytest.mark.parametrize("month", ["2019-01", "2020-04", "2021-07"])
def test_a_copied_month_has_the_rows_of_the_published_one(
    copies: dict[str, Dataset], name: str, month: str, tmp_path: Path
) -> None:
    content, period = published(name, month, tmp_path), Month.parse(month)
    rows, rejected = conformed(copies[f"{name}_dtc"], as_copied(content), period)
    assert (rows, rejected) == conformed(DATASETS[name], content, period)
    assert rows.num_rows > 100


def test_the_entries_pass_all_checks_beside_those_that_are_there(copies: dict[str, Dataset]) -> None:
    assert set(copies) == {"yellow_dtc", "green_dtc", "fhv_dtc"}
    url = copies["yellow_dtc"].url(Month(2021, 1))
    assert url.endswith("/nyc-tlc-data/releases/download/yellow/yellow_tripdata_2021-01.csv.gz")
    for ds in copies.values():
        assert list(Checks(Packages()).of_dataset(ds, list(MARTS))) == []
        others = [other for other in (*DATASETS.values(), *copies.values()) if other is not ds]
        assert [other.name for other in others if clash(ds, other)] == []
