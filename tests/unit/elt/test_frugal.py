import subprocess
import sys

from repository import REPOSITORY

PLUGINS = REPOSITORY / "plugins"
BEGIN = "import sys; from elt.frugal import be_frugal; be_frugal(); import pyarrow as pa; "
# As conform makes them: of a type that it names.
VALUES = "pa.array([1, None], pa.int64()), pa.scalar(None, pa.string()), pa.scalar('x', pa.string()); "
MISFITS = """
import datetime as dt
from elt.catalogue import registry as catalogue
from elt.conforming import rows as conform
from elt.conforming.schema import bind
from elt.months import Month
ds, moment = catalogue.dataset("yellow"), dt.datetime(2024, 1, 31)
schema = pa.schema([(c.name, pa.string()) for c in ds.columns])
row = {**dict.fromkeys(schema.names, "1"), ds.key: "2024-01-31 10:00:00"}
row |= {c.name: "2024-01-31 10:00:00" for c in ds.columns if c.type == "datetime"}
rows = [row, {**row, ds.key: "2023-01-31 10:00:00"}, {**row, "trip_distance": "far"}]
columns = [pa.array([r[n] for r in rows], pa.string()) for n in schema.names]
batch = pa.RecordBatch.from_arrays(columns, schema=schema)
(part,) = conform.conform([batch], bind(schema, ds, Month(2024, 1)))
assert (part.typed.num_rows, part.rejected) == (1, 2), part
"""


def run(code: str) -> str:
    """What a fresh interpreter prints."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        env={"PYTHONPATH": str(PLUGINS)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout.strip()


def test_arrow_makes_values_without_pandas():
    look = "print('pandas' in sys.modules)"
    assert run("import sys, pyarrow as pa; " + VALUES + look) == "True"
    assert run(BEGIN + VALUES + look) == "False"


def test_nor_do_rows_that_do_not_fit_need_it():
    assert run(BEGIN + MISFITS + "print('pandas' in sys.modules)") == "False"


def test_whoever_asks_for_a_data_frame_gets_one():
    assert run(BEGIN + "print(pa.table({'a': [1]}).to_pandas()['a'].sum())") == "1"


def test_pandas_is_left_alone_where_it_is_in_use():
    code = "import pandas; " + BEGIN + "print(pa.array(pandas.Series([1, None])).null_count)"
    assert run(code) == "1"
