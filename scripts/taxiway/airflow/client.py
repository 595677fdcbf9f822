"""Airflow's REST API, as much of it as the commands need."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import requests

from taxiway.errors import TaxiwayError

# A server beside a busy scheduler is slow before it is broken.
SECONDS = 30
# More than `[api] maximum_page_limit` allows is cut by the server, so every listing counts what it got.
PAGE = 1000


class AirflowDownError(TaxiwayError):
    """The server does not answer, or only that something behind it does not: it may the next time."""


class NotFoundError(TaxiwayError):
    """What was asked about is not there."""


@dataclass
class AirflowApi:
    """A client of the server at `url`; signs in at the first call and again when its token has run out.

    The password is sent only if `trusted` says that the server there is known.
    """

    url: str
    password: str = field(repr=False)
    user: str = "admin"
    session: requests.Session = field(default_factory=requests.Session, repr=False)
    trusted: Callable[[], bool] = lambda: True

    def __post_init__(self) -> None:
        self.session.trust_env = False  # a proxy of the user's must not come between us and the loopback

    def dags(self) -> dict[str, bool]:
        """Whether paused, by DAG id, for each DAG that Airflow has parsed."""
        found: dict[str, bool] = {}
        while True:
            page = {"limit": PAGE, "offset": len(found), "exclude_stale": True, "order_by": "dag_id"}
            answer = self._call("GET", "/dags", params=page)
            found |= {dag["dag_id"]: dag["is_paused"] for dag in answer["dags"]}
            if not answer["dags"] or len(found) >= answer["total_entries"]:
                return found

    def tasks(self, dag_id: str) -> set[str]:
        """The tasks of a DAG as it was parsed last."""
        return {task["task_id"] for task in self._call("GET", f"/dags/{dag_id}/tasks")["tasks"]}

    def import_errors(self) -> list[str]:
        """`file: last line of the error` of each DAG file that does not import."""
        listed = self._call("GET", "/importErrors", params={"limit": PAGE})["import_errors"]
        return [f"{e['filename']}: {e['stack_trace'].strip().splitlines()[-1]}" for e in listed]

    def unpause(self, dag_id: str) -> None:
        """Let the scheduler run the DAG."""
        self._call("PATCH", f"/dags/{dag_id}", json={"is_paused": False})

    def unpause_family(self, suffix: str) -> None:
        """Unpause all DAGs whose ids end with `suffix`, a page of them in one request."""
        which = {"dag_id_pattern": f"%{suffix}", "exclude_stale": True, "paused": True, "limit": PAGE}
        while True:
            # What a request has unpaused the next one no longer finds.
            answer = self._call("PATCH", "/dags", params=which, json={"is_paused": False})
            if not answer["dags"] or len(answer["dags"]) >= answer["total_entries"]:
                return

    def create_pools(self, pools: Sequence[Mapping[str, Any]]) -> None:
        """Create the pools that are missing; those that exist keep the size a user gave them.

        Each is as Airflow's API wants it: `name`, `slots`, `include_deferred`.
        """
        create = {"action": "create", "action_on_existence": "skip", "entities": list(pools)}
        done = self._call("PATCH", "/pools", json={"actions": [create]})
        if errors := done["create"]["errors"]:
            raise TaxiwayError(f"Airflow did not create the pools: {errors}")

    def connection(self, name: str) -> dict[str, Any] | None:
        """A connection that Airflow stores, its secrets masked; None if there is none of that name."""
        # By a list, in which a missing one is no error.
        listed = self._call("GET", "/connections", params={"connection_id_pattern": name, "limit": PAGE})
        found = (c for c in listed["connections"] if c["connection_id"] == name)
        return next(found, None)

    def set_connection(self, name: str, password: str, *, replace: bool) -> None:
        """Keep a secret as a connection's password; Airflow encrypts it and shows it to nobody again."""
        body = {"connection_id": name, "conn_type": "generic", "password": password}
        method, path = ("PATCH", f"/connections/{name}") if replace else ("POST", "/connections")
        self._call(method, path, json=body)

    def delete_connection(self, name: str) -> None:
        """Remove a connection."""
        self._call("DELETE", f"/connections/{name}")

    def trigger(self, dag_id: str, partition: str | None, conf: Mapping[str, Any]) -> dict[str, Any]:
        """Start a run, for a partition key if the DAG has any; returns the run as Airflow describes it.

        It is called by its partition: the UI lists runs by their names.
        """
        # Airflow wants the logical date said to be none: else it takes today for one.
        body = {"logical_date": None, "partition_key": partition, "conf": dict(conf)}
        if partition:
            # Airflow allows a name no two dots, which a range has.
            body["dag_run_id"] = f"{partition.replace('..', '_to_')}__{datetime.now(UTC).isoformat()}"
        try:
            run: dict[str, Any] = self._call("POST", f"/dags/{dag_id}/dagRuns", json=body)
        except NotFoundError:
            # Its file is broken, most likely: that says more than that it is not there.
            broken = self.import_errors()
            raise TaxiwayError(
                f"Airflow has no DAG {dag_id}" + (f": {broken[0]}" if broken else ""),
                "Mend the file; Airflow reads it again by itself." if broken else "See scripts/doctor",
            ) from None
        return run

    def runs(self, dag_ids: list[str], **criteria: Any) -> list[dict[str, Any]]:
        """Runs of some DAGs in the order in which they started; `criteria` as in Airflow's batch request."""
        criteria |= {"dag_ids": dag_ids, "order_by": "start_date"}
        return self._pages("/dags/~/dagRuns/list", "dag_runs", criteria)

    def task_instances(self, dag_ids: list[str], run_ids: list[str]) -> list[dict[str, Any]]:
        """Task instances of some runs of some DAGs."""
        criteria = {"dag_ids": dag_ids, "dag_run_ids": run_ids}
        return self._pages("/dags/~/dagRuns/~/taskInstances/list", "task_instances", criteria)

    def failure(self, dag_id: str, run_id: str, task_id: str, attempt: int) -> str:
        """The message of the exception that ended a task's attempt; empty if its log has none."""
        path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/logs/{attempt}"
        content: list[Any] = self._call("GET", path, params={"full_content": True})["content"]
        details = [e["error_detail"] for e in content if isinstance(e, dict) and e.get("error_detail")]
        # The last error of the log, and of its chain of causes the one that left the task.
        return str(details[-1][0]["exc_value"]) if details else ""

    def healthy(self) -> dict[str, bool]:
        """Whether each of Airflow's components reports healthy; empty while the server does not answer."""
        return {name: part.get("status") == "healthy" for name, part in self._health().items()}

    def ailing(self) -> dict[str, str]:
        """A sentence by component that does not answer; the server alone if it is the one."""
        found, parts = dict[str, str](), self._health()
        for name, part in parts.items():
            if part.get("status") == "unhealthy":
                beat = part.get(f"latest_{name}_heartbeat")
                since = f" since {beat[11:19]} UTC" if beat else ""
                found[name.replace("_", "-")] = f"does not answer{since}"
        return found if parts else {"api-server": "does not answer"}

    def _health(self) -> dict[str, Any]:
        try:
            answer: dict[str, Any] = self.session.get(f"{self.url}/api/v2/monitor/health", timeout=5).json()
        except (requests.RequestException, ValueError):
            return {}
        return answer

    def _pages(self, path: str, key: str, criteria: Mapping[str, Any]) -> list[dict[str, Any]]:
        listed: list[dict[str, Any]] = []
        while True:
            page = {"page_limit": PAGE, "page_offset": len(listed)}
            answer = self._call("POST", path, json={**criteria, **page})
            listed += answer[key]
            if not answer[key] or len(listed) >= answer["total_entries"]:
                return listed

    def _call(self, method: str, path: str, **options: Any) -> Any:
        try:
            response = self._request(method, path, **options)
            # At first there is no token, and years of months outlast the one there is.
            if response.status_code == requests.codes.unauthorized:
                self._sign_in()
                response = self._request(method, path, **options)
        except requests.RequestException as error:
            # Whoever listens the next time is somebody else, until it was checked.
            self.session.headers.pop("Authorization", None)
            raise AirflowDownError(
                f"Airflow at {self.url} does not answer ({type(error).__name__})",
                "See scripts/logs api-server",
            ) from None
        if not response.ok:
            # Without its database the server answers 500.
            kind: type[TaxiwayError] = TaxiwayError
            if response.status_code == requests.codes.not_found:
                kind = NotFoundError
            elif response.status_code >= requests.codes.server_error:
                kind = AirflowDownError
            raise kind(f"Airflow rejected {method} {path}: {response.status_code} {_detail(response)}")
        return response.json() if response.content else None

    def _request(self, method: str, path: str, **options: Any) -> requests.Response:
        return self.session.request(method, f"{self.url}/api/v2{path}", timeout=SECONDS, **options)

    def _sign_in(self) -> None:
        if not self.trusted():
            raise AirflowDownError(
                f"{self.url} is not served by this environment: the password is not sent there",
                "Stop what listens there, or start the platform: scripts/up",
            )
        body = {"username": self.user, "password": self.password}
        answer = self.session.post(f"{self.url}/auth/token", json=body, timeout=SECONDS)
        if answer.status_code >= requests.codes.server_error:
            raise AirflowDownError(f"Airflow at {self.url} signs nobody in: {answer.status_code}")
        if not answer.ok:
            raise TaxiwayError(
                f"Airflow at {self.url} does not accept the password of {self.user!r}",
                "Call scripts/down, then scripts/up: a new environment gets a new password.",
            )
        self.session.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"


def _detail(response: requests.Response) -> str:
    """What an answer says went wrong: the API's own sentence, or the beginning of whatever it is."""
    try:
        found = response.json()["detail"]
    except (ValueError, KeyError, TypeError):
        return response.text[:300]
    return str(found.get("reason", found) if isinstance(found, dict) else found)[:300]
