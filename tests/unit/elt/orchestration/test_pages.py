"""Pages in Airflow's UI: who gets an answer, that it is the log's, and that no text of it becomes markup."""

from __future__ import annotations

import ast
import datetime as dt
import json
import re
import sys
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import taxi
from airflow.plugins_manager import get_fastapi_plugins, get_plugin_info
from fake_postgres import FakePostgres
from fakes import Stack
from fastapi import HTTPException, Request
from fastapi.testclient import TestClient
from repository import REPOSITORY

import taxiway_pages
from elt.catalogue import Dataset
from elt.catalogue.registry import DATASETS
from elt.errors import NoCredentialsError, TransientError
from elt.orchestration.pages import charts
from elt.orchestration.pages.app import STATIC, Context, make
from elt.orchestration.pages.coverage import Run, grid, last_due, partitions
from elt.orchestration.pages.history import strip
from elt.periods import Hour, Month, Partition
from elt.status import Covered
from elt.warehouse.audits import Tally, Verdict

NOW = dt.datetime(2024, 5, 10)  # noqa: DTZ001 - in UTC, without a zone
MART_ANSWERS = ("/api/marts", "/api/marts/hourly_demand")
STAGES = ("download", "conform", "stage", "audit", "publish", "mart", "postgres")
PAGES = ("/coverage", "/dataset", "/marts", "/coverage.js", "/pages.css", "/coverage.svg", "/nothing")
ANSWERS = (
    "/api/datasets", "/api/datasets/yellow", "/api/coverage/yellow",
    "/api/history/yellow", "/api/partitions/yellow?period=2024-01", "/api/quarantine/yellow?period=2024-01",
)  # fmt: skip
YELLOW = DATASETS["yellow"]
HOSTILE = "<img src=x onerror=alert(1)></script><script>alert(2)</script>"


@dataclass
class FakeAirflow:
    """An Airflow of a few users, who send their name as a header; `grants` is what each may do, and where."""

    grants: dict[str, tuple[str, ...]] = field(
        default_factory=lambda: {"admin": ("read", "run", "results"), "viewer": ("read",), "guest": ()}
    )
    found: list[Run] = field(default_factory=list)
    stopped: tuple[str, ...] = ()

    def user(self, request: Request) -> str:
        if request.headers.get("x-user") not in self.grants:
            raise HTTPException(401, "Not authenticated")
        return request.headers["x-user"]

    def readable(self, user: str) -> set[str]:
        return {f"{name}_to_lake" for name in DATASETS} if "read" in self.grants[user] else set()

    def may_run(self, user: str, dag_id: str) -> bool:
        return "run" in self.grants[user]

    def may_read_results(self, user: str, dag_id: str) -> bool:
        return "results" in self.grants[user]

    def runs(self, dag_ids: Collection[str], key: str | None = None) -> Iterator[Run]:
        return (run for run in self.found if run.dag_id in dag_ids and key in (None, run.key))

    def paused(self, dag_ids: Collection[str]) -> list[str]:
        return [name for name in self.stopped if name in dag_ids]


@dataclass
class Site:
    """The pages over a stack in memory."""

    stack: Stack = field(default_factory=lambda: Stack(FakePostgres()))
    airflow: FakeAirflow = field(default_factory=FakeAirflow)

    def __post_init__(self) -> None:
        context = Context(self.airflow, lambda: self.stack.connections, lambda: NOW)
        self.client = TestClient(make(context), raise_server_exceptions=False)

    def get(self, path: str, user: str = "admin", code: int = 200) -> Any:
        answer = self.client.get(path, headers={"x-user": user})
        assert answer.status_code == code, answer.text
        return answer.json()

    def load(self, month: str, *stages: str, strays: int = 0) -> None:
        self.stack.publisher.publish("yellow", month, taxi.parquet(taxi.trips(month, 20, strays)))
        for stage in stages or STAGES:
            self.stack.run(stage, "yellow", month)


@pytest.fixture
def site() -> Site:
    return Site()


def state(facts: dict[str, Any], month: str, ds: Dataset = YELLOW) -> str:
    first, asked = ds.first, Month.parse(month)
    assert first
    return facts["states"][(asked.start.year - first.start.year) * 12 + asked.start.month - first.start.month]


@pytest.mark.parametrize("path", [*PAGES, *ANSWERS, *MART_ANSWERS])
def test_nothing_is_served_without_a_session(site: Site, path: str) -> None:
    assert site.client.get(path).status_code == 401
    assert site.client.get(path, headers={"x-user": "mallory"}).status_code == 401


@pytest.mark.parametrize("path", ANSWERS[1:])
def test_who_may_not_see_a_dataset_does_not_learn_that_there_is_one(site: Site, path: str) -> None:
    hidden = site.get(path, "guest", 404)["detail"]
    unknown = site.get(path.replace("yellow", "purple"), "admin", 404)["detail"]
    assert hidden.replace("yellow", "purple") == unknown
    assert site.get("/api/datasets", "guest")["datasets"] == []


def test_rows_are_for_who_may_read_what_tasks_return(site: Site) -> None:
    site.load("2024-01", strays=2)
    assert "may not read" in site.get(ANSWERS[-1], "viewer", 403)["detail"]
    found = site.get(ANSWERS[-1])
    assert found["columns"][0] == "reason"
    assert found["total"] == len(found["rows"]) == 2
    assert "2008-12-31" in found["rows"][0][0]


@pytest.mark.parametrize("user", ["guest", "viewer"])
def test_sums_are_for_who_may_read_the_rows_that_they_are_of(site: Site, user: str) -> None:
    assert site.get("/api/marts", user)["marts"] == []
    hidden = site.get("/api/marts/hourly_demand", user, 404)["detail"]
    assert hidden.replace("hourly_demand", "nothing") == site.get("/api/marts/nothing", code=404)["detail"]


def test_a_mart_is_drawn_by_day_by_hour_and_by_what_its_rows_are_told_apart_by(site: Site) -> None:
    listed = {mart["name"]: mart["datasets"] for mart in site.get("/api/marts")["marts"]}
    assert listed["payment_mix"] == ["yellow", "green"]
    assert site.get("/api/marts/payment_mix")["charts"] == []
    site.load("2024-01")
    rows = site.stack.bigquery.sql("SELECT pickup_date, revenue FROM d.payment_mix")
    facts = site.get("/api/marts/payment_mix")
    assert facts["measures"] == {"trips": "trips", "revenue": "USD", "tips": "USD"}
    days, payments = facts["charts"]
    assert [days["title"], payments["title"]] == ["by day", "by payment"]
    assert days["keys"] == sorted({f"{day}" for day, _ in rows})
    assert sum(days["values"]["trips"]) == sum(payments["values"]["trips"]) == 20
    assert payments["values"]["trips"] == sorted(payments["values"]["trips"], reverse=True)
    assert sum(days["values"]["revenue"]) == pytest.approx(sum(revenue for _, revenue in rows))
    titles = [chart["title"] for chart in site.get("/api/marts/hourly_demand")["charts"]]
    assert titles == ["by day", "by hour of the day", "by borough", "by zone"]


def test_what_is_no_number_is_not_drawn() -> None:
    """NaN is no JSON: a browser would refuse the whole answer."""
    assert [charts._plain(value) for value in (None, float("nan"), float("-inf"), 1.5, 2)] == [
        None, None, None, 1.5, 2.0,
    ]  # fmt: skip


def test_who_may_look_but_not_run_is_told_so(site: Site) -> None:
    assert site.get("/api/coverage/yellow", "viewer")["may_run"] is False
    assert site.get("/api/coverage/yellow")["may_run"] is True


def test_no_route_changes_anything(site: Site) -> None:
    """A reload is the browser's own request to Airflow's API, which judges the user itself."""
    for path in (*ANSWERS, *MART_ANSWERS):
        assert site.client.post(path, headers={"x-user": "admin"}, json={}).status_code == 405


def test_the_grid_is_what_the_load_log_says(site: Site) -> None:
    site.load("2024-01", strays=2)
    site.load("2024-02", *STAGES[:2])
    facts = site.get("/api/coverage/yellow")
    assert len(facts["states"]) == len(list(partitions(YELLOW, last_due(YELLOW, NOW))))
    assert [state(facts, month) for month in ("2024-01", "2024-02", "2023-12")] == ["L", "O", "M"]
    january, february = facts["cells"].values()
    assert january == [18, 2, 0, [], ["quarantine_share (warn): 2 of 20 rows in quarantine"]]
    assert february[3] == ["to_warehouse", "to_postgres"]
    assert facts["sources"] == [{"url": "https://publisher.test", "sample": False}]
    site.stack.publisher.base_url = "http://127.0.0.1:9080"
    assert state(site.get("/api/coverage/yellow"), "2024-01") == "O", "another source is not this one's rows"


def test_audits_are_kept_over_time_also_of_what_was_loaded_again(site: Site) -> None:
    assert site.get("/api/history/yellow")["found"] == site.get("/api/history/yellow")["drift"] == []
    site.load("2024-01", strays=2)
    before = site.get("/api/history/yellow")
    site.load("2024-01")
    site.load("2024-03", *STAGES[:2])
    after = site.get("/api/history/yellow")
    assert {name: letters.strip(".") for name, letters in before["strips"].items()} == {
        audit.name: "W" if audit.name == "quarantine_share" else "P" for audit in YELLOW.audits
    }
    assert {letters.strip(".") for letters in after["strips"].values()} == {"P"}
    assert state({"states": after["strips"]["row_count"]}, "2024-01") == "P"
    (found,) = after["found"]
    assert found.pop("checked_at")
    assert found == {
        "month": "2024-01", "audit": "quarantine_share", "severity": "warn",
        "found": "2 of 20 rows in quarantine",
    }  # fmt: skip
    assert before["found"][0]["found"] == found["found"]


def test_a_judgement_by_rules_that_are_no_more_is_none_of_todays() -> None:
    old = {"passed": "gone", "warned": None, "stopped": "key_present,other"}
    new = {"passed": "row_count,key_present", "warned": "other", "stopped": None}
    names = ("key_present", "row_count", "gone")
    assert [strip(name, [(1, old), (1, new), (0, old)], 3) for name in names] == ["SP.", ".P.", "P.."]


def test_a_dataset_without_periods_is_judged_over_the_time_of_its_judgements(site: Site) -> None:
    for run_id, more in (("first", b""), ("second", b'3,"Bronx","Allerton","Boro Zone"\n')):
        site.stack.publisher.publish("zones", None, taxi.ZONES_CSV + more)
        for stage in ("download", "conform", "stage", "audit", "publish"):
            site.stack.run(stage, "zones", None, run_id)
    facts = site.get("/api/history/zones")
    assert len(facts["keys"]) == 2
    assert facts["strips"]["row_count"] == "PP"


def test_columns_that_nobody_knows_are_drift_with_where_they_begin_and_end(site: Site) -> None:
    for month, names in (("2024-01", ()), ("2024-02", ("toll", "fee")), ("2024-04", ("fee",))):
        table = taxi.trips(month, 20)
        for name in names:
            table = table.append_column(name, [[1] * 20])
        site.stack.publisher.publish("yellow", month, taxi.parquet(table))
        for stage in STAGES[:2]:
            site.stack.run(stage, "yellow", month)
    assert site.get("/api/history/yellow")["drift"] == [
        {"column": "toll", "first": "2024-02", "last": "2024-02", "partitions": 1},
        {"column": "fee", "first": "2024-02", "last": "2024-04", "partitions": 2},
    ]


def test_lineage_leads_to_marts_that_rows_are_summed_up_in_or_joined_to(site: Site) -> None:
    yellow, zones = (site.get(f"/api/datasets/{name}")["lineage"] for name in ("yellow", "zones"))
    assert yellow["source"][0].endswith("/trip-data/yellow_tripdata_{year}-{month}.parquet")
    assert yellow["lake"] == ["raw/yellow/", "typed/yellow/"]
    assert yellow["tables"] == ["yellow_trips in the warehouse", "yellow_trips in the database (Postgres)"]
    assert "payment_mix" in yellow["marts"]
    assert zones["marts"] == ["daily_zone_revenue", "hourly_demand"]


def test_a_dataset_is_read_in_as_many_queries_however_many_partitions_it_has(site: Site) -> None:
    def asked() -> int:
        before = len(site.stack.bigquery.queries)
        site.get("/api/coverage/yellow")
        return len(site.stack.bigquery.queries) - before

    site.load("2024-01")
    one = asked()
    site.load("2024-02")
    assert asked() == one == 2


def test_runs_are_in_the_grid_and_what_is_loaded_stays_loaded(site: Site) -> None:
    site.load("2024-01")
    site.airflow.found = [
        Run("yellow_to_lake", "a", "2024-01", "failed"),
        Run("yellow_to_lake", "b", "2024-02", "failed"),
        Run("yellow_to_warehouse", "c", "2024-03", "queued"),
        Run("yellow_to_lake", "d", "no month at all", "failed"),
    ]
    site.airflow.stopped = ("yellow_to_lake", "green_to_lake")
    facts = site.get("/api/coverage/yellow")
    assert [state(facts, f"2024-0{n}") for n in (1, 2, 3)] == ["L", "F", "R"]
    assert [cell[3:] for cell in facts["cells"].values()] == [
        [[], ["yellow_to_lake failed"]],
        [["to_lake"], ["yellow_to_lake failed"]],
    ]
    assert facts["paused"] == ["yellow_to_lake"]
    runs = site.get("/api/partitions/yellow?period=2024-02")["runs"]
    assert runs == [{"dag_id": "yellow_to_lake", "run_id": "b", "key": "2024-02", "state": "failed"}]


def test_a_refusal_is_a_failure_with_its_sentence() -> None:
    tally = Tally((Verdict("key_in_period", "stop", passed=False, found=HOSTILE),))
    refused = {Partition("yellow", Month(2024, 1)): Covered(("warehouse", "mart"), None, None, tally)}
    facts = grid(YELLOW, refused, [], Month(2024, 1), NOW)
    assert facts["states"][-1] == "F"
    assert list(facts["cells"].values())[-1][3:] == [["to_warehouse"], [f"key_in_period (stop): {HOSTILE}"]]


def test_what_is_due_for_a_short_time_is_late_and_not_missing() -> None:
    last = last_due(YELLOW, dt.datetime(2024, 5, 10))  # noqa: DTZ001
    facts = grid(YELLOW, {}, [], last, NOW)
    assert str(last) == str(Month(2024, 5).shift(-YELLOW.lag))
    begun = last.shift(YELLOW.lag).start
    assert grid(YELLOW, {}, [], last, begun + dt.timedelta(days=20))["states"][-2:] == "MA"
    assert grid(YELLOW, {}, [], last, begun + dt.timedelta(days=22))["states"][-2:] == "MM"
    assert facts["cells"] == {}


def test_years_of_hours_are_a_letter_each() -> None:
    hourly = replace(
        YELLOW, name="hours", path="/{year}-{month}-{day}T{hour}.parquet", first=Hour(2022, 1, 1, 0)
    )
    facts = grid(hourly, {}, [], last_due(hourly, NOW), NOW)
    assert len(facts["states"]) > 20_000
    assert len(json.dumps(facts)) < len(facts["states"]) + 1_000


@pytest.mark.parametrize("path", ["/api/coverage/yellow", "/api/partitions/yellow?period=2024-01"])
def test_a_store_that_does_not_answer_is_a_sentence(path: str) -> None:
    site = Site()

    def connect() -> Any:
        raise TransientError("BigQuery does not answer. Try again.")

    context = Context(site.airflow, connect, lambda: NOW)
    client = TestClient(make(context), raise_server_exceptions=False)
    answer = client.get(path, headers={"x-user": "admin"})
    assert (answer.status_code, answer.json()) == (503, {"detail": "BigQuery does not answer. Try again."})


def test_an_api_server_without_googles_credentials_says_where_one_reads_why() -> None:
    def connect() -> Any:
        raise NoCredentialsError("Google Cloud: no credentials (none were found).")

    context = Context(Site().airflow, connect, lambda: NOW)
    answer = TestClient(make(context)).get("/api/coverage/yellow", headers={"x-user": "admin"})
    assert answer.status_code == 503
    assert answer.json()["detail"].endswith(
        "(none were found). docs/pages.md says when that is so on purpose."
    )


def test_a_defect_is_a_sentence_without_a_traceback(site: Site) -> None:
    site.airflow.found = [Run("yellow_to_lake", "a", "2024-01", "failed")]
    site.stack.connections = None  # type: ignore[assignment]  # the defect
    detail = site.get("/api/coverage/yellow", code=500)["detail"]
    assert detail == "this page has a defect (AttributeError). The API server's log says more."


@pytest.mark.parametrize(("period", "said"), [("2024-13", "2024-13"), ("2024-01-05", "month"), ("x", "'x'")])
def test_a_period_that_is_none_is_named(site: Site, period: str, said: str) -> None:
    assert said in site.get(f"/api/partitions/yellow?period={period}", code=422)["detail"]


def test_pages_allow_no_script_but_their_own_and_no_frame_but_airflows(site: Site) -> None:
    for path in ("/coverage", "/dataset", "/api/datasets"):
        answer = site.client.get(path, headers={"x-user": "admin"})
        policy = dict(part.split(" ", 1) for part in answer.headers["content-security-policy"].split("; "))
        assert policy["default-src"] == "'none'"
        assert policy["script-src"] == policy["style-src"] == policy["frame-ancestors"] == "'self'"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "no-cache" in answer.headers["cache-control"]


def test_texts_leave_as_json_and_enter_pages_as_text() -> None:
    """Markup in a description stays a string on its way, and no script of ours knows how to parse one."""
    parses = re.compile(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|srcdoc|\beval\(")
    for file in STATIC.iterdir():
        assert not parses.search(file.read_text()), file.name
    for page in STATIC.glob("*.html"):
        assert not re.search(r"<script(?![^>]*src=)|<style| on\w+=|https?://", page.read_text()), page.name


def test_a_files_way_out_of_the_folder_is_no_page(site: Site) -> None:
    for path in ("/..%2fapp.py", "/%2e%2e/app.py", "/app.py"):
        assert site.client.get(path, headers={"x-user": "admin"}).status_code == 404


def test_airflow_finds_the_plugin_and_what_the_navigation_shows() -> None:
    (app,) = [app for app in get_fastapi_plugins()[0] if app["url_prefix"] == "/taxiway"]
    assert callable(app["app"])
    (plugin,) = [info for info in get_plugin_info() if info["name"] == "taxiway_pages"]
    (view,) = plugin["external_views"]
    assert (view["href"], view["destination"]) == ("/taxiway/coverage", "nav")
    for icon in (view["icon"], view["icon_dark_mode"]):
        assert (STATIC / icon.rpartition("/")[2]).is_file()


def test_what_every_process_of_airflow_imports_of_it_is_next_to_nothing() -> None:
    tree = ast.parse((REPOSITORY / "plugins" / "taxiway_pages.py").read_text())
    imported = {
        node.module if isinstance(node, ast.ImportFrom) else node.names[0].name
        for node in tree.body
        if isinstance(node, ast.Import | ast.ImportFrom)
    }
    assert {name for name in imported if name.split(".")[0] not in sys.stdlib_module_names} == {
        "airflow.sdk.plugins_manager"
    }


def test_pages_that_cannot_be_made_are_a_sentence() -> None:
    def make_none() -> Any:
        raise ImportError("no module named elt")

    answer = TestClient(taxiway_pages.Pages(make_none)).get("/coverage")
    assert (answer.status_code, answer.json()) == (
        503,
        {"detail": "the pages cannot be made. The API server's log says why."},
    )
