"""The embedded target: emulators, PostgreSQL and Airflow as processes of this machine."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from lakehouse.outputs import CREDENTIAL_FILE, CREDENTIALS
from lakehouse.settings import project_of
from taxiway.airflow.bootstrap import open_dags, wait_until_healthy
from taxiway.airflow.client import AirflowApi
from taxiway.airflow.environment import airflow_environment
from taxiway.console.progress import Progress
from taxiway.embedded import components, health
from taxiway.embedded.components import API_SERVER, TOKENS, WATCHDOG, Component
from taxiway.embedded.postgres import PostgresServer
from taxiway.embedded.supervisor import ManagerError, Supervisor
from taxiway.environment import secrets as credentials
from taxiway.environment.home import SAMPLE, Home, State, read_json, write_json
from taxiway.environment.ports import USUAL, choose_ports, is_free
from taxiway.errors import TaxiwayError, UsageError
from taxiway.infrastructure import (
    EMULATORS,
    Endpoints,
    Engine,
    EngineError,
    StackNotRemovedError,
    open_engine,
)
from taxiway.infrastructure.stackfile import StackFiles
from taxiway.infrastructure.teardown import destroy
from taxiway.waiting import Patience

# A machine that does other things meanwhile needs minutes; what gives up ends the wait at once.
READY_SECONDS = 300
MIGRATION_SECONDS = 600
# A server's first answer, for which it imports what it needs.
READY_ANSWER_SECONDS = 15
DATABASES = ("airflow", "taxi")


@dataclass(frozen=True)
class Embedded:
    """One environment on this machine. A `start` that was killed is continued by the next one."""

    home: Home
    state: State
    progress: Progress
    open_engine: Callable[..., Engine] = open_engine
    supervise: Callable[[Home, int], Supervisor] = Supervisor

    @classmethod
    def prepare(
        cls, home: Home, progress: Progress, *, source: str, engine: str, project: str = ""
    ) -> Embedded:
        """Choose ports and make secrets, or take those of the environment that is here.

        What a killed process manager has left is ended first. A project is written to the stack's settings,
        where everybody else reads it.
        """
        if os.geteuid() == 0:
            progress.say(
                "this is root: Airflow, its tasks and the emulators may do all that root may", style="yellow"
            )
        known = State.load(home)
        manager = Supervisor(home, known.ports["supervisor"]) if known else None
        if known is None or manager is None or not (manager.pid() and manager.answers()):
            # Whatever outlived its manager has the ports and the data that are needed now.
            if ended := manager.end_strays() if manager else []:
                progress.say(f"{len(ended)} processes are ended that have outlived their process manager")
            chosen = choose_ports({**USUAL, **(known.ports if known else {})}, progress.say)
            known = replace(known, ports=chosen) if known else State(chosen)
        # An environment that runs since an earlier release has no port for what came later.
        known = replace(known, ports={**USUAL, **known.ports})
        state = replace(known, source=source, engine=engine, emulated=not project)
        if source != known.source and home.airflow.exists():
            progress.say(f"the data's source is {source} from now on: what reads it is started again")
        if project:
            StackFiles(home.stack_files).write(home.stack, {"taxiway:project": project})
        state.save(home)
        credentials.generate(home.secrets)
        credentials.derive(home.secrets, state.ports["postgres"])
        return cls(home, state, progress)

    # What there is

    @property
    def supervisor(self) -> Supervisor:
        """The process manager."""
        return self.supervise(self.home, self.state.ports["supervisor"])

    @property
    def api(self) -> AirflowApi:
        """Airflow's API, signed in as its administrator."""
        port = self.state.ports[API_SERVER]
        return AirflowApi(
            self.state.api_url,
            self.home.secret("admin_password"),
            trusted=lambda: self.supervisor.listens(port),
        )

    @property
    def engine(self) -> Engine:
        """What evaluates the Pulumi program: on the emulators, or with the stack's own project."""
        endpoints, files = None, StackFiles(self.home.stack_files)
        if self.state.emulated:
            urls = {name: f"http://127.0.0.1:{port}" for name, port in self.state.ports.items()}
            endpoints = Endpoints(
                urls["gcs"], urls["bigquery"], urls["control-plane"], self.home.emulator_token
            )
        named = project_of(files.read(self.home.stack))
        config = {} if self.state.emulated else {"taxiway:project": named}
        return self.open_engine(
            self.state.engine, self.home.stack, endpoints, self.home.engine, config, files
        )

    def components(self) -> list[Component]:
        """The processes that this environment needs."""
        used = {"postgres", *components.AIRFLOW, WATCHDOG}
        used |= set(EMULATORS[self.state.engine] if self.state.emulated else ())
        used |= {"sample-source"} if self.state.source == SAMPLE else set()
        used |= {TOKENS} if self.home.own_credentials.exists() else set()
        return [c for c in components.components(self.home, self.state.ports) if c.name in used]

    def states(self) -> dict[str, str]:
        """State of each process; UNMANAGED is one that outlived, or whose start outran, its manager."""
        if self.running():
            try:
                return self.supervisor.states()
            except ManagerError:
                pass
        return dict.fromkeys(self.supervisor.survivors(), "UNMANAGED")

    def ailing(self) -> dict[str, str]:
        """A sentence by component that runs and does not answer."""
        return health.ailing(self.home, self.state, self.supervisor, self.api)

    def running(self) -> bool:
        """Whether the process manager runs."""
        return self.supervisor.pid() is not None

    def log_command(self, component: str, lines: int, *, follow: bool) -> list[str]:
        """The command that shows a component's log; UsageError names those that have one."""
        log = self.home.logs / f"{component}.log"
        if not log.exists():
            known = sorted(path.stem for path in self.home.logs.glob("*.log"))
            raise UsageError(f"component {component!r} has no log", f"Choose one of: {', '.join(known)}")
        return ["tail", "-n", str(lines), *(["-F"] if follow else []), str(log)]

    def airflow_command(self, arguments: Sequence[str]) -> list[str]:
        """The command that runs Airflow's own command line."""
        return components.airflow_command(self.home, *arguments)

    # Up

    def start(self) -> Embedded:
        """Bring everything up: PostgreSQL with Airflow's tables beside the infrastructure, then Airflow."""
        if not self.running():
            # The manager imports Airflow with them.
            write_json(self.home.api_environment, airflow_environment(self.home, self.state, {}))
        self.supervisor.start(components.components(self.home, self.state.ports), self.progress.say)
        # It would restart what is started here; and what hangs does not get well by being waited for.
        self.supervisor.stop_components([WATCHDOG, *self._hanging()])
        # Airflow's tables and the infrastructure take about as long, and do not need each other.
        with ThreadPoolExecutor() as pool:
            metadata = pool.submit(self._start_postgres)
            infrastructure = pool.submit(self._start_infrastructure)
            outputs = infrastructure.result()
            metadata.result()
        self._start_airflow(outputs)
        # What an earlier watchdog has written is too old to be this one's.
        self.home.health.unlink(missing_ok=True)
        self.supervisor.start_component(WATCHDOG)
        return self

    def _hanging(self) -> list[str]:
        if not self.home.environment.exists():
            return []  # a first start, or one that was cut short: nothing answers yet
        found = self.ailing()
        for name, sentence in found.items():
            self.progress.say(f"{name} {sentence}: it is restarted")
        return list(found)

    def _start_postgres(self) -> None:
        server = PostgresServer(self.home.data("postgres"), self.state.ports["postgres"])
        password = self.home.secret("postgres_password")
        with self.progress.phase("PostgreSQL answers"):
            server.initialise(password)
            self.supervisor.start_component("postgres")
            server.wait_until_ready(password, self._patience)
            secrets = [(n, self.home.secret(f"{n}_database_password")) for n in DATABASES]
            server.create_databases(password, secrets)
        self._patience.until(
            lambda: not self.supervisor.imports(), lambda: "Airflow's modules are not imported yet"
        )
        self._give_variables(self.home.api_environment, {}, [API_SERVER])
        done = components.migrated(self.home)
        failed = done.with_name(components.FAILED)
        failed.unlink(missing_ok=True)
        new = not done.exists()
        self.supervisor.start_component(API_SERVER)
        if not new:
            return

        def migrated() -> bool:
            if failed.exists():
                raise TaxiwayError(
                    f"airflow db migrate failed. Its last lines:\n{last_lines(self.home, API_SERVER, 8)}",
                    f"See scripts/logs {API_SERVER}",
                )
            return done.exists()

        with self.progress.phase("Airflow's metadata database is migrated"):
            replace(self._patience, seconds=MIGRATION_SECONDS).until(
                migrated, lambda: "Airflow's metadata database is not migrated"
            )

    def _start_infrastructure(self) -> Mapping[str, str]:
        from taxiway.infrastructure import environment  # imports Pulumi, which no other command needs

        emulators = [c for c in self.components() if c.health and c.name not in (API_SERVER, TOKENS)]
        with self.progress.phase("emulators answer"):
            for component in emulators:
                self.supervisor.start_component(component.name)
            self._wait_until_answering(emulators)
        with self.progress.phase(f"infrastructure is up (Pulumi program, {self.state.engine})"):
            outputs = self.engine.up()
        server = f"http://127.0.0.1:{self.state.ports[TOKENS]}"
        secrets = (self.home.secrets / name for name in (credentials.TOKEN_SECRET, credentials.READER_SECRET))
        files = environment.write_credentials(self.home.secrets, outputs, server, *secrets)
        if tokens := [c for c in self.components() if c.name == TOKENS]:
            self.supervisor.start_component(TOKENS)
            self._wait_until_answering(tokens)
        else:
            self.supervisor.stop_components([TOKENS])
        paths = {CREDENTIAL_FILE: str(files[CREDENTIALS])} if CREDENTIALS in files else {}
        return environment.variables(outputs) | paths

    def _give_outputs(self, outputs: Mapping[str, str]) -> None:
        """Write the variables of what runs DAGs, and those by which the API server's pages read stores."""
        self._give_variables(self.home.environment, outputs, components.WITH_DAGS)
        reader = self.home.reader_credentials
        own = {CREDENTIAL_FILE: str(reader)} if reader.exists() else {}
        write_json(self.home.pages_environment, read_json(self.home.environment) | own)

    def _give_variables(self, file: Path, outputs: Mapping[str, str], names: Sequence[str]) -> None:
        """Write the variables of some components; those that run with others are stopped."""
        variables = airflow_environment(self.home, self.state, outputs)
        # Airflow reads its variables once, when it starts.
        if variables != read_json(file):
            write_json(file, variables)
            self.supervisor.stop_components(names)

    def _start_airflow(self, outputs: Mapping[str, str]) -> None:
        self._give_outputs(outputs)
        with self.progress.phase("Airflow is healthy"):
            # First: tasks show their tokens to whoever listens there.
            port = self.state.ports[API_SERVER]
            self._patience.until(
                lambda: self.supervisor.listens(port), lambda: f"{API_SERVER} does not listen on port {port}"
            )
            for name in components.WITH_DAGS:
                self.supervisor.start_component(name)
            self._wait_until_answering(c for c in self.components() if c.name == API_SERVER)
            wait_until_healthy(self.api, self._patience)
        with self.progress.phase("DAGs are parsed, pools made, DAGs unpaused"):
            open_dags(self.api, self._patience)

    def _wait_until_answering(self, waiting: Iterable[Component]) -> None:
        for component in waiting:
            port = self.state.ports[component.name]
            self._patience.until(
                # The health check carries no secret; what follows does, so that it has to be ours.
                lambda url=component.health: health.answers(url, READY_ANSWER_SECONDS),  # type: ignore[misc]
                lambda name=component.name: (  # type: ignore[misc]
                    f"{name} does not answer; its last line: {last_lines(self.home, name, 1).strip()}"
                ),
            )
            self.supervisor.check_listener(port)

    @property
    def _patience(self) -> Patience:
        return Patience(READY_SECONDS, watch=self._raise_if_gone, remind=self.progress.say)

    def _raise_if_gone(self) -> None:
        for name, state in self.supervisor.states().items():
            # A process that ends at once is started some times more before it is FATAL.
            if state == "FATAL":
                raise TaxiwayError(
                    f"{name} does not stay up. Its last lines:\n{last_lines(self.home, name, 8)}",
                    f"See scripts/logs {name}; scripts/down removes the environment.",
                )

    # Down

    def stop(self, *, keep: bool) -> list[str]:
        """Stop the processes; unless `keep`, remove what the stack holds on the emulators.

        Returns what is gone. A stack on Google Cloud is its engine's to destroy.
        """
        removed = []
        if self.running():
            names = [name for name, state in self.states().items() if state in ("RUNNING", "UNMANAGED")]
            if not keep and self.state.emulated:
                removed += self._destroy()
            with self.progress.phase("processes are stopped"):
                self.supervisor.stop()
            removed += [f"process  {name}" for name in names]
        elif not keep and self.state.emulated:
            # Emulators that do not run cannot be asked to remove anything; their folder goes next.
            self._forget()
        return removed + [f"process  {name}" for name in self.supervisor.end_strays()]

    def left(self, *, keep: bool) -> list[str]:  # noqa: ARG002 - other targets keep things elsewhere
        """What still runs, seen from outside; nothing should."""
        strays = self.supervisor.strays()
        found = [f"process {process.pid} {process.name()}" for process in strays]
        for name, port in self.state.ports.items():
            if not is_free(port) and strays:
                found.append(f"port {port} ({name})")
            elif not is_free(port):
                self.progress.say(f"port {port}, which {name} had, is used by another program now")
        return found

    def _destroy(self) -> list[str]:
        """Remove what the stack created, then ask the emulators whether anything is left of it."""
        try:
            self.supervisor.stop_components([WATCHDOG, *components.AIRFLOW])
            with self.progress.phase("infrastructure is destroyed"):
                return destroy(self.engine)
        except StackNotRemovedError:
            raise
        except (EngineError, ManagerError) as error:
            # Nothing is lost track of: they keep everything below the folder that is removed next.
            self.progress.say(f"the emulators do not answer ({error}); their data is removed anyway")
            self._forget()
            return []

    def _forget(self) -> None:
        """Drop the engine's state for resources that are deleted with the emulators' data."""
        try:
            self.engine.forget()
        except StackNotRemovedError:
            raise
        except EngineError as error:  # its `pulumi` may be gone by now
            self.progress.say(f"the engine keeps its state of the stack ({error})")


def last_lines(home: Home, component: str, count: int) -> str:
    """The end of a component's log."""
    try:
        lines = (home.logs / f"{component}.log").read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return "  (it has not logged anything)"
    return "\n".join(f"  {line}" for line in lines[-count:])
