"""Months from a static web server laid out like TLC's site: TLC's own rows.

Among them files that no pipeline should trust. One of the platform's worst days at the end: its process
manager is killed, and `down` still leaves nothing.
"""

from __future__ import annotations

import datetime
import functools
import http.server
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from repository import TLC

pytestmark = [pytest.mark.e2e, pytest.mark.long]
MONTHS = ("2019-01", "2019-02", "2020-04", "2020-12")
ROWS = 10_000


def file_of(folder: Path, month: str) -> Path:
    return folder / "trip-data" / f"yellow_tripdata_{month}.parquet"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four months, a truncated one, an error page in place of one, and one with nothing between its ends."""
    folder = tmp_path_factory.mktemp("site")
    shutil.copytree(TLC, folder, dirs_exist_ok=True)
    good = file_of(folder, "2019-01").read_bytes()
    file_of(folder, "2019-03").write_bytes(good[: len(good) // 2])
    file_of(folder, "2019-04").write_text("<!DOCTYPE html><html>Service unavailable</html>")
    file_of(folder, "2019-05").write_bytes(good[:4] + bytes(len(good) - 8) + good[-4:])
    return folder


@pytest.fixture(scope="module")
def site(folder: Path) -> Iterator[str]:
    """URL of a static server with `folder`."""
    handler = functools.partial(_Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass


def test_months_of_a_static_server_are_loaded_to_the_last_row(checkout: Any, site: str) -> None:
    checkout.command("up", "--source", site, "--months", "2019-01..2019-02")
    checkout.command("run", "yellow", "2020-04")
    checkout.command("run", "yellow", "2020-12")
    rows = checkout.datasets()
    for month in MONTHS:
        row = rows["yellow", month]
        assert row["typed_rows"] + row["quarantined_rows"] == ROWS, month
        assert row["warehouse_rows"] == row["postgres_rows"] == row["typed_rows"], month


def test_the_same_again_changes_nothing(checkout: Any, site: str) -> None:
    before = checkout.datasets()
    checkout.command("up", "--source", site, "--months", "2019-01..2019-02")
    checkout.command(
        "run", "yellow", "2020-04..2020-12", "--wait", "1", code=4
    )  # the months between are not there
    assert checkout.datasets() == before


@pytest.mark.parametrize(
    ("month", "reason"),
    [("2019-03", "truncated|not Parquet"), ("2019-04", "HTML|web page"), ("2019-05", "Parquet")],
)
def test_a_file_that_is_not_what_it_should_be_is_refused_by_name(
    checkout: Any, site: str, month: str, reason: str
) -> None:
    import re

    done = checkout.command("run", "yellow", month, code=1)
    sentence = next(line for line in done.stderr.splitlines() if "is not loaded" in line)
    assert f"yellow_tripdata_{month}.parquet" in sentence
    assert re.search(reason, sentence)
    row = checkout.datasets().get(("yellow", month))
    assert row is None or not (row["typed_rows"] or row["warehouse_rows"] or row["postgres_rows"])


def test_a_month_that_the_publisher_has_repaired_is_loaded(checkout: Any, site: str, folder: Path) -> None:
    """April's file again, now with April's rows, and February's among them."""
    april = pq.read_table(file_of(folder, "2019-02"))
    pickup = april.column("tpep_pickup_datetime")
    moved = pc.add(pickup, pa.scalar(datetime.timedelta(days=59), pa.duration(pickup.type.unit)))
    april = april.set_column(
        april.schema.get_field_index("tpep_pickup_datetime"), "tpep_pickup_datetime", moved
    )
    both = pa.concat_tables([april, pq.read_table(file_of(folder, "2019-02")).slice(0, 500)])
    pq.write_table(both, file_of(folder, "2019-04"))
    checkout.command("run", "yellow", "2019-04")
    row = checkout.datasets()["yellow", "2019-04"]
    assert row["quarantined_rows"] >= 500
    assert row["typed_rows"] + row["quarantined_rows"] == len(both)
    assert row["warehouse_rows"] == row["postgres_rows"] == row["typed_rows"] > 0.9 * len(april)


def test_down_leaves_nothing_even_after_the_process_manager_was_killed(checkout: Any) -> None:
    manager = psutil.Process(int((checkout.home / "supervisord.pid").read_text()))
    manager.kill()
    psutil.wait_procs([manager], timeout=5)
    assert checkout.processes(), "its children should have outlived it"
    done = checkout.command("down")
    assert "Nothing is left" in done.stdout
    assert checkout.processes() == []
    assert not checkout.home.exists()
