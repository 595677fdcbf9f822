"""Supervisor, with Airflow imported once: Airflow's processes are forks of it.

Each would import for two CPU seconds what the others import, too. A fork is only faster: what cannot be one,
because the imports are not done yet or differ from those of now, is started as Supervisor starts everything.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import shlex
import signal
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NoReturn

from setproctitle import getproctitle, setproctitle
from supervisor import supervisord
from supervisor.options import ServerOptions

from taxiway.embedded.components import launching
from taxiway.environment.home import REPOSITORY

# What all of Airflow's processes import, and nothing of this project's: that may be edited meanwhile.
MODULES = (
    "airflow.__main__",
    "airflow.api_fastapi.app",
    "airflow.cli.commands.api_server_command",
    "airflow.cli.commands.dag_processor_command",
    "airflow.cli.commands.db_command",
    "airflow.cli.commands.scheduler_command",
    "airflow.cli.commands.triggerer_command",
    "airflow.dag_processing.manager",
    "airflow.jobs.scheduler_job_runner",
    "airflow.jobs.triggerer_job_runner",
    "airflow.providers_manager",
)
# With it Airflow sets nothing up while it is imported, and reads no settings of this project.
AS_LIBRARY = "_AIRFLOW__AS_LIBRARY"
_OWN_SIGNALS = ("SIGTERM", "SIGINT", "SIGQUIT", "SIGHUP", "SIGCHLD", "SIGUSR2")


def read_at_import(variables: Mapping[str, str]) -> dict[str, str]:
    """Those that Airflow reads while it is imported."""
    return {
        k: v for k, v in variables.items() if k.startswith("AIRFLOW_") and not k.startswith("AIRFLOW_CONN_")
    }


def used(variables: Mapping[str, str]) -> list[Path]:
    """Files that tell whether packages, Airflow's settings or our own modules are other ones than before."""
    modules = (getattr(module, "__file__", None) for module in sys.modules.values())
    own = {Path(file) for file in modules if file and Path(file).is_relative_to(REPOSITORY / "scripts")}
    return [Path(sys.prefix) / ".taxiway-lock", Path(variables["AIRFLOW_CONFIG"]), *own]


def text_of(file: Path) -> str:
    """The text of a file; empty if there is none."""
    return file.read_text() if file.exists() else ""


class Options(ServerOptions):  # type: ignore[misc]
    """Supervisor's own: it asks them to become another program in each of its forks."""

    variables: Mapping[str, str] | None = None
    files: Mapping[Path, str] = MappingProxyType({})
    imported = False

    def write_pidfile(self) -> None:
        """Called when it has become a daemon: from now on its threads are not lost."""
        self.importing.unlink(missing_ok=True)
        commands = [shlex.split(p.command) for g in self.process_group_configs for p in g.process_configs]
        files = [found[0] for found in map(launching, commands) if found]
        if sys.platform == "linux" and files and files[0].exists():
            self.importing.touch()
            self.variables = read_at_import(json.loads(files[0].read_text()))
            self.files = {file: text_of(file) for file in used(self.variables)}
            os.environ.update(self.variables, **{AS_LIBRARY: "1"})
            threading.Thread(target=self._import, daemon=True).start()
        super().write_pidfile()

    @property
    def importing(self) -> Path:
        """Is there until the imports are done."""
        return Path(self.pidfile).with_suffix(".importing")

    def _import(self) -> None:
        try:
            for name in MODULES:
                importlib.import_module(name)
            importlib.import_module("airflow.models").import_all_models()
            importlib.import_module("sqlalchemy.orm").configure_mappers()
            # Garbage would be looked for in them, and unshare them, in every fork.
            gc.collect()
            gc.freeze()
            self.imported = True
        except Exception as error:
            self.logger.warn(f"Airflow's processes start by themselves: {error!r}")
        finally:
            self.importing.unlink(missing_ok=True)

    def execve(self, filename: str, argv: Sequence[str], env: Mapping[str, str]) -> None:
        """Become the program; Airflow's stay what they are."""
        own = {k: v for k, v in env.items() if k != AS_LIBRARY and k not in (self.variables or {})}
        if self.imported and (found := launching(argv)):
            wanted = {**own, **json.loads(found[0].read_text())}
            unchanged = all(text_of(file) == text for file, text in self.files.items())
            if unchanged and read_at_import(wanted) == self.variables:
                become(found[1], wanted)
        super().execve(filename, argv, own)


def become(argv: Sequence[str], variables: Mapping[str, str]) -> NoReturn:
    """Run `airflow …` or `python -m module …` in this process, and end as a program does."""
    code: Any = 1
    try:
        for name in _OWN_SIGNALS:
            signal.signal(getattr(signal, name), signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.environ.clear()
        os.environ.update(variables)
        module, words = (argv[2], argv[3:]) if argv[1:2] == ["-m"] else ("airflow.__main__", argv[1:])
        sys.argv = ["airflow", *words]
        setproctitle(" ".join(sys.argv))
        if "airflow.settings" in sys.modules:
            # Imported before as a library, it has set nothing up.
            sys.modules["airflow.settings"].initialize()
        code = importlib.import_module(module).main()
    except SystemExit as end:
        code = end.code
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else int(code is not None))


def main() -> None:
    """`supervisord`, with its command line."""
    # It finds where a title goes before variables are changed, not after.
    getproctitle()
    options = Options()
    options.realize(doc=supervisord.__doc__)
    options.first, options.test = True, False
    supervisord.go(options)
    options.close_httpservers()
    options.close_logger()


if __name__ == "__main__":
    main()
