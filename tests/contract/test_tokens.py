"""Every way to a token of Google's, and whatever goes wrong on it, for commands and for Airflow's tasks.

The hosts are tests/support/google_hosts.py; on top are Google's libraries and Airflow's hooks as they are.
What a task does about an error is Airflow's to do: `attempts` follows the rule that every task has.
"""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import RetryAction
from fake_http import Answer
from fakes import FakeClock
from google.api_core.retry import retry_unary
from google.auth import _exponential_backoff
from google_hosts import GONE, HTML, IAM, OAUTH, RESET, GoogleHosts
from google_hosts import MODES as OF_GOOGLE
from served import SECRET, served

from elt.connections import Connections, EnvironmentConnections
from elt.errors import AccessDeniedError, PermanentError, PipelineError, TransientError
from elt.orchestration.connections import AirflowConnections
from elt.orchestration.dag_defaults import TASKS, RetryTransientErrors
from elt.settings import Settings
from stacks import free_port

STACK = {"GCP_PROJECT_ID": "p", "GCP_GCS_BUCKET": "b", "BIGQUERY_DATASET": "d", "GCP_LOCATION": "EU"}
PAGE = Answer(502, HTML, {"Content-Type": "text/html"})
# One after the other, as often as Google's own libraries ask: most of them ask once.
PASSING = ([429, 500, RESET], [503, 503, 503], [PAGE, 408, 504])
# How tasks impersonate: the token server has what the mode `impersonation` has, and they have that server.
MODES = {**OF_GOOGLE, "served": (OAUTH, IAM)}
HOPS = [(mode, host) for mode, hosts in MODES.items() for host in hosts]
WHO = ("commands", "tasks")


@pytest.fixture
def clock(monkeypatch) -> FakeClock:
    """What Google's libraries pause by: nobody waits really."""
    clock = FakeClock()
    monkeypatch.setattr(_exponential_backoff, "time", clock)
    monkeypatch.setattr(retry_unary, "time", clock)
    return clock


@pytest.fixture
def google(monkeypatch, tmp_path, clock):
    with GoogleHosts() as google:
        for name, value in google.variables(tmp_path).items():
            monkeypatch.setenv(name, value)
        yield google


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[Path]:
    """A token server; returns its clients' credential file. It finds the test's Google as its clients do."""
    folder = tmp_path_factory.mktemp("server")
    _, own = GoogleHosts().credentials("impersonation", folder)
    with served(*map(Path, own.values()), folder) as file:
        yield file


@pytest.fixture
def connect(monkeypatch, google, server, tmp_path) -> Callable[[str, str], Connections]:
    """Connections as `who` has them, by the credentials of a mode."""

    def make(who: str, mode: str) -> Connections:
        extra, variables = google.credentials("impersonation" if mode == "served" else mode, tmp_path)
        if mode == "served":
            (file,) = variables.values()
            Path(file).write_text(server.read_text())
        fields = {"conn_type": "google_cloud_platform", "extra": {"project": "p", **extra}}
        variables |= {"AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT": json.dumps(fields)}
        if who == "commands":
            return EnvironmentConnections({**STACK, **variables})
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        return AirflowConnections(Settings.from_environment(STACK))

    return make


def use(connections: Connections) -> None:
    """What every stage begins with."""
    with connections.lake() as lake, connections.warehouse() as warehouse:
        assert lake.find("raw/x") is None
        assert warehouse.query("SELECT 1 AS n", {}, {}) == [{"n": 1}]


def attempts(act: Callable[[], None], clock: FakeClock) -> list[PipelineError]:
    """The errors that a task retries until it succeeds; raises the one that it fails with."""
    errors: list[PipelineError] = []
    while True:
        try:
            act()
        except PipelineError as error:
            errors.append(error)
            decision = RetryTransientErrors().evaluate(error, len(errors), TASKS["retries"])
            if decision.action is RetryAction.FAIL or len(errors) > TASKS["retries"]:
                raise
            clock.sleep((decision.retry_delay or TASKS["retry_delay"]).total_seconds())
        else:
            return errors


def sentence(error: Exception) -> str:
    text = str(error)
    assert 1 <= len(text.splitlines()) <= 3
    assert len(text) < 600
    assert "Traceback" not in text
    return text


@pytest.mark.parametrize("who", WHO)
@pytest.mark.parametrize("mode", MODES)
def test_every_mode_gets_to_lake_and_warehouse(connect, google, who, mode):
    use(connect(who, mode))
    assert google.minted >= len(MODES[mode])
    assert {host for host, _ in google.asked} >= set(MODES[mode])


@pytest.mark.parametrize("who", WHO)
@pytest.mark.parametrize(("mode", "host"), HOPS)
def test_a_host_that_has_trouble_of_its_own_is_asked_again(connect, google, clock, who, mode, host):
    for faults in PASSING:
        google.faults[host] = list(faults)
        errors = attempts(lambda: use(connect(who, mode)), clock)
        assert google.faults[host] == []
        assert all(type(error) is TransientError and sentence(error) for error in errors), (faults, errors)


@pytest.mark.parametrize("who", WHO)
@pytest.mark.parametrize("mode", [mode for mode, hosts in MODES.items() if IAM in hosts])
def test_a_grant_that_takes_seven_minutes_is_waited_for(connect, google, clock, who, mode):
    google.granted = lambda: clock.now >= 7 * 60
    errors = attempts(lambda: use(connect(who, mode)), clock)
    assert errors
    assert {type(error) for error in errors} == {AccessDeniedError}
    assert "'iam.serviceAccounts.getAccessToken' denied" in sentence(errors[0])
    assert clock.now < 10 * 60


@pytest.mark.parametrize("who", WHO)
@pytest.mark.parametrize(("mode", "host"), HOPS)
def test_a_credential_that_is_none_any_more_fails_at_once_in_a_sentence(connect, google, who, mode, host):
    status, body = GONE[host]
    google.faults[host] = [Answer(status, body)] * 20
    with pytest.raises(PermanentError) as failure:
        use(connect(who, mode))
    sentence(failure.value)
    assert len(google.faults[host]) >= 15, "it was not asked over and over"


@pytest.mark.parametrize("who", WHO)
def test_a_platform_that_has_put_no_token_there_is_a_sentence_too(connect, tmp_path, who):
    def without_token() -> Any:
        connections = connect(who, "workload")
        (tmp_path / "token").unlink()
        use(connections)

    with pytest.raises(PermanentError, match="token' was not found") as failure:
        without_token()
    sentence(failure.value)


@pytest.mark.parametrize("who", WHO)
@pytest.mark.parametrize("mode", MODES)
def test_tokens_that_expire_on_the_way_are_renewed(connect, google, who, mode):
    """By the clock, and before their time, as where an account was disabled for a while."""
    for google.life, google.uses in ((1, {}), (3600, {MODES[mode][-1]: 1})):
        with connect(who, mode).lake() as lake:
            before = google.minted
            for _ in range(3):
                assert lake.find("raw/x") is None
            assert google.minted >= before + 2


@pytest.mark.parametrize("who", WHO)
@pytest.mark.parametrize("mode", [mode for mode, hosts in MODES.items() if len(hosts) > 1])
def test_an_account_is_impersonated_anew_where_the_token_for_that_was_refused(
    connect, google, clock, who, mode
):
    google.faults[IAM] = [401]
    assert [type(error) for error in attempts(lambda: use(connect(who, mode)), clock)] == [TransientError]


@pytest.mark.parametrize("who", WHO)
@pytest.mark.parametrize("mode", ["impersonation", "workload", "key", "metadata", "served"])
def test_nobody_elses_project_is_named_for_the_quota(connect, google, who, mode):
    use(connect(who, mode))
    assert google.quota_projects <= {None, "p"}


@pytest.mark.parametrize("who", WHO)
def test_a_token_server_that_is_not_there_is_asked_again(connect, google, tmp_path, who):
    """While it is started anew, say."""
    connections = connect(who, "served")
    file = tmp_path / "impersonation.json"
    file.write_text(re.sub(r"(http://127.0.0.1):\d+", rf"\1:{free_port()}", file.read_text()))
    with pytest.raises(TransientError, match="Connection refused") as failure:
        use(connections)
    assert SECRET not in sentence(failure.value)


@pytest.mark.parametrize("who", WHO)
def test_a_task_without_the_secret_gets_no_token_and_is_told_why(connect, google, server, tmp_path, who):
    connections = connect(who, "served")
    file, guess = tmp_path / "impersonation.json", tmp_path / "guess"
    file.write_text(file.read_text().replace(str(server.with_name("secret")), str(guess)))
    guess.write_text("guessed")
    with pytest.raises(PermanentError, match="not the secret of this environment's token server") as failure:
        use(connections)
    assert "guessed" not in sentence(failure.value)
    assert google.minted == 0


@pytest.mark.parametrize("who", WHO)
def test_whose_sign_in_has_ended_is_told_what_to_do(connect, google, who):
    google.faults[OAUTH] = [Answer(*GONE[OAUTH])] * 20
    with pytest.raises(PermanentError, match="expired or revoked") as failure:
        use(connect(who, "served"))
    assert "gcloud auth application-default login, then scripts/up" in sentence(failure.value)
