"""The operators of all DAGs: one stage of the pipeline, the wait for a publication, the check of a source."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from airflow.sdk import Asset, BaseOperator, BaseOperatorLink, BaseSensorOperator, BaseXCom
from airflow.sdk.exceptions import AirflowSkipException, TaskDeferralError, TaskDeferralTimeout

from elt.catalogue import Api, Database, Dataset, registry
from elt.connections import GOOGLE, Connections, source_connection
from elt.errors import InvalidPeriodError, JobRunningError, PermanentError, TransientError, UsageError
from elt.orchestration import alerts
from elt.orchestration.dag_defaults import EXECUTION_TIMEOUTS, TRIGGER_GRACE, patience
from elt.periods import Partition, Period, Span
from elt.settings import Settings
from elt.stage_request import StageRequest
from elt.stages import run

# Stages that are BigQuery jobs, each with a link to it.
JOB_STAGES = ("stage", "audit", "publish", "mart", "warehouse")


def period_of(dataset: Dataset, context: Mapping[str, Any]) -> Period | None:
    """The run's partition key as a period; None for a dataset without periods.

    InvalidPeriodError where the run of a dataset by periods has no key, or one that is no period.
    """
    if not dataset.every:
        return None
    key: str | None = context.get("partition_key") or getattr(context["dag_run"], "partition_key", None)
    if not key:
        raise InvalidPeriodError(
            f"this run has no partition key, so no period: trigger {context['dag'].dag_id} with one, "
            f"such as {dataset.first}"
        )
    return Period.parse(key)


def range_of(dataset: Dataset, context: Mapping[str, Any]) -> list[Period]:
    """The periods of a run whose partition key is a range; InvalidPeriodError where it is none."""
    if not dataset.every or not (key := context["dag_run"].partition_key):
        raise InvalidPeriodError(
            f"this run has no range of periods: trigger {context['dag'].dag_id} with a partition key, "
            f"such as {dataset.first}..{dataset.first}"
        )
    return list(Span.parse(key).periods(dataset.every))


def is_forced(context: Mapping[str, Any]) -> bool:
    """Whether the run was triggered with `{"force": true}`: its stages work even if their work is done."""
    return (context["dag_run"].conf or {}).get("force") is True


def requested_timeout(context: Mapping[str, Any]) -> float | None:
    """Seconds that the run's configuration gives a publication, if any; UsageError where they are none."""
    requested = (context["dag_run"].conf or {}).get("publication_timeout")
    if requested is None:
        return None
    try:
        seconds = float(requested)
    except (TypeError, ValueError):
        seconds = -1.0
    # A wait for NaN would never end, and a year is more than any publisher takes.
    if not 0 <= seconds <= 366 * 24 * 3600:
        raise UsageError(f"publication_timeout={requested!r} is no number of seconds. Write it like 3600.")
    return seconds


def follows_forced(context: Mapping[str, Any]) -> bool:
    """Whether one of the events that started the run comes from a forced run."""
    events = context.get("triggering_asset_events") or {}
    return any(event.extra.get("force") is True for asset in events for event in events[asset])


def announce(
    asset: Asset, result: Mapping[str, Any], context: Mapping[str, Any], period: Period | None
) -> None:
    """Attach a stage's counts to the event that tells consumers of `asset` about `period` of it."""
    event = context["outlet_events"][asset]
    event.extra.update(result, **({"force": True} if is_forced(context) else {}))
    if period:
        # A source check hands on periods that its own run does not have.
        event.add_partitions(str(period))


class JobLink(BaseOperatorLink):
    """The job in Google's console: the provider's `BigQueryJobDetailLink`, without its import at DAG parse.

    The task keeps the whole address as soon as it has submitted the job: it is there while the job runs.
    """

    name = "BigQuery Job Detail"
    xcom_key = "bigquery_job_detail"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:  # noqa: ARG002 - Airflow's signature
        """The address that the task has kept; empty before there is a job."""
        return BaseXCom.get_value(key=self.xcom_key, ti_key=ti_key) or ""

    @classmethod
    def keep(cls, context: Any, project: str, location: str, job_id: str) -> None:
        """Keep the address of a job."""
        from airflow.providers.google.cloud.links.base import BASE_LINK
        from airflow.providers.google.cloud.links.bigquery import BIGQUERY_JOB_DETAIL_LINK

        path = BIGQUERY_JOB_DETAIL_LINK.format(project_id=project, location=location, job_id=job_id)
        context["ti"].xcom_push(key=cls.xcom_key, value=BASE_LINK + path)


class StageOperator(BaseOperator):
    """Runs a stage (see `elt.stages`) for one period of `dataset`: `period`, or else the run's.

    A BigQuery job that takes longer than `patience` seconds is awaited by the triggerer, which looks every
    `poll_interval` seconds: the task holds no worker. Then the same stage runs again, finds its job by its id
    and goes on. A killed task does not cancel its job: the next try finds it, too.

    Returns the stage's counts, and hands them to the consumers of its outlets with the event.
    """

    template_fields: Sequence[str] = ("dataset", "stage", "period")
    ui_color = "#d5e8f7"

    def __init__(
        self,
        *,
        dataset: str,
        stage: str,
        period: str | None = None,
        patience: float = 10.0,
        poll_interval: float = 10.0,
        **kwargs: Any,
    ) -> None:
        defaults = {"task_id": stage, "execution_timeout": EXECUTION_TIMEOUTS[stage]}
        super().__init__(**{**defaults, **kwargs})
        self.dataset, self.stage, self.period = dataset, stage, period
        self.patience, self.poll_interval = patience, poll_interval
        self.operator_extra_links = (JobLink(),) if stage in JOB_STAGES else ()
        self._result: dict[str, Any] = {}

    def execute(self, context: Any) -> dict[str, Any]:
        """Run the stage. Permanent errors fail at once, transient ones are retried."""
        return self._run(context, started_at=dt.datetime.now(dt.UTC))

    def resume(self, context: Any, event: dict[str, Any], awaited: str, started_at: str) -> dict[str, Any]:
        """Run the stage again, now that its job `awaited` has ended.

        The trigger's word is only logged: it may also mean that BigQuery did not answer it. Whether the job
        did its work, and else why not, the stage sees for itself.
        """
        self.log.info("BigQuery job %s: %s", awaited, event.get("message") or event.get("status"))
        return self._run(context, started_at=dt.datetime.fromisoformat(started_at), awaited=awaited)

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Any) -> Any:
        """Airflow's entry after a deferral, also where the trigger has never fired."""
        try:
            return super().resume_execution(next_method, next_kwargs, context)
        except (TaskDeferralError, TaskDeferralTimeout) as error:
            # The next try finds the job and sees for itself.
            raise TransientError(f"the triggerer has not reported the job's end ({error}).") from None

    def connections(self, settings: Settings, context: Any) -> Connections:
        """How the stage reaches the outside: by Airflow's connections."""
        from elt.orchestration.connections import AirflowConnections

        def submitted(project: str, location: str, job_id: str) -> None:
            self.log.info("BigQuery job %s is submitted", job_id)
            JobLink.keep(context, project, location, job_id)

        return AirflowConnections(settings, self.patience, submitted)

    def get_openlineage_facets_on_complete(self, _: Any) -> Any:
        """Called by the OpenLineage provider, where it is on."""
        from elt.orchestration.assets import lineage
        from elt.orchestration.connections import AirflowConnections

        reached = AirflowConnections(Settings.from_environment())
        return lineage(self.inlets, self.outlets, self._result, reached)

    def _run(self, context: Any, started_at: dt.datetime, awaited: str | None = None) -> dict[str, Any]:
        dataset, settings = registry.dataset(self.dataset), Settings.from_environment()
        period = Period.parse(self.period) if self.period else period_of(dataset, context)
        # A run that follows a forced one need not download again what that one has just downloaded.
        force = is_forced(context) or (self.stage != "download" and follows_forced(context))
        request = StageRequest(
            dataset, period, context["run_id"], settings, force=force, started_at=started_at, awaited=awaited
        )
        try:
            result = run(self.stage, request, self.connections(settings, context))
        except JobRunningError as running:
            self._defer(running, request)
        self.log.info("%s %s: %s", self.stage, request.partition, result)
        for asset in self.outlets:
            announce(asset, result, context, period)
        self._result = result
        return result

    def _defer(self, running: JobRunningError, request: StageRequest) -> NoReturn:
        from elt.orchestration.triggers import JobTrigger

        self.log.info("%s The triggerer waits for it.", running)
        self.defer(
            trigger=JobTrigger(
                conn_id=GOOGLE,
                job_id=running.job_id,
                project_id=running.project,
                location=running.location,
                poll_interval=self.poll_interval,
            ),
            method_name="resume",
            # The same instant again: what a forced run has made since then is its own work.
            kwargs={"awaited": running.job_id, "started_at": request.started_at.isoformat()},
            # BigQuery itself ends the job before that.
            timeout=dt.timedelta(seconds=request.settings.job_seconds) + TRIGGER_GRACE,
        )


class BulkOperator(StageOperator):
    """Runs a step of `elt.bulk` for the periods that the run's partition key begins and ends with.

    It fails only where all of them would; where it has done none, it is skipped, and nobody hears of any.
    """

    def __init__(self, **kwargs: Any) -> None:
        # One that is skipped is no reason for the next not to look: the load log says what it has to do.
        super().__init__(**{"trigger_rule": "none_failed", **kwargs})

    def _run(self, context: Any, started_at: dt.datetime, awaited: str | None = None) -> dict[str, Any]:
        from elt import bulk

        dataset, settings = registry.dataset(self.dataset), Settings.from_environment()
        requests = [
            StageRequest(dataset, period, context["run_id"], settings, started_at=started_at, awaited=awaited)
            for period in range_of(dataset, context)
        ]
        try:
            result = bulk.run(self.stage, requests, self.connections(settings, context))
        except JobRunningError as running:
            self._defer(running, requests[0])
        self.log.info("%s: %s", self.stage, result)
        if not result["done"]:
            raise AirflowSkipException(
                "there was nothing to do for any of them, or each is left to a run of its own"
            )
        for asset in self.outlets:
            context["outlet_events"][asset].add_partitions(result["done"])
        return result


class PublishedSensor(BaseSensorOperator):
    """Succeeds when the source has the run's period.

    A period that is there already passes at once. Otherwise the task is *deferred*: the triggerer asks the
    source every `poke_interval`, and no worker is held. After `timeout` the task is *skipped*, and the rest
    of the run with it: a period that is late is nobody's failure, but where alerts are on somebody hears of
    it. A run triggered with `{"publication_timeout": seconds}` as its configuration waits that long instead.
    """

    template_fields: Sequence[str] = ("dataset",)
    ui_color = "#f7e8b0"

    def __init__(self, *, dataset: str, **kwargs: Any) -> None:
        defaults: dict[str, Any] = {
            "poke_interval": dt.timedelta(minutes=30),
            "timeout": patience(registry.dataset(dataset)),
            "execution_timeout": EXECUTION_TIMEOUTS["wait"],
            "on_skipped_callback": alerts.late,
        }
        super().__init__(**{**defaults, **kwargs})
        self.dataset = dataset

    def execute(self, context: Any) -> None:
        """Ask once here: a source that does not answer at all fails the task, instead of being waited for."""
        from elt.orchestration.connections import address_of, source_of
        from elt.orchestration.triggers import PublicationTrigger

        dataset = registry.dataset(self.dataset)
        period = period_of(dataset, context)
        timeout, interval = self.timeout, self.poke_interval
        requested = requested_timeout(context)
        if requested is not None:
            timeout, interval = requested, min(interval, 5.0)
        deadline = time.time() + timeout
        with source_of(dataset) as source:
            if source.probe(period) is not None:
                return
            if isinstance(dataset.source, Api | Database):
                self._wait_for_rows(context, deadline, interval)
        self.log.info("%s is not published yet. The triggerer waits for it.", self._partition(context))
        self.defer(
            trigger=PublicationTrigger(
                connection=source_connection(dataset),
                url=address_of(dataset, period),
                file=dataset.file_name(period),
                deadline=deadline,
                interval=interval,
            ),
            method_name="resume",
            timeout=dt.timedelta(seconds=timeout) + TRIGGER_GRACE,
        )

    def ask_again(self, context: Any, event: Any, deadline: float, interval: float) -> None:  # noqa: ARG002
        """Ask an API or a database once more, for a moment in a worker: triggers know addresses of files."""
        from elt.orchestration.connections import source_of

        dataset = registry.dataset(self.dataset)
        with source_of(dataset) as source:
            try:
                if source.probe(period_of(dataset, context)) is not None:
                    return
            except TransientError as error:
                # A source may be down for a night; its rows come all the same.
                self.log.warning("%s", error)
        if time.time() >= deadline:
            self._skip(context)
        self._wait_for_rows(context, deadline, interval)

    def _wait_for_rows(self, context: Any, deadline: float, interval: float) -> NoReturn:
        from airflow.providers.standard.triggers.temporal import DateTimeTrigger

        from elt.orchestration.triggers import SETTLE

        self.log.info("%s is not published yet. It is asked for again later.", self._partition(context))
        pause = max(SETTLE, min(interval, deadline - time.time()))
        self.defer(
            trigger=DateTimeTrigger(dt.datetime.now(dt.UTC) + dt.timedelta(seconds=pause)),
            method_name="ask_again",
            kwargs={"deadline": deadline, "interval": interval},
            timeout=dt.timedelta(seconds=pause) + TRIGGER_GRACE,
        )

    def resume(self, context: Any, event: dict[str, Any]) -> None:
        """Go on, fail, or skip, as the trigger says."""
        if event["status"] == "failed":
            raise PermanentError(event["message"])
        if event["status"] != "published":
            self._skip(context)

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Any) -> Any:
        """Airflow's entry after a deferral, also where the trigger has never fired."""
        try:
            return super().resume_execution(next_method, next_kwargs, context)
        except TaskDeferralTimeout:
            # Nobody was there to fire it, so the trigger's own deadline has passed, too.
            self._skip(context)
        except TaskDeferralError as error:
            raise TransientError(
                f"{self._partition(context)}: the wait has failed in the triggerer ({error})."
            ) from None

    def _skip(self, context: Any) -> NoReturn:
        raise AirflowSkipException(
            f"{self._partition(context)} is not published yet. Trigger it again when it is."
        )

    def _partition(self, context: Any) -> Partition:
        return Partition(self.dataset, period_of(registry.dataset(self.dataset), context))


class SourceCheckOperator(BaseOperator):
    """Returns the periods of `dataset` that its publisher has changed or published late, for what follows.

    A dataset without periods has one that is None.
    """

    template_fields: Sequence[str] = ("dataset",)
    ui_color = "#f7e8b0"

    def __init__(self, *, dataset: str, **kwargs: Any) -> None:
        defaults = {"task_id": "check", "execution_timeout": EXECUTION_TIMEOUTS["check"]}
        super().__init__(**{**defaults, **kwargs})
        self.dataset = dataset

    def execute(self, context: Any) -> list[str | None]:  # noqa: ARG002 - Airflow's signature
        """Ask with one HEAD request for each period that is loaded, or that the schedule has given up.

        A period whose answer makes no sense is a warning in the log, and the others are still compared.
        """
        from elt.sources import changes

        dataset, settings = registry.dataset(self.dataset), Settings.from_environment()
        connections = self.connections(settings)
        with connections.source(dataset) as source, connections.lake() as lake:
            found = changes.scan(dataset, source, lake, scheduled_since=settings.schedule_start)
        for what, why in found.failed.items():
            self.log.warning("%s stays as it is: %s", what, why)
        to_load = [str(period) if period else None for period in found.to_load]
        self.log.info("%s: %d periods compared, to load: %s", self.dataset, found.checked, to_load)
        return to_load

    def connections(self, settings: Settings) -> Connections:
        """How the check reaches source and lake: by Airflow's connections."""
        from elt.orchestration.connections import AirflowConnections

        return AirflowConnections(settings)
