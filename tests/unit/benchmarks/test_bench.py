"""What the figures of scripts/bench rest on: the same files always, checked results, honest ratios."""

import sys
from pathlib import Path

import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from bench import data, report
from bench import main as command_line
from bench.billing import bill, bytes_of_a_row
from bench.measure import CommandFailedError, Contestant, WrongResultError, race, run
from bench.section import Section, Target, ratios

from elt.catalogue.registry import dataset
from elt.conforming.stream import Split
from elt.periods import Month
from taxiway.console.progress import Progress
from taxiway.errors import UsageError

ROWS = 3_000


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> Path:
    return data.write(tmp_path_factory.mktemp("bench") / "trips.parquet", ROWS)


def test_a_file_has_the_rows_requested_and_all_of_them_fit(file):
    with file.open("rb") as source:
        parts = Split(source, dataset("yellow"), Month(2024, 1))
        assert sum(part.typed.num_rows for part in parts) == ROWS
    assert parts.quarantined == 0


def test_a_file_is_the_same_every_time(file, tmp_path):
    assert data.checksum(data.write(tmp_path / "trips.parquet", ROWS)) == data.checksum(file)


def test_every_form_has_the_same_rows(file, tmp_path):
    packed = data.write(tmp_path / "trips.csv.gz", ROWS)
    pq.write_table(pyarrow.csv.read_csv(packed), tmp_path / "from-csv.parquet")
    assert data.facts(tmp_path / "from-csv.parquet").agrees(data.facts(file))


def test_a_row_that_is_lost_or_changed_is_noticed(file):
    facts = data.facts(file)
    assert facts.agrees(facts)
    assert not facts.agrees(data.Facts(ROWS - 1, facts.total_amount, facts.trip_distance))
    assert not facts.agrees(data.Facts(ROWS, facts.total_amount + 0.01, facts.trip_distance))


def command(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_time_cpu_and_memory_of_a_command_are_measured_from_outside():
    done = run(command("x = bytearray(80_000_000); print('{\"seconds\": 0.5}')"))
    assert done.seconds == 0.5
    assert done.whole_s > 0
    assert done.cpu_s > 0
    assert 80 < done.peak_rss_mb < 200


def test_what_a_command_and_its_children_read_and_write_is_counted(tmp_path):
    done = run(
        command(
            f"import subprocess as s; s.run(['dd', 'if=/dev/zero', 'of={tmp_path}/x', 'bs=1M', 'count=20'])"
        )
    )
    read, written = done.io
    assert 20 < read < 60
    assert 20 < written < 30


def test_bigquery_bills_the_columns_that_a_month_has():
    columns = ["VendorID", "tpep_pickup_datetime", "store_and_fwd_flag", "nobody_knows_it"]
    # Audits read it, and the three months before it; of these columns a mart uses the pickup's time.
    assert bytes_of_a_row(dataset("yellow"), columns) == {
        "audit": 4 * 19,
        "publish": 19,
        "mart": 3 * 8 + 3 * 8,
    }
    assert bill(dataset("yellow"), columns, 1)["mb_billed_a_month"] == 21 * 10 * 2**20 / 1e6
    assert bill(dataset("yellow"), columns, 10**7)["mb_billed_a_month"] == 10**7 * (95 + 48) / 1e6


def test_a_command_that_fails_is_reported_with_its_last_line():
    with pytest.raises(CommandFailedError, match="out of order"):
        run(command("raise SystemExit('out of order')"))


def test_who_fails_or_does_the_work_wrongly_is_left_out_and_reported():
    def wrong(_):
        raise WrongResultError("2 rows; the file has 3")

    everybody = [
        Contestant("right", "ours", command("pass"), 3),
        Contestant("wrong", "peer", command("pass"), 3, check=wrong),
        Contestant("broken", "peer", command("raise SystemExit(1)"), 3),
    ]
    results = race(everybody, 2, 1, Progress())
    right, false, broken = (result.as_json() for result in results)
    assert right["runs"] == 2
    assert "rate" not in false
    assert false["failed"] == "2 rows; the file has 3"
    assert "rate" not in broken


def test_ratios_are_to_the_best_of_each_kind():
    contestants = [
        {"name": "taxiway", "role": "ours", "rate": 9.0, "peak_rss_mb": 1.0},
        {"name": "limit", "role": "limit", "rate": 10.0, "peak_rss_mb": 1.0},
        {"name": "slow", "role": "peer", "rate": 1.0, "peak_rss_mb": 1.0},
        {"name": "fast", "role": "peer", "rate": 6.0, "peak_rss_mb": 1.0},
    ]
    assert ratios(contestants) == {"ratio_to_limit": 0.9, "ratio_to_best_peer": 1.5}
    assert ratios(contestants[:1]) == {"ratio_to_limit": None, "ratio_to_best_peer": None}


def test_a_target_that_was_not_measured_is_not_reached():
    assert Target("t", 1.0, at_least=1.0).reached
    assert not Target("t", 1.1, at_most=1.0).reached
    assert not Target("t", None, at_most=1.0).reached


def test_the_page_and_the_picture_show_what_was_measured():
    contestants = [
        {"name": "taxiway x", "role": "ours", "rate": 9.0, "cpu_s": 1.0, "peak_rss_mb": 1.0},
        {"name": "limit <y>", "role": "limit", "rate": 10.0, "cpu_s": 1.0, "peak_rss_mb": 1.0},
        {"name": "z", "role": "peer", "failed": "no such table"},
    ]
    section = Section("rows/s", contestants, [Target("of the limit", 0.9, at_least=0.95)]).as_json()
    machine = {
        "date": "2026-01-01T00:00:00", "commit": "c", "cores": 2, "processor": "p", "memory_gb": 1,
        "system": "s", "python": "3", "load": 0.0, "versions": {"pyarrow": "1"},
    }  # fmt: skip
    written = report.page({"machine": machine, "sections": {"x": section}}, {"x": "Title"})
    assert "**taxiway x**" in written
    assert "failed: no such table" in written
    assert "✗ 0.9 of the limit (at least 0.95)" in written
    drawn = report.picture({"x": section}, {"x": "Title"})
    assert "limit &lt;y&gt;" in drawn
    assert report.figure(1_234_567) == "1.2 M"


def test_a_section_that_does_not_exist_is_refused_by_name():
    with pytest.raises(UsageError, match="section 'postgre' does not exist"):
        command_line._sections(["postgre"])
    assert command_line._sections(["all"]) == list(command_line.SECTIONS)
