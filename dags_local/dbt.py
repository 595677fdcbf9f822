"""`<project>_dbt`: the models of a package's dbt project, after tables that they read have changed."""

from airflow.sdk import DAG

from elt.orchestration.dag_defaults import dag_defaults
from elt.orchestration.dbt import COMMAND, DbtOperator, DbtProject

DOC = """
### The dbt project {name}

**build** runs `scripts/dbt build`: seeds, models, snapshots and tests of `{folder}`, in the warehouse.

It reads {tables}, and begins when a period was published to one of them. While periods arrive faster than
dbt works, all runs but the last are *skipped*. It is paused at first; the first run installs dbt (450 MB)
unless `scripts/dbt` has done so.
"""


def build(project: DbtProject) -> DAG:
    """The DAG of one project."""
    with DAG(
        f"{project.name}_dbt",
        schedule=project.schedule(),
        max_active_runs=1,
        is_paused_upon_creation=True,
        doc_md=DOC.format(
            name=project.name,
            folder=f"plugins/{project.folder.parent.name}/dbt",
            tables=", ".join(f"`{asset.name}`" for asset in project.inlets()) or "none of the catalogue's",
        ),
        tags=["warehouse", "dbt"],
        **dag_defaults(),
    ) as dag:
        DbtOperator(project=project, task_id="build")
    return dag


for each in DbtProject.of_packages() if COMMAND.exists() else ():
    globals()[f"{each.name}_dbt"] = build(each)
