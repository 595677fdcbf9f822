"""The README's commands, from nothing to loaded tables and back to nothing, on a copy of this checkout."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import socket
import stat
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import requests
import scale
import stranger
from repository import REPOSITORY

from taxiway.environment.home import Home, State
from taxiway.environment.ports import hold

pytestmark = pytest.mark.e2e
ROWS = 20_000
README = (REPOSITORY / "README.md").read_text()
WHAT_NEXT = README.partition("## What next")[2].partition("\n## ")[0]
NEXT = re.findall(r"^scripts/[^#\n]*", WHAT_NEXT, re.MULTILINE)
# Commands of the README that other tests run, or nobody would wait for.
ELSEWHERE = ("scripts/run all", "scripts/alerts", "scripts/bench", "scripts/down")
KEYS = {
    "dataset", "period", "raw_bytes", "typed_rows", "warehouse_rows", "postgres_rows", "quarantined_rows",
    "drift", "state", "missing", "source", "sample", "run_id", "loaded_at", "checksum", "audit_warnings",
    "audit_failures", "audits", "failures",
}  # fmt: skip


def contrast(*colours: tuple[int, ...]) -> float:
    """WCAG's ratio of two colours' luminances."""

    def luminance(colour: tuple[int, ...]) -> float:
        linear = [c / 3294 if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in colour[:3]]
        return sum(c * weight for c, weight in zip(linear, (0.2126, 0.7152, 0.0722), strict=True))

    dark, light = sorted(map(luminance, colours))
    return (light + 0.05) / (dark + 0.05)


@pytest.fixture(scope="module")
def up(checkout: Any) -> str:
    """What `scripts/up` showed."""
    done = checkout.command("up")
    return str(done.stdout + done.stderr)


def test_up_shows_what_was_loaded_and_how_to_go_on(up: str, checkout: Any) -> None:
    password = (checkout.home / "secrets" / "admin_password").read_text()
    assert password not in up, "output is no terminal, but a log"
    assert checkout.command("status", "--password").stdout == f"{password}\n"
    assert re.search(r"yellow +2024-01 +19,\d{3} +\d+ +19,\d{3} +19,\d{3}", up)
    for shown in ("2024-01", "2024-02", "zones", "daily_zone_revenue", "scripts/run", "scripts/down"):
        assert shown in up
    assert re.search(r"Airflow +http://127\.0\.0\.1:\d+", up)


def test_every_row_of_the_source_is_in_every_store_or_in_quarantine(up: str, checkout: Any) -> None:
    rows = checkout.datasets()
    for month in ("2024-01", "2024-02"):
        row = rows["yellow", month]
        assert set(row) == KEYS
        assert row["typed_rows"] + row["quarantined_rows"] == ROWS
        assert 0 < row["quarantined_rows"] < 100
        assert row["warehouse_rows"] == row["postgres_rows"] == row["typed_rows"]
        assert row["state"] == "loaded"
    assert rows["zones", None]["warehouse_rows"] == 265


def test_status_names_every_component_and_all_run(up: str, checkout: Any) -> None:
    facts = checkout.status()
    assert facts["target"] == "embedded"
    states = {part["name"]: part["state"] for part in facts["components"]}
    assert set(states) == {
        "postgres", "gcs", "bigquery", "sample-source",
        "api-server", "scheduler", "dag-processor", "triggerer", "watchdog",
    }  # fmt: skip
    assert set(states.values()) == {"RUNNING"}


def test_no_other_user_can_have_a_port_where_something_secret_is_sent(up: str, checkout: Any) -> None:
    ports = State.require(Home(checkout.home)).ports
    # Held though nobody listens there: the stack has no use for them.
    for unused in ("control-plane", "google-tokens"):
        with pytest.raises(OSError, match="in use"), socket.socket() as one:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            one.bind(("127.0.0.1", ports[unused]))
    # Who listens shares the port with what holds it, which only sockets of the same user can.
    for name in ("gcs", "bigquery", "bigquery-grpc", "api-server"):
        hold(ports[name]).close()


def test_up_again_changes_nothing(up: str, checkout: Any) -> None:
    before = checkout.status()
    again = checkout.command("up")
    assert "nothing to do" in again.stderr
    assert checkout.status() == before


def test_preview_of_what_is_there_changes_nothing_and_has_a_price(up: str, checkout: Any) -> None:
    shown = checkout.command("preview").stdout
    assert "Nothing would change" in shown
    assert re.search(r"in all +\d+\.\d\d", shown)


def test_a_label_changed_behind_pulumis_back_is_drift_and_up_puts_it_back(up: str, checkout: Any) -> None:
    assert "Nothing has drifted" in checkout.command("drift").stdout
    variables = dict(line.split("=", 1) for line in checkout.command("env", "--print").stdout.splitlines())
    bucket = f"{variables['STORAGE_EMULATOR_HOST']}/storage/v1/b/{variables['GCP_GCS_BUCKET']}"
    label = {"labels": {"taxiway-stack": "mallory"}}
    assert requests.patch(bucket, json=label, timeout=10).status_code == 401
    ours = {"Authorization": f"Bearer {Home(checkout.home).emulator_token}"}
    requests.patch(bucket, json=label, headers=ours, timeout=10).raise_for_status()
    drifted = checkout.command("drift", code=5).stdout
    assert "bucket" in drifted
    assert "mallory" in drifted
    checkout.command("up")
    assert "Nothing has drifted" in checkout.command("drift").stdout


def test_env_writes_what_the_pipeline_reads_for_its_owner_alone(up: str, checkout: Any) -> None:
    checkout.command("env")
    written = checkout.folder / ".env"
    assert stat.S_IMODE(written.stat().st_mode) == 0o600
    assert "GCP_GCS_BUCKET=" in written.read_text()
    assert "local" in checkout.command("stacks").stdout


def test_run_loads_another_month_through_the_scheduler_once(up: str, checkout: Any) -> None:
    checkout.command("run", "yellow", "2023-02")
    row = checkout.datasets()["yellow", "2023-02"]
    assert row["typed_rows"] + row["quarantined_rows"] == ROWS
    assert row["warehouse_rows"] == row["postgres_rows"] == row["typed_rows"]
    checkout.command("run", "yellow", "2023-02")
    assert checkout.datasets()["yellow", "2023-02"] == row


@pytest.mark.parametrize("line", [line.strip() for line in NEXT if not line.startswith(ELSEWHERE)])
def test_a_command_of_the_readme_runs_as_it_is_written(up: str, checkout: Any, line: str) -> None:
    script, *arguments = shlex.split(line)
    checkout.command(script.removeprefix("scripts/"), *arguments)


def test_the_dag_of_the_page_runs_as_it_is_written(up: str, checkout: Any) -> None:
    page = (REPOSITORY / "docs" / "your-own-dag.md").read_text()
    file = checkout.folder / "dags" / "row_report.py"
    file.write_text(page.partition("```python\n")[2].partition("```")[0])
    try:
        done = checkout.command("airflow", "dags", "test", "--dagfile-path", str(file), "row_report")
    finally:
        file.unlink()
    assert "state=success" in done.stdout + done.stderr
    report = checkout.command("lake", "cat", "reports/rows.csv").stdout
    assert report.splitlines()[0] == "dataset,rows"
    assert any(line.startswith("yellow,") for line in report.splitlines())


def test_a_month_that_is_not_published_is_reported_and_is_no_failure(up: str, checkout: Any) -> None:
    month = f"{datetime.now(UTC):%Y-%m}"
    done = checkout.command("run", "yellow", month, "--wait", "4", code=4)
    assert f"yellow {month} is not published yet" in done.stderr
    assert "deferred" in done.stderr
    assert ("yellow", month) not in checkout.datasets()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("pink", "2024-01"), "yellow"),
        (("yellow", "2024-13"), "2024-13"),
        (("yellow", "January"), "January"),
        (("yellow",), "by month"),
        (("zones", "2024-01"), "without periods"),
    ],
)
def test_a_wrong_command_line_is_a_usage_error_that_names_what_is_valid(
    up: str, checkout: Any, arguments: tuple[str, ...], sentence: str
) -> None:
    done = checkout.command("run", *arguments, code=2)
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


def test_no_secret_is_in_a_log_or_a_process_list(up: str, checkout: Any) -> None:
    secrets = [file.read_text().strip() for file in (checkout.home / "secrets").iterdir()]
    places = [file.read_text(errors="replace") for file in (checkout.home / "logs").rglob("*.log")]
    places.append(subprocess.run(["ps", "auxww"], capture_output=True, text=True, check=True).stdout)
    assert secrets
    assert not [secret[:4] for secret in secrets for place in places if secret in place]


def test_nothing_of_ours_warns(up: str, checkout: Any) -> None:
    ours = re.compile(r"elt|nyc_taxi|scripts/taxiway/|dags/to_|dags_local/to_|airflow_local_settings")
    lines = [
        line
        for file in (checkout.home / "logs").rglob("*.log")
        for line in file.read_text(errors="replace").splitlines()
        if re.search(r"\[?(warning|error|critical)\b", line, re.IGNORECASE) and ours.search(line)
    ]
    assert not [line for line in lines if "SimpleAuthManager" not in line]


def test_services_listen_on_loopback_only(up: str, checkout: Any) -> None:
    import psutil

    ports = {
        int(part["url"].rsplit(":", 1)[1].split("/")[0])
        for part in checkout.status()["components"]
        if part["url"]
    }
    listening = [
        c.laddr for c in psutil.net_connections("tcp") if c.status == "LISTEN" and c.laddr.port in ports
    ]
    assert {address.port for address in listening} == ports
    assert {address.ip for address in listening} == {"127.0.0.1"}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_another_account_of_this_machine_is_given_nothing(up: str, checkout: Any) -> None:
    platform = stranger.Platform.of(checkout.by_pid())
    assert len(platform.ports) >= 7
    assert stranger.as_nobody(platform) == []


def test_pages_of_other_sites_read_and_change_nothing_in_a_browser_that_is_signed_in(
    up: str, checkout: Any
) -> None:
    from browser import Browser

    def state() -> tuple[object, ...]:
        pools = checkout.command("airflow", "pools", "list", "--output", "json").stdout
        runs = checkout.command("airflow", "dags", "list-runs", "zones_to_lake", "--output", "plain").stdout
        lake = checkout.command("lake", "ls").stdout
        return pools, len(runs.splitlines()), lake, checkout.command("drift").stdout, checkout.datasets()

    before = state()
    url = next(part["url"] for part in checkout.status()["components"] if part["name"] == "api-server")
    platform = stranger.Platform.of(checkout.by_pid())
    with Browser.installed() as browser, stranger.site(platform.web_ports) as site:
        browser.sign_in(url, "admin", (checkout.home / "secrets" / "admin_password").read_text())
        # To the browser one is another site; the other is the same, and is sent Airflow's cookies.
        for host in ("localhost", "127.0.0.1"):
            got = browser.run_page(f"http://{host}:{site.port}/")
            assert got
            assert [line for line in got if f"127.0.0.1:{site.port}/" not in line] == []
        assert site.kinds >= {"text/plain", "application/json"}
    assert state() == before


def test_the_ui_shows_dags_docs_and_green_runs_in_a_browser(up: str, checkout: Any, tmp_path: Path) -> None:
    from browser import Browser

    with Browser.installed() as browser:
        password = (checkout.home / "secrets" / "admin_password").read_text()
        url = next(part["url"] for part in checkout.status()["components"] if part["name"] == "api-server")
        browser.sign_in(url, "admin", password)
        listed = browser.text_of(f"{url}/dags", "yellow_to_lake")
        assert {"yellow_to_lake", "yellow_to_warehouse", "yellow_to_postgres", "zones_to_lake"} <= set(
            listed.split()
        )
        browser.screenshot(tmp_path / "dags.png")
        overview = browser.text_of(f"{url}/dags/yellow_to_warehouse", "publish")
        assert re.search(r"\b0\s+Failed Runs", overview)
        # The page lists the last runs, and other tests have loaded other months meanwhile.
        assert re.search(r"Partition Key: 20\d\d-\d\d", overview)
        browser.open_documentation()
        assert "replaces the period" in browser.text()


def test_coverage_in_the_ui_is_what_status_says_and_for_who_is_signed_in(
    up: str, checkout: Any, tmp_path: Path
) -> None:
    from browser import Browser

    url = next(part["url"] for part in checkout.status()["components"] if part["name"] == "api-server")
    for path in ("coverage", "coverage.js", "api/coverage/yellow"):
        assert requests.get(f"{url}/taxiway/{path}", timeout=30).status_code == 401
    with Browser.installed() as browser:
        password = (checkout.home / "secrets" / "admin_password").read_text()
        browser.sign_in(url, "admin", password)
        browser.open_frame(f"{url}/plugin/coverage", "[aria-busy=false]")
        shown = browser.labels("#of-yellow .cell.L.sample")
        browser.screenshot(tmp_path / "coverage.png")
        rows = checkout.datasets().items()
        loaded = {period for (name, period), row in rows if name == "yellow" and row["state"] == "loaded"}
        assert {re.search(r"\d{4}-\d\d", label)[0] for label in shown} == loaded  # type: ignore[index]
        assert all(re.search(r"\d+,\d{3} rows, \d+ in quarantine. sample data", label) for label in shown)
        for button in ("Load missing", "Reload"):
            browser.press(button, "yellow", "2023-04")
            # Nobody asks the page to look again.
            for state in "RL":
                browser.wait_for(f"#of-yellow .cell.{state}[aria-label^='yellow 2023-04']")
        light, dark = (browser.colours(scheme) for scheme in ("light", "dark"))
        assert not set(light) & set(dark)
        assert min(contrast(*light), contrast(*dark)) >= 4.5, "WCAG's least for text"
        browser.screenshot(tmp_path / "dark.png")
        browser.open_frame(f"{url}/plugin/coverage/taxiway/dataset?name=yellow", "[aria-busy=false]")
        shown_text = browser.content()
        for text in (
            "Loaded up to",
            "tpep_pickup_datetime",
            "daily_zone_revenue",
            "row_count (stop)",
            "No file in the lake",
        ):
            assert text in shown_text
        browser.open_frame(f"{url}/plugin/coverage/taxiway/marts", "[aria-busy=false]")
        browser.screenshot(tmp_path / "marts.png")
        shown_text = browser.content()
        for text in ("by day", "revenue (USD)", "by zone", "Manhattan", "sample data"):
            assert text in shown_text


def test_down_keeps_the_data_if_it_is_told_to_and_up_goes_on_with_it(up: str, checkout: Any) -> None:
    before = checkout.datasets()
    assert "data kept" in checkout.command("down", "--keep-data").stdout
    assert checkout.processes() == []
    assert "nothing to do" in checkout.command("up").stderr
    assert checkout.datasets() == before


def test_years_of_partitions_are_a_light_page(up: str, checkout: Any, tmp_path: Path) -> None:
    """180 months of four datasets, ten years of days. Figures are in pages.json below pytest's folder."""
    from browser import Browser

    scale.add(checkout)
    url = next(part["url"] for part in checkout.status()["components"] if part["name"] == "api-server")
    costs = {}
    with Browser.installed() as browser:
        browser.sign_in(url, "admin", (checkout.home / "secrets" / "admin_password").read_text())
        for name in ("coverage", "dataset?name=months_1", "dataset?name=days"):
            path = "coverage" if name == "coverage" else f"coverage/taxiway/{name}"
            costs[name] = browser.cost_of_frame(f"{url}/plugin/{path}", "[aria-busy=false]")
            browser.screenshot(tmp_path / f"{name.rpartition('=')[2]}.png")
            if name == "coverage":
                cells = browser.labels(".cell.L")
                assert sum(label.startswith("months_") for label in cells) == 4 * scale.MONTHS
                # Days share the cell of their month. The newest may have a run by its schedule meanwhile.
                assert sum(label.startswith("days ") for label in cells) >= scale.DAYS // 31
    (tmp_path / "pages.json").write_text(json.dumps(costs, indent=2))
    for name, cost in costs.items():
        assert cost["requests"] < 25, name
        assert cost["bytes"] < 150_000, (name, cost)
        assert cost["elements"] < 5_000, (name, cost)


def test_down_leaves_nothing(up: str, checkout: Any) -> None:
    facts = checkout.status()
    done = checkout.command("down")
    for removed in ("bucket", "dataset", "service account", "scheduler", "postgres", ".taxiway"):
        assert removed in done.stdout
    assert "Nothing is left" in done.stdout
    assert checkout.processes() == []
    assert not checkout.home.parent.exists()
    for part in facts["components"]:
        if part["url"]:
            port = int(part["url"].rsplit(":", 1)[1].split("/")[0])
            with socket.socket() as probe:
                assert probe.connect_ex(("127.0.0.1", port)) != 0, f"{part['name']} still listens"
    assert not (checkout.folder / ".env").exists()
    assert "nothing to remove" in checkout.command("down").stdout


def test_a_python_without_the_packages_is_enough_to_ask_for_help() -> None:
    """The shebang's python, whatever it is, reaches the locked environment."""
    repository = REPOSITORY
    python = shutil.which("python3", path="/usr/bin:/bin") or sys.executable
    done = subprocess.run(
        [python, repository / "scripts" / "up", "--help"], capture_output=True, text=True, check=True
    )
    assert "--months" in done.stdout
