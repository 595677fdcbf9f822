"""All stages of a month over Airflow's connections: providers' hooks, emulated cloud, a real Postgres."""

from __future__ import annotations

import pytest
import taxi
from emulators import Emulators
from faulty_source import FaultySource
from in_a_task import context, execute

import stacks
from elt.orchestration.operators import SourceCheckOperator, StageOperator
from elt.stages import STAGES

pytestmark = [pytest.mark.emulators, pytest.mark.filterwarnings("ignore")]
MONTH = "2024-01"


def test_every_stage_runs_over_airflows_connections(
    emulators: Emulators,
    faulty_source: FaultySource,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = taxi.YELLOW.format(MONTH)
    faulty_source.serve(taxi.ZONES, taxi.ZONES_CSV)
    faulty_source.serve(path, taxi.parquet(taxi.trips(MONTH, 50)))
    with stacks.postgres_running(tmp_path_factory.mktemp("postgres")) as server:
        stack = stacks.new_stack(emulators, faulty_source.url).with_postgres(stacks.new_database(server))
        google = '{"conn_type": "google_cloud_platform", "extra": {"project": "%s", "is_anonymous": true}}'
        variables = {"AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT": google % emulators.project, **stack.variables}
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        given = context(MONTH)
        rows = {
            stage: execute(StageOperator(dataset="yellow", stage=stage), given).get("rows")
            for stage in STAGES
        }
        assert rows == {**dict.fromkeys(STAGES, 50), "download": None, "mart": None}
        assert "taxiway-mart-yellow-2024-01" in given["ti"].pushed["bigquery_job_detail"]

        check = SourceCheckOperator(dataset="yellow")
        assert execute(check, context(None)) == []
        faulty_source.serve(path, taxi.parquet(taxi.trips(MONTH, 60)))
        assert execute(check, context(None)) == [MONTH]
