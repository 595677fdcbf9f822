"""DAGs over the product's operators whose BigQuery jobs take as long as the tests' fake says."""

from datetime import timedelta

from airflow.sdk import DAG

from elt.catalogue.registry import DATASETS
from elt.orchestration.dag_defaults import lake_defaults, lake_schedule
from elt.orchestration.operators import PublishedSensor, StageOperator

# With keys, but without a tick: TAXI_SCHEDULE_START is not set.
MONTHLY = {"schedule": lake_schedule(DATASETS["yellow"]), **lake_defaults(DATASETS["yellow"])}
# Deferred as soon as the scheduler has seen that the task runs.
SOON = {"dataset": "yellow", "stage": "publish", "patience": 1.0, "poll_interval": 5.0}
MONTHS = [f"{2010 + n // 12}-{n % 12 + 1:02}" for n in range(500)]

with DAG("publish", **MONTHLY):
    StageOperator(**SOON)

with DAG("patient", **MONTHLY):
    StageOperator(**{**SOON, "patience": 600.0, "retry_delay": timedelta(seconds=1)})

with DAG("serial", max_active_runs=16, **MONTHLY):
    StageOperator(**SOON, pool="publish_yellow")

for count in (6, 500):
    with DAG(f"publish_{count}", max_active_tasks=1000, **MONTHLY) as dag:
        many = {name: value for name, value in SOON.items() if name != "stage"}
        StageOperator.partial(task_id="publish", stage="publish", **many).expand(period=MONTHS[:count])
    globals()[dag.dag_id] = dag

with DAG("wait", **MONTHLY):
    PublishedSensor(task_id="wait_until_published", dataset="yellow")
