"""Every file that others published to try readers with is read right or refused, and none changed in silence.

    TAXIWAY_PUBLIC_FILES=~/public scripts/test tests/conformance/test_public_files.py

The folder holds clones of repositories of test data, say apache/parquet-testing, apache/arrow-testing and the
`data` of duckdb/duckdb. Their files are other people's: none is kept here.
"""

import os
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest
from public_files import VARIABLE, Court, public_files

FOLDER = os.environ.get(VARIABLE, "")

# Where DuckDB is wrong, or nobody can know who is right: files, and why.
KNOWN = {
    "*/csv/14512_og.csv": "DuckDB takes a blank behind two quotes for the end of the value, which goes on",
    "*/csv/empty_space_start_value.csv": "DuckDB drops a blank before a quote, which RFC 4180 keeps",
    "*/csv/auto/multi_column_string_mix.csv": "DuckDB rejects a line that ends otherwise than the first one",
    "*/csv/repromarket.csv": "DuckDB takes a carriage return alone for the end of a row",
    "*/csv/afl/null_padding/26.csv": "DuckDB passes over all lines behind a blank and a quote",
    "*/clusterfuzz-*-5068991573000192": "damaged, and nobody can see it",
}


def _named() -> list[str]:
    folder = Path(FOLDER)
    return [str(path.relative_to(folder)) for path in public_files(folder)] if FOLDER else [""]


@pytest.fixture(scope="module")
def court() -> Iterator[Court]:
    """What judges."""
    with Court() as sitting:
        yield sitting


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """A file's path below the folder, marked as failing if it is known to."""
    found = str(request.param)
    if not found:
        pytest.skip(f"no public files: set {VARIABLE} to a folder of them")
    for pattern, reason in KNOWN.items():
        if fnmatch(found, pattern):
            request.applymarker(pytest.mark.xfail(reason=reason, strict=True))
    return found


@pytest.mark.parametrize("name", _named(), indirect=True)
def test_a_public_file_is_read_as_duckdb_reads_it_or_refused_in_words(court: Court, name: str) -> None:
    verdict, _ = court.judge(Path(FOLDER, name))
    assert verdict.differences == []
