"""The client of Airflow's REST API, against a server that is a type."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any

import pytest
import requests

from elt.catalogue.registry import DATASETS
from taxiway.airflow.bootstrap import FAMILIES, SCHEDULED, expected_dags, open_dags, open_datasets
from taxiway.airflow.client import AirflowApi, AirflowDownError
from taxiway.errors import TaxiwayError
from taxiway.waiting import Patience

TOKEN = "a-token"


@dataclass
class Server:
    """Answers a session's requests like Airflow's API server does, at most `largest` entries a page."""

    dags: dict[str, bool] = field(default_factory=dict)
    largest: int = 100
    calls: list[tuple[str, str]] = field(default_factory=list)
    pools: list[dict[str, Any]] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    trust_env: bool = True
    gone: bool = False
    health: dict[str, Any] = field(default_factory=dict)
    triggered: list[dict[str, Any]] = field(default_factory=list)
    behind: int = 0

    def get(self, _url: str, **_options: Any) -> requests.Response:
        return answer(200, self.health)

    def post(self, _url: str, **options: Any) -> requests.Response:
        right = options["json"]["password"] == "right"
        return answer(200 if right else 401, {"access_token": TOKEN})

    def request(self, method: str, url: str, **options: Any) -> requests.Response:
        if self.gone:
            raise requests.ConnectionError
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return answer(401, {})
        assert options["timeout"] > 0
        path = url.partition("/api/v2")[2]
        self.calls.append((method, path))
        if path.endswith("/dagRuns") and path.split("/")[2] in self.dags:
            self.triggered.append(options["json"])
            return answer(200, options["json"])
        if path.endswith("/dagRuns"):
            return answer(404, {"detail": "The Dag with ID: 'yellow_to_lake' was not found"})
        if path.endswith("/tasks"):
            # The first answers are of the DAG before it was edited.
            feeds = DATASETS[path.split("/")[2].removesuffix("_to_warehouse")].feeds
            edited = self.calls.count((method, path)) > self.behind
            return answer(200, {"tasks": [{"task_id": "mart"}] if bool(feeds) == edited else []})
        if path.startswith("/dags/"):
            self.dags[path.removeprefix("/dags/")] = options["json"]["is_paused"]
            return answer(200, {})
        return answer(200, getattr(self, f"{method.lower()}_{path[1:]}")(options))

    def get_dags(self, options: Any) -> dict[str, Any]:
        offset, limit = options["params"]["offset"], min(options["params"]["limit"], self.largest)
        page = sorted(self.dags)[offset : offset + limit]
        listed = [{"dag_id": name, "is_paused": self.dags[name]} for name in page]
        return {"dags": listed, "total_entries": len(self.dags)}

    def patch_dags(self, options: Any) -> dict[str, Any]:
        suffix = options["params"]["dag_id_pattern"].removeprefix("%")
        found = [name for name, paused in self.dags.items() if name.endswith(suffix) and paused]
        for name in found[: self.largest]:
            self.dags[name] = options["json"]["is_paused"]
        return {"dags": found[: self.largest], "total_entries": len(found)}

    def patch_pools(self, options: Any) -> dict[str, Any]:
        (create,) = options["json"]["actions"]
        assert create["action_on_existence"] == "skip"
        self.pools += create["entities"]
        return {"create": {"errors": []}}

    def get_importErrors(self, _options: Any) -> dict[str, Any]:  # noqa: N802 - as Airflow calls it
        return {"import_errors": [{"filename": "to_lake.py", "stack_trace": "…\nNameError: x\n"}]}


def answer(code: int, content: Any) -> requests.Response:
    response = requests.Response()
    response.status_code, response._content = code, json.dumps(content).encode()
    return response


def client(server: Server, password: str = "right") -> AirflowApi:
    session: Any = server
    return AirflowApi("http://127.0.0.1:8080", password, session=session)


def test_every_dag_is_listed_however_many_there_are() -> None:
    dags = {f"d{number:03}_to_lake": number % 2 == 0 for number in range(250)}
    assert client(Server(dags)).dags() == dags


def test_a_family_is_unpaused_whole_however_large_it_is() -> None:
    server = Server({**{f"d{number:03}_to_lake": True for number in range(250)}, "own": True})
    client(server).unpause_family("_to_lake")
    assert [name for name, paused in server.dags.items() if paused] == ["own"]


def test_it_signs_in_when_its_token_is_not_known() -> None:
    server = Server({"a": True})
    assert client(server).dags() == {"a": True}
    assert server.headers["Authorization"] == f"Bearer {TOKEN}"
    assert not server.trust_env, "no proxy between a command and the loopback"


def test_a_password_that_is_not_accepted_is_an_error_with_a_remedy() -> None:
    with pytest.raises(TaxiwayError, match="does not accept the password") as raised:
        client(Server(), "wrong").dags()
    assert "scripts/down" in raised.value.remedy


def test_the_password_is_not_sent_to_whoever_listens() -> None:
    server = Server({"a": True})
    session: Any = server
    with pytest.raises(AirflowDownError, match="the password is not sent"):
        AirflowApi("http://127.0.0.1:8080", "right", session=session, trusted=lambda: False).dags()
    assert "Authorization" not in server.headers


def test_after_a_lost_connection_whoever_listens_then_gets_no_token_either() -> None:
    server, known = Server({"a": True}), [True, False]
    session: Any = server
    api = AirflowApi("http://127.0.0.1:8080", "right", session=session, trusted=lambda: known.pop(0))
    assert api.dags()
    server.gone = True
    with pytest.raises(AirflowDownError, match="does not answer"):
        api.dags()
    server.gone = False
    with pytest.raises(AirflowDownError, match="the password is not sent"):
        api.dags()
    assert "Authorization" not in server.headers


def test_a_part_that_is_silent_is_named_with_its_last_heartbeat() -> None:
    parts = {
        "metadatabase": {"status": "healthy"},
        "scheduler": {
            "status": "unhealthy",
            "latest_scheduler_heartbeat": "2026-11-26T12:03:04.123456+00:00",
        },
        "dag_processor": {"status": "unhealthy", "latest_dag_processor_heartbeat": None},
        "triggerer": {"status": None},
    }
    assert client(Server(health=parts)).ailing() == {
        "scheduler": "does not answer since 12:03:04 UTC",
        "dag-processor": "does not answer",
    }
    assert client(Server(health={})).ailing() == {"api-server": "does not answer"}


# Bootstrap


def test_pools_come_first_and_consumers_before_what_feeds_them() -> None:
    wanted = [dag_id for ids in expected_dags().values() for dag_id in ids]
    server = Server(dict.fromkeys(wanted, True))
    open_dags(client(server), Patience(1))
    # What a schedule starts waits for somebody who asks for the dataset.
    paused = {dag_id for dag_id, paused in server.dags.items() if paused}
    assert paused == {dag_id for family in SCHEDULED for dag_id in expected_dags()[family]}
    assert server.calls[0] == ("PATCH", "/pools")
    assert {"name", "slots", "include_deferred"} <= set(server.pools[0])
    assert FAMILIES.index("to_postgres") < FAMILIES.index("to_lake")


def test_every_dataset_has_the_dags_that_its_entry_asks_for() -> None:
    families = expected_dags()
    assert {name.removesuffix("_to_lake") for name in families["to_lake"]} == set(DATASETS)
    tabular = {name for name, entry in DATASETS.items() if entry.tabular}
    assert {name.removesuffix("_to_warehouse") for name in families["to_warehouse"]} == tabular
    by_period = {name for name in tabular if DATASETS[name].every}
    assert {name.removesuffix("_bulk_load") for name in families["bulk_load"]} == by_period


def test_a_new_datasets_dags_are_unpaused_and_no_others() -> None:
    server = Server(dict.fromkeys((dag_id for ids in expected_dags().values() for dag_id in ids), True))
    open_datasets(client(server), ["zones"], Patience(1))
    assert "publish_zones" in {pool["name"] for pool in server.pools}
    assert {name for name, paused in server.dags.items() if not paused} == {
        "zones_source_check", "zones_to_lake", "zones_to_postgres", "zones_to_warehouse",
    }  # fmt: skip
    with pytest.raises(TaxiwayError, match="yellow_to_lake"):
        open_datasets(client(Server()), ["yellow"], Patience(0))


@pytest.mark.parametrize("name", ["yellow", "zones"])
def test_a_dag_that_is_older_than_its_entrys_marts_is_awaited(name: str) -> None:
    dags = dict.fromkeys((dag_id for ids in expected_dags().values() for dag_id in ids), False)
    server = Server(dags, behind=1)
    open_datasets(client(server), [name], Patience(5))
    assert server.calls.count(("GET", f"/dags/{name}_to_warehouse/tasks")) == 2
    with pytest.raises(TaxiwayError, match=f"has not read what was edited of: {name}"):
        open_datasets(client(Server(dags, behind=9)), [name], Patience(0))


def test_dags_that_do_not_appear_are_named_with_what_airflow_says_of_its_files() -> None:
    with pytest.raises(TaxiwayError, match=r"yellow_to_lake.*to_lake\.py: NameError: x"):
        open_dags(client(Server()), Patience(0))


def test_a_dag_that_is_not_there_is_reported_with_the_file_that_does_not_import() -> None:
    with pytest.raises(TaxiwayError, match=r"no DAG yellow_to_lake: to_lake\.py: NameError: x"):
        client(Server()).trigger("yellow_to_lake", "2024-01", {})


def test_a_run_is_called_by_its_period_and_each_otherwise() -> None:
    server = Server(dags={"yellow_to_lake": False})
    for partition in ("2024-01", "2024-01", None):
        client(server).trigger("yellow_to_lake", partition, {})
    first, second, whole = (body.get("dag_run_id") for body in server.triggered)
    assert first.startswith("2024-01__")
    assert second.startswith("2024-01__")
    assert (first != second, whole) == (True, None)
    # What Airflow lets one be called.
    assert re.fullmatch(r"[A-Za-z0-9_.~:+-]+", first)
