"""Read by every Airflow process at its start. Without these variables it does nothing but silence a warning.

TAXIWAY_QUEUES_BY_POOL: a task's queue follows from its pool. Workers have to serve those queues.
TAXIWAY_PRELOAD: import what forks will import, before they fork: `dags` in the DAG processor, `tasks` in the
scheduler of LocalExecutor, in Celery workers and in the triggerer.
TAXIWAY_SAME_RELEASE: tasks and API server are of this lock, of the same release or of the one before. The API
server builds less, and later.
BIGQUERY_EMULATOR_HOST: make the two code paths of Airflow's Google provider that ignore it follow it.
"""

import gc
import importlib
import os
import warnings
from typing import Any

# What DAG files import. Not the project's own modules, here and below: an edited one must not wait for a
# restart.
DAGS = (
    "airflow.providers.standard.decorators.python",
    "airflow.sdk.bases.operatorlink",
    "airflow.sdk.bases.sensor",
    "airflow.sdk.bases.xcom",
    "airflow.sdk.definitions.retry_policy",
    "airflow.sdk.definitions.timetables.interval",
    "airflow.sdk.definitions.timetables.trigger",
    "airflow.serialization.definitions.assets",
)
# What tasks and triggers import: the provider's BigQuery hook alone costs a second and 70 MB a process.
TASKS = (
    *DAGS,
    "airflow.providers.google.cloud.hooks.bigquery",
    "airflow.providers.google.cloud.hooks.gcs",
    "airflow.providers.google.cloud.links.bigquery",
    "airflow.providers.google.cloud.triggers.bigquery",
    "airflow.providers.postgres.hooks.postgres",
    "airflow.sdk.execution_time.cache",
    "airflow.sdk.execution_time.request_handlers",
    "airflow.sdk.execution_time.schema.migrator",
    "airflow.sdk.execution_time.supervisor",
    "airflow.sdk.execution_time.task_runner",
    "google.cloud.storage",
    "psycopg",
    "pyarrow.compute",
    "pyarrow.csv",
    "pyarrow.json",
    "pyarrow.parquet",
    "requests",
)

# `airflow dags list -o json` writes it to standard output, before the JSON.
warnings.filterwarnings("ignore", "Could not import graphviz")


def task_policy(task: Any) -> None:
    """Called by Airflow for each task that is parsed. A queue that a DAG names itself stays."""
    if not os.environ.get("TAXIWAY_QUEUES_BY_POOL"):
        return
    from elt.orchestration.pools import DEFAULT_QUEUE, queue_of

    if task.queue == DEFAULT_QUEUE:
        task.queue = queue_of(task.pool)


def _know_two_releases() -> None:
    """Leave out what the task API was before the last release but one.

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


def _analyse_routes_when_asked() -> None:
    """Let FastAPI analyse an endpoint at its first request.

    It does so when a router gets it, and again for each router that includes that one. Airflow's API server
    has 300 endpoints in three layers: 3.4 CPU seconds of its start and 48 MB.
    """
    import wrapt

    @wrapt.when_imported("fastapi.routing")
    def _routing(module: Any) -> None:
        from fastapi.dependencies.models import Dependant

        route, whole = module.APIRoute, module.APIRoute.__init__
        later = (
            "dependant", "_flat_dependant", "_embed_body_fields", "body_field", "response_field",
            "response_fields", "stream_item_field", "is_sse_stream", "is_json_stream", "app",
        )  # fmt: skip
        skipping = False

        def skippable(analyse: Any, stand_in: Any) -> Any:
            return lambda *args, **kwargs: (stand_in if skipping else analyse)(*args, **kwargs)

        module.get_dependant = skippable(module.get_dependant, lambda call, **_: Dependant(call=call))
        module.get_parameterless_sub_dependant = skippable(
            module.get_parameterless_sub_dependant, lambda **_: Dependant()
        )
        module.create_model_field = skippable(module.create_model_field, lambda **_: None)

        @wrapt.patch_function_wrapper(module, "APIRoute.__init__")
        def init(wrapped, instance, args, kwargs):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
            nonlocal skipping
            skipping = type(instance) is route
            try:
                wrapped(*args, **kwargs)
                if skipping:
                    for name in later:
                        del vars(instance)[name]
                    vars(instance)["_asked"] = args, kwargs
            finally:
                skipping = False

        def analyse(self: Any, name: str) -> Any:
            if name not in later or "_asked" not in vars(self):
                raise AttributeError(name)
            args, kwargs = vars(self).pop("_asked")
            full = object.__new__(route)
            whole(full, *args, **kwargs)
            # What was set since it was made stays.
            vars(self).update({**vars(full), **vars(self)})
            return vars(self)[name]

        route.__getattr__ = analyse


def _follow_emulator(host: str) -> None:
    """Patch two libraries of the provider, when they are imported: this file must stay cheap.

    The stages need neither: the hooks' own clients follow the variable. BigQueryCheckOperator and its kind
    need the first, their deferrable form the second.
    """
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

        # It sends an emulator no token, not even the one that the connection's credential file holds. Real
        # credentials hold none before they are refreshed, which nobody does here.
        @wrapt.patch_function_wrapper(module, "BigqueryBase.headers")
        async def headers(wrapped, instance, args, kwargs):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
            found = await wrapped(*args, **kwargs)
            token = getattr(getattr(instance.token, "credentials", None), "token", None)
            return {**found, "Authorization": f"Bearer {token}"} if token else found


# Patches first: what is preloaded takes functions out of the modules that they patch.
if os.environ.get("TAXIWAY_SAME_RELEASE"):
    _know_two_releases()
    _analyse_routes_when_asked()
if _host := os.environ.get("BIGQUERY_EMULATOR_HOST"):
    _follow_emulator(_host)
if _what := os.environ.get("TAXIWAY_PRELOAD"):
    # Safe before a fork: OpenBLAS and Arrow's jemalloc, the only ones that start a thread when they are
    # imported, look after it in the child, and gRPC starts nothing before its first call.
    # Python looks for garbage after every 700 new objects. The half million of these imports are none.
    gc.set_threshold(10_000, 20, 20)
    for _module in DAGS if _what == "dags" else TASKS:
        importlib.import_module(_module)
