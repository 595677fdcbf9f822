"""Read by every Airflow process at its start.

TAXIWAY_QUEUES_BY_POOL: every task's queue follows from its pool. Workers have to serve those queues.
TAXIWAY_PRELOAD: import what tasks will import, before the executor forks its workers.
TAXIWAY_SAME_RELEASE: tasks and API server are of the same release, or of the one before.
BIGQUERY_EMULATOR_HOST: make the two code paths of Airflow's Google provider that ignore it follow it.
"""

import gc
import importlib
import os
from typing import Any

# Python looks for garbage after every 700 new objects. The half million of Airflow's imports are none.
gc.set_threshold(10_000, 20, 20)

# Not the project's own modules: an edited one must not wait for a restart.
PRELOADED = (
    "airflow.providers.standard.decorators.python",
    "airflow.sdk.bases.sensor",
    "airflow.sdk.execution_time.request_handlers",
    "airflow.sdk.execution_time.schema.migrator",
    "airflow.sdk.execution_time.supervisor",
    "airflow.sdk.execution_time.task_runner",
    "google.cloud.storage",
    "pyarrow.compute",
    "pyarrow.csv",
    "pyarrow.parquet",
    "requests",
)


def task_policy(task: Any) -> None:
    """Called by Airflow for each task that is parsed. A queue that a DAG names itself stays."""
    if not os.environ.get("TAXIWAY_QUEUES_BY_POOL"):
        return
    from elt.orchestration.queues import DEFAULT, queue_of

    if task.queue == DEFAULT:
        task.queue = queue_of(task.pool)


def _preload() -> None:
    for module in PRELOADED:
        importlib.import_module(module)


def _know_two_releases() -> None:
    """Leave out what the task API was before the last release but one: two thirds of what it takes to build.

    Airflow builds every route anew for each of its nine versions, at the first request, in six seconds.
    """
    import wrapt

    @wrapt.when_imported("cadwyn.structure.versions")
    def _versions(module: Any) -> None:
        @wrapt.patch_function_wrapper(module, "VersionBundle.__init__")
        def bundle(wrapped, _instance, args, kwargs):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
            head, *versions = args
            if len(versions) > 2:
                # What the oldest one changed would lead to one that is not there.
                versions[2:] = [module.Version(versions[2].value)]
            return wrapped(head, *versions, **kwargs)


def _follow_emulator(host: str) -> None:
    """Patch lazily, when the provider's modules are imported: this file must stay cheap."""
    import wrapt

    @wrapt.when_imported("googleapiclient.discovery")
    def _discovery(module: object) -> None:
        @wrapt.patch_function_wrapper(module, "build")
        def build(wrapped, _instance, args, kwargs):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
            service = args[0] if args else kwargs.get("serviceName")
            if service == "bigquery" and not getattr(kwargs.get("client_options"), "api_endpoint", None):
                kwargs["client_options"] = {"api_endpoint": f"{host}/bigquery/v2/"}
            return wrapped(*args, **kwargs)

    @wrapt.when_imported("gcloud.aio.bigquery.bigquery")
    def _aio(module: object) -> None:
        # It writes http:// in front of a variable that has a scheme already.
        @wrapt.patch_function_wrapper(module, "init_api_root")
        def init_api_root(wrapped, _instance, args, kwargs):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
            api_root = args[0] if args else kwargs.pop("api_root", None)
            return wrapped(api_root or f"{host}/bigquery/v2", *args[1:], **kwargs)


if os.environ.get("TAXIWAY_PRELOAD"):
    _preload()
if os.environ.get("TAXIWAY_SAME_RELEASE"):
    _know_two_releases()
if _host := os.environ.get("BIGQUERY_EMULATOR_HOST"):
    _follow_emulator(_host)
