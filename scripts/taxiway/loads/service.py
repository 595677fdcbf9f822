"""Load what is missing and report what came of it: what `up` and `run` have in common.

What *loaded* means is the library's to say (`elt.status`); here its DAGs are run.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from elt import status
from elt.catalogue.registry import DATASETS, MARTS, PROBLEMS
from elt.connections import Connections, EnvironmentConnections, variable_of
from elt.layout import dag_id
from elt.periods import Partition, Period, Span
from elt.sources import changes
from taxiway.airflow.client import AirflowApi
from taxiway.console.progress import Progress
from taxiway.embedded.components import MANAGER
from taxiway.errors import TaxiwayError
from taxiway.loads import bulk
from taxiway.loads.arguments import Request
from taxiway.loads.failures import Failure, failures
from taxiway.loads.runner import NOT_PUBLISHED, WINDOW, Loader
from taxiway.waiting import Patience

if TYPE_CHECKING:
    from taxiway.targets.target import Target

# Nothing changes for minutes while a large file is converted on a small machine.
SILENCE_SECONDS = 300.0
NOT_PUBLISHED_CODE = 4


@dataclass
class Loads:
    """The data of one environment, through its Airflow and the stores that Airflow's connections name."""

    api: AirflowApi
    connections: Connections
    progress: Progress
    poll_seconds: float = 0.7
    codes: list[int] = field(default_factory=list)
    """How each partition of the last `load` ended: its exit code."""
    ailing: Callable[[], Mapping[str, str]] = dict
    """Asks which components do not answer: a sentence by name."""

    @classmethod
    def of(cls, platform: Target, progress: Progress) -> Self:
        """The data of a platform that is up, as soon as all of it answers."""
        variables = platform.home.variables()
        loads = cls(platform.api, EnvironmentConnections(variables), progress, ailing=platform.ailing)
        loads._wait_until_well()
        loads.connections = EnvironmentConnections(variables | stored_sources(platform.api, variables))
        return loads

    def report_problems(self) -> None:
        """Warn of each entry of the catalogue that is left out; the others go on without it."""
        for problem in PROBLEMS:
            self.progress.say(f"left out: {problem}", style="yellow")

    def status(self, wanted: Collection[Partition] | None = None) -> list[dict[str, Any]]:
        """What each store has of the wanted partitions, or of all there are: a row for each."""
        return status.status(self.connections, wanted)

    def report(self) -> list[dict[str, Any]]:
        """The status of everything; what failed since it was loaded has its failures in it, too.

        A row's `failures` are of the partition's DAGs whose latest run has failed; `state` is *failed* where
        it is not loaded for that.
        """
        rows, broken = self.status(), dict[Partition, list[Failure]]()
        for failure in failures(self.api):
            broken.setdefault(failure.partition, []).append(failure)
        known = {Partition.parse(row["dataset"], row["period"]) for row in rows}
        if unknown := broken.keys() - known:
            places = {name: place for place, name in enumerate(DATASETS)}
            rows = sorted(
                rows + self.status(unknown), key=lambda row: (places[row["dataset"]], row["period"] or "")
            )
        for row in rows:
            found = broken.get(Partition.parse(row["dataset"], row["period"]), [])
            row["failures"] = [failure.facts() for failure in found]
            if found and row["state"] != "loaded":
                row["state"] = "failed"
        return rows

    def failed(self, requests: Sequence[Request]) -> list[Failure]:
        """What has failed of these datasets and periods; of everything where there are no requests."""

        def asked(failed: Partition) -> bool:
            named = [r for r in requests if failed.dataset in (entry.name for entry in r.datasets)]
            return any(r.span is None or _lies_in(failed.period, r.span) for r in named)

        return [failure for failure in failures(self.api) if not requests or asked(failure.partition)]

    def mart_heads(self, count: int) -> dict[str, list[dict[str, Any]]]:
        """The first rows of each mart that says which ones are worth showing."""
        return {name: status.mart_head(self.connections, mart, count) for name, mart in MARTS.items()}

    def changed(self, requests: Sequence[Request]) -> list[Partition]:
        """The partitions that the source has published anew: one request to it for each that is loaded."""
        found = []
        for entry in (entry for request in requests for entry in request.datasets):
            spans = [request.span for request in requests if entry in request.datasets and request.span]
            among = {period for span in spans if entry.every for period in span.periods(entry.every)}
            with self.connections.lake() as lake:
                scan = changes.scan(entry, self.connections.source(entry), lake, among=among)
            for name, reason in scan.failed.items():
                self.progress.say(f"{name} stays as it is: {reason}", style="yellow")
            self.progress.say(f"{entry.name}: {scan.checked} checked, {len(scan.to_load)} changed", "done")
            found += [Partition(entry.name, period) for period in scan.to_load]
        return found

    def load(
        self,
        wanted: Sequence[Partition],
        wait: float,
        *,
        again: bool = False,
        force: bool = False,
        failed: Sequence[Failure] = (),
    ) -> int:
        """Load what is not loaded yet, in the order given; `again`: all of it. Returns the exit code.

        `force` also does what would find that nothing has changed. What has `failed` is run again, even where
        an earlier file of the partition is loaded.
        """
        self._wait_until_well()
        missing = self._missing(wanted, again=again)
        for failure in failed:
            dags = missing.setdefault(failure.partition, [])
            dags += [failure.dag] if failure.dag not in dags else []
        if not missing:
            self.progress.say("everything is loaded already; nothing to do", "done")
            return 0
        many = len(missing) > WINDOW
        if many:
            self.progress.say(f"{len(missing)} of {len(wanted)} are to be loaded, the others are")
        left: Mapping[Partition, list[str]] = missing
        if many and not (again or force):
            left = self._load_together(missing, {failure.partition for failure in failed})
        outcomes = self._loader(wait, force).load(left, SILENCE_SECONDS + wait)
        self._wait_until_well()
        # Asked again: a run that Airflow calls successful may have skipped the period.
        still = self._missing(missing)
        codes = self.codes = [
            self._report(p, outcomes.get(p, ""), still.get(p, []), brief=many) for p in missing
        ]
        if many:
            words = {0: "loaded", NOT_PUBLISHED_CODE: NOT_PUBLISHED, 1: "not loaded"}
            counts = [f"{codes.count(code)} {what}" for code, what in words.items() if code in codes]
            self.progress.say(", ".join(counts), "failed" if 1 in codes else "done")
        # A failure outranks a period that is late, whatever their numbers.
        return max(codes, key=[0, NOT_PUBLISHED_CODE, 1].index)

    def _loader(self, wait: float, force: bool, **how: Any) -> Loader:
        return Loader(
            self.api, self.progress, wait, force, poll_seconds=self.poll_seconds, ailing=self._ailing, **how
        )

    def _load_together(
        self, missing: Mapping[Partition, list[str]], alone: Collection[Partition]
    ) -> dict[Partition, list[str]]:
        """Load what is small and not `alone` many at a time; what is missing then, whatever the reason."""
        loader = self._loader(0, False, window=bulk.RUNS, count=lambda batch: len(batch.partitions))
        candidates = [partition for partition in missing if partition not in alone]
        if begun := bulk.under_way(self.api, {partition.dataset for partition in candidates}):
            # Of a call that was killed: two that load the same only wait for each other.
            loader.load({batch: [batch.dag] for batch in begun}, SILENCE_SECONDS)
            missing = self._missing(missing)
            candidates = [partition for partition in candidates if partition in missing]
        together = bulk.batches(candidates, bulk.sizes(candidates, self.connections))
        if not together:
            return dict(missing)
        count = sum(len(batch.partitions) for batch in together)
        self.progress.say(f"{count} are small, and are loaded up to {bulk.MOST} at a time")
        loader.load({batch: [batch.dag] for batch in together}, SILENCE_SECONDS)
        tried = {partition for batch in together for partition in batch.partitions}
        if still := self._missing(tried):
            self.progress.say(f"{len(still)} of them were left out, and are loaded one by one")
        return {
            partition: dags if partition not in tried else still[partition]
            for partition, dags in missing.items()
            if partition not in tried or partition in still
        }

    def conclude(self, code: int) -> int:
        """The last line: all is done, or how many have failed and what to type. Returns the exit code."""
        if code == 1:
            of = f"of {len(self.codes)} " if len(self.codes) > 1 else ""
            failed = f"{self.codes.count(1)} {of}failed. Why: scripts/status   Again: scripts/run --failed"
            self.progress.say(failed, "failed", style="bold red")
        else:
            self.progress.say(f"done in {self.progress.elapsed:.1f} s", "done")
        return code

    def _wait_until_well(self) -> None:
        """Return when every component answers: a store that hangs is asked for minutes, without a word."""
        complaints = dict[str, str]()

        def well() -> bool:
            complaints.clear()
            complaints.update(self._ailing())
            return not complaints

        patience = Patience(SILENCE_SECONDS, remind=self.progress.say, every=1.0)
        patience.until(well, lambda: ", ".join(f"{name} {text}" for name, text in complaints.items()))

    def _ailing(self) -> Mapping[str, str]:
        """What `ailing` says; TaxiwayError if nobody is left to restart anything.

        `up` is not let in while another command changes the environment: this one makes room for it.
        """
        found = self.ailing()
        if MANAGER in found:
            raise TaxiwayError(f"the {MANAGER} {found[MANAGER]}", "Then call this again: it goes on.")
        return found

    def _missing(self, wanted: Iterable[Partition], *, again: bool = False) -> dict[Partition, list[str]]:
        """DAG ids whose work is missing, by partition, the lake's first."""
        partitions = list(wanted)
        if again:
            postgres = self.connections.has_postgres
            stages = {p: status.stages(DATASETS[p.dataset], has_postgres=postgres) for p in partitions}
        else:
            stages = status.missing(self.connections, partitions)
        families = {p: status.families(stages[p]) for p in partitions}
        return {p: [dag_id(p.dataset, family) for family in families[p]] for p in partitions if families[p]}

    def _report(self, partition: Partition, outcome: str, still: list[str], *, brief: bool) -> int:
        if outcome == NOT_PUBLISHED:
            again = f"{partition} is not published yet. Try again later: scripts/run {partition}"
            self.progress.say(again, style="yellow")
            return NOT_PUBLISHED_CODE
        if outcome or still:
            reason = outcome or f"no trace of {', '.join(still)}"
            self.progress.say(f"{partition} is not loaded: {reason}", "failed", style="red")
            return 1
        if not brief:
            self.progress.say(f"{partition} is loaded", "done")
        return 0


def _lies_in(period: Period | None, span: Span) -> bool:
    return period is not None and period.start < span.last.end and span.first.start < period.end


def stored_sources(api: AirflowApi, variables: Mapping[str, str]) -> dict[str, str]:
    """The source connections that Airflow itself stores, as variables; those that are set already win.

    Tasks load through them, so what is loaded is judged by them. Their passwords stay in Airflow: a source
    that wants one cannot be asked from here.
    """
    found = {}
    for connection in sorted({entry.source.connection for entry in DATASETS.values() if entry.source}):
        name = variable_of(connection)
        if name not in variables and (stored := api.connection(connection)):
            fields = {field: stored[field] for field in ("conn_type", "host", "schema", "port")}
            # Of an S3 connection it says which service's bucket it is.
            with suppress(ValueError, TypeError, KeyError):
                fields["extra"] = {"endpoint_url": json.loads(stored["extra"])["endpoint_url"]}
            found[name] = json.dumps(fields)
    return found
