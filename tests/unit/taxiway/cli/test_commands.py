"""What every command line has in common: help, completion, errors, and what it does not need to know."""

from __future__ import annotations

import errno
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import pytest
from repository import REPOSITORY

from elt.errors import TransientError
from taxiway.cli.commands.platform import _show_up
from taxiway.cli.main import group, main
from taxiway.cli.reference import help_of
from taxiway.console.hints import Hints
from taxiway.embedded.components import Component
from taxiway.environment.home import Home, State, write_atomically
from taxiway.errors import TaxiwayError
from taxiway.targets.target import Checkout

COMMANDS = group().commands
WRAPPERS = sorted(
    file.name for file in (REPOSITORY / "scripts").iterdir() if file.is_file() and os.access(file, os.X_OK)
)
PAGE = (REPOSITORY / "docs" / "commands.md").read_text()
# Seconds of import that neither help nor completion may cost, by what brings them.
HEAVY = (
    "airflow",
    "pulumi",
    "pulumi_gcp",
    "google",
    "pyarrow",
    "requests",
    "rich",
    "psutil",
    "elt",
    "lakehouse",
)


def taxiway(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """The commands as the entry point runs them, in a process of their own."""
    code = "import sys; from taxiway.cli.main import main; sys.exit(main())"
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "COLUMNS": "80", **variables},
    )


# Help


def test_every_command_has_a_wrapper_and_every_wrapper_a_command() -> None:
    assert sorted(COMMANDS) == WRAPPERS
    assert {"up", "down", "run", "status", "logs", "test", "check"} <= set(WRAPPERS)


@pytest.mark.parametrize("name", WRAPPERS)
def test_every_command_has_help_with_an_example_and_is_in_the_reference(name: str) -> None:
    command = [sys.executable, REPOSITORY / "scripts" / name, "--help"]
    environment = {**os.environ, "COLUMNS": "80"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment, timeout=120)
    assert done.stdout.startswith(("Usage: ", "usage: "))
    examples = done.stdout.partition("examples:\n")[2]
    assert f"scripts/{name}" in examples
    assert f"## scripts/{name}\n" in PAGE


@pytest.mark.parametrize("name", WRAPPERS)
def test_help_fits_a_terminal_of_eighty_columns(name: str) -> None:
    shown = taxiway(name, "--help").stdout
    assert shown
    assert [line for line in shown.splitlines() if len(line) > 80] == []


def test_the_overview_has_every_command_once_in_one_line_of_eighty_columns() -> None:
    shown = taxiway("help").stdout
    listed = re.findall(r"^  (\w+) +\S", shown, re.MULTILINE)
    assert sorted(listed) == WRAPPERS
    assert [line for line in shown.splitlines() if len(line) > 80 or line.endswith("...")] == []


def test_help_explains_a_command_as_it_does_itself() -> None:
    assert taxiway("help", "run").stdout == help_of(COMMANDS["run"])
    wrong = taxiway("help", "runn")
    assert wrong.returncode == 2
    assert "'runn' is no command" in wrong.stderr


def test_without_a_command_the_commands_are_listed() -> None:
    done = taxiway()
    assert done.returncode == 0
    assert all(re.search(rf"^  {name} +\S", done.stdout, re.MULTILINE) for name in COMMANDS)


@pytest.mark.parametrize(
    ("arguments", "environment"),
    [
        (["up", "--help"], {}),
        ([], {"_TAXIWAY_COMPLETE": "bash_complete", "COMP_WORDS": "taxiway ", "COMP_CWORD": "1"}),
    ],
)
def test_help_and_completion_import_nothing_heavy(arguments: list[str], environment: dict[str, str]) -> None:
    code = (
        "import sys\nfrom taxiway.cli.main import main\n"
        "try: main()\nfinally: print('\\n' + ' '.join(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        timeout=120,
    )
    assert "up" in done.stdout
    imported = {name.partition(".")[0] for name in done.stderr.splitlines()[-1].split()}
    assert "click" in imported
    assert imported.isdisjoint(HEAVY)


# Completion


@pytest.mark.parametrize(
    ("line", "offered"),
    [("taxiway dr", "drift"), ("taxiway run ye", "yellow"), ("taxiway up --tar", "--target")],
)
def test_a_shell_completes_commands_options_and_datasets(line: str, offered: str) -> None:
    words = line.split(" ")
    done = taxiway(_TAXIWAY_COMPLETE="bash_complete", COMP_WORDS=line, COMP_CWORD=str(len(words) - 1))
    assert f"plain,{offered}" in done.stdout.splitlines()


BASH = r"""
source scripts/completion.bash
set -- $(complete -p "$1" | sed 's/.*-F \([^ ]*\) .*/\1/') "$@"
COMP_WORDS=("${@:2}") COMP_CWORD=$(($# - 2))
compopt() { :; }
"$1"
printf '%s\n' "${COMPREPLY[@]}"
"""


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        (["scripts/run", "ye"], ["yellow"]),
        (["./scripts/up", "--tar"], ["--target"]),
        (["scripts/status", "--jso"], ["--json"]),
    ],
)
def test_bash_completes_the_scripts_themselves(line: list[str], offered: list[str]) -> None:
    assert "source scripts/completion.bash" in PAGE
    done = subprocess.run(
        ["bash", "-c", BASH, "bash", *line], cwd=REPOSITORY, capture_output=True, text=True, timeout=60
    )
    assert (done.stdout.splitlines(), done.stderr) == (offered, "")


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_the_pages_line_for_other_shells_prints_their_script(shell: str) -> None:
    assert f"{shell}_source" in PAGE
    assert "_TAXIWAY_COMPLETE" in taxiway(_TAXIWAY_COMPLETE=f"{shell}_source").stdout


# Errors


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["up", "--target", "moon"], "'moon' is not one of"),
        (["up", "--source", "mars"], "'mars' is neither sample, tlc nor a URL"),
        (["up", "--source", "https://me:secret@mirror.test"], "mirror.test is given with a login"),
        (["up", "--stack", "_engine"], "'_engine' is not a name of letters, digits"),
        (["up", "--stack", "alice.lock"], "'alice.lock' is not a name of letters, digits"),
        (["up", "--engine", "in-process", "--project", "acme-data"], "works on emulators only"),
        (["up", "--months", "2024-13"], "2024-13"),
        (["run"], "Missing argument"),
        (["run", "--failed", "--force"], "exclude each other"),
        (["sql", "--on", "mars", "SELECT 1"], "'mars' is not one of"),
        (["sql", "--output", "rows.txt", "SELECT 1"], "rows.txt names no format"),
        (["lake", "rm"], "'rm' is not one of"),
        (["quarantine", "nope"], "dataset 'nope' is unknown"),
        (["quarantine", "yellow", "2024-13"], "2024-13"),
        (["run", "yellow", "2024-01", "--changed", "--force"], "exclude each other"),
        (["alerts", "--set", "--off"], "exclude each other"),
        (["logs", "--lines", "many"], "'many' is not a valid integer"),
        (["upgrade", "next"], "'next' is not a version"),
        (["nonsense"], "No such command 'nonsense'"),
    ],
)
def test_a_wrong_command_line_is_one_sentence_and_a_remedy(
    arguments: list[str], sentence: str, tmp_path: Path, capsys: Any
) -> None:
    assert main(arguments, Checkout(tmp_path)) == 2
    shown = capsys.readouterr().err
    assert shown.startswith("taxiway: ")
    assert sentence in shown
    assert "Traceback" not in shown
    assert "secret" not in shown
    assert not (tmp_path / ".taxiway").exists()


def test_a_defect_is_one_sentence_and_its_traceback_a_file(tmp_path: Path, capsys: Any) -> None:
    def broken(*_: Any) -> Any:
        raise ZeroDivisionError("of nothing")

    stack = ["drift", "--project", "acme-data"]
    assert main(stack, Checkout(tmp_path, broken)) == 1
    shown = capsys.readouterr().err
    assert "taxiway: ZeroDivisionError: of nothing" in shown
    report = Path(re.findall(r"its traceback is in (\S+)", shown)[0])
    assert "ZeroDivisionError" in report.read_text()
    report.unlink()


@pytest.mark.parametrize(
    ("number", "remedy"), [(errno.EACCES, "who owns this checkout"), (errno.ENOSPC, "The disk is full")]
)
def test_what_the_machine_refuses_is_no_defect(number: int, remedy: str, tmp_path: Path, capsys: Any) -> None:
    def refused(*_: Any) -> Any:
        raise OSError(number, os.strerror(number), "/srv/checkout/state.json")

    assert main(["drift", "--project", "acme-data"], Checkout(tmp_path, refused)) == 1
    shown = capsys.readouterr().err
    assert f"taxiway: /srv/checkout/state.json: {os.strerror(number)}\n" in shown
    assert remedy in shown
    assert "defect" not in shown


def test_a_disk_that_is_full_where_a_service_writes_has_the_same_remedy(tmp_path: Path, capsys: Any) -> None:
    def refused(*_: Any) -> Any:
        raise TransientError(f"BigQuery: Could not write x.wal: {os.strerror(errno.ENOSPC)}")

    assert main(["drift", "--project", "acme-data"], Checkout(tmp_path, refused)) == 1
    assert "The disk is full" in capsys.readouterr().err


def test_an_interruption_says_that_the_command_goes_on(tmp_path: Path, capsys: Any) -> None:
    def interrupted(*_: Any) -> Any:
        raise KeyboardInterrupt

    assert main(["drift", "--project", "acme-data"], Checkout(tmp_path, interrupted)) == 130
    assert "Call scripts/drift again" in capsys.readouterr().err


# A catalogue that is not in order


@pytest.mark.parametrize(
    "arguments", [["down"], ["down", "--keep-data"], ["logs", "scheduler"], ["status", "--json"]]
)
def test_a_command_that_needs_no_catalogue_reads_none(arguments: list[str], tmp_path: Path) -> None:
    home = Home.of("local", tmp_path)
    State({"supervisor": 9, "api-server": 9, "postgres": 9, **dict.fromkeys(EMULATED, 9)}).save(home)
    home.logs.mkdir()
    (home.logs / "scheduler.log").write_text("a line of the log\n")
    code = (
        "import os, sys\nfrom pathlib import Path\n"
        "from taxiway.cli.main import main\nfrom taxiway.targets.target import Checkout\n"
        "report = lambda: print('\\n' + ' '.join(sys.modules), file=sys.stderr, flush=True)\n"
        "become = os.execvp\n"
        "os.execvp = lambda *command: (report(), become(*command))\n"
        "code = main(sys.argv[2:], Checkout(Path(sys.argv[1])))\nreport()\nsys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path), *arguments], capture_output=True, text=True, timeout=120
    )
    imported = set(done.stderr.splitlines()[-1].split())
    assert "taxiway.embedded.platform" in imported, done.stderr
    assert not [name for name in imported if name.startswith(("elt.catalogue", "nyc_taxi"))]
    assert "Traceback" not in done.stderr


EMULATED = (
    "gcs",
    "bigquery",
    "bigquery-grpc",
    "control-plane",
    "sample-source",
    "worker-logs",
    "trigger-logs",
)


def test_status_of_nothing_is_json_too(tmp_path: Path, capsys: Any) -> None:
    assert main(["status", "--json"], Checkout(tmp_path)) == 1
    assert json.loads(capsys.readouterr().out) == {
        "target": None,
        "stack": None,
        "components": [],
        "datasets": [],
        "complaints": {},
    }


class Hanging:
    """A platform whose scheduler runs and does nothing; whoever asks what is loaded waits for ever."""

    def __init__(self, home: Home) -> None:
        self.home, self.state = home, State({"api-server": 8080, "postgres": 5432})

    def states(self) -> dict[str, str]:
        return {"scheduler": "RUNNING", "gcs": "RUNNING"}

    def ailing(self) -> dict[str, str]:
        return {"scheduler": "does not answer since 12:03:04 UTC"}

    def components(self) -> list[Component]:
        return [Component("scheduler", []), Component("gcs", [], "http://127.0.0.1:9023")]


class CheckoutOf(Checkout):
    """A checkout in which that is what there is."""

    def platform(self, stack: str, progress: Any = None) -> Any:
        return Hanging(self.home(stack))


def test_status_names_what_does_not_answer_since_when_and_asks_no_store(tmp_path: Path, capsys: Any) -> None:
    State({"supervisor": 9}).save(Home.of("local", tmp_path))
    assert main(["status"], CheckoutOf(tmp_path)) == 1
    shown = capsys.readouterr().out
    assert re.search(r"scheduler +hanging", shown)
    assert re.search(r"gcs +running", shown)
    assert "scheduler does not answer since 12:03:04 UTC" in shown
    assert "require_auth=scram-sha-256" in shown
    assert main(["status", "--json"], CheckoutOf(tmp_path)) == 1
    facts = json.loads(capsys.readouterr().out)
    assert facts["complaints"] == {"scheduler": "does not answer since 12:03:04 UTC"}
    assert facts["datasets"] == []


class Broken(Hanging):
    """A platform of which all answers, but for a file of DAGs that does not import."""

    @property
    def api(self) -> Any:
        return self

    def import_errors(self) -> list[str]:
        return ["dags/to_lake.py: NameError: x"]

    def connection(self, name: str) -> None:
        raise TaxiwayError("not now")

    def ailing(self) -> dict[str, str]:
        return {}


class CheckoutOfBroken(Checkout):
    """A checkout in which that is what there is."""

    def platform(self, stack: str, progress: Any = None) -> Any:
        return Broken(self.home(stack))


def test_status_names_a_file_of_dags_that_does_not_import(tmp_path: Path, capsys: Any) -> None:
    State({"supervisor": 9}).save(Home.of("local", tmp_path))
    assert main(["status"], CheckoutOfBroken(tmp_path)) == 1
    shown = capsys.readouterr().out
    assert "DAGs are incomplete: dags/to_lake.py: NameError: x" in shown
    assert "what is loaded cannot be told: not now" in shown, "and not as if there were nothing"


def test_the_password_is_shown_by_a_command(tmp_path: Path, capsys: Any) -> None:
    home = Home.of("local", tmp_path)
    State({"supervisor": 9}).save(home)
    write_atomically(home.secrets / "admin_password", "of-the-admin")
    assert main(["status", "--password"], Checkout(tmp_path)) == 0
    assert capsys.readouterr().out == "of-the-admin\n"
    write_atomically(home.secrets / "taxi_database_password", "of-taxi")
    assert main(["status", "--postgres-password"], Checkout(tmp_path)) == 0
    assert capsys.readouterr().out == "of-taxi\n"


class Empty:
    """Nothing is loaded."""

    def status(self) -> list[Any]:
        return []

    def mart_heads(self, _count: int) -> dict[str, Any]:
        return {}


@pytest.mark.parametrize("terminal", ["1", ""])
def test_the_password_is_printed_on_a_terminal_and_into_no_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any, terminal: str
) -> None:
    home, loads = Home.of("local", tmp_path), Empty()
    write_atomically(home.secrets / "admin_password", "of-the-admin")
    monkeypatch.setenv("FORCE_COLOR", terminal)
    started: Any = Hanging(home)
    _show_up(started, cast("Any", loads), [])
    shown = capsys.readouterr().out
    assert ("of-the-admin" in shown, "scripts/status --password" in shown) == (bool(terminal), not terminal)


def test_what_to_type_next_begins_after_what_is_loaded(tmp_path: Path, capsys: Any) -> None:
    class Loaded(Empty):
        def status(self) -> list[Any]:
            counts = dict.fromkeys(("typed", "quarantined", "warehouse", "postgres"), 1)
            row: dict[str, Any] = {f"{name}_rows": count for name, count in counts.items()}
            facts = {"raw_bytes": 1, "audit_failures": 0, "audit_warnings": 0}
            return [{**row, **facts, "dataset": "yellow", "period": "2024-04", "state": "loaded"}]

    _show_up(cast("Any", Hanging(Home.of("local", tmp_path))), cast("Any", Loaded()), [])
    assert "scripts/run yellow 2024-05..2024-06" in capsys.readouterr().out


# What is wrong with a stack is reported before anything is started


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def started(*_: Any) -> Any:
    pytest.fail("something would have been started")


@pytest.mark.parametrize("options", [["--engine", "cli"], ["--stack", "alice", "--project", "acme-data"]])
def test_without_pulumi_nothing_is_started_that_needs_it(
    folder: Path, options: list[str], capsys: Any
) -> None:
    assert main(["up", *options], Checkout(folder, started)) == 3
    assert "there is no pulumi on PATH" in capsys.readouterr().err
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "sentence"),
    [([], "taxiway:location is 'mars'"), (["--project", "Acme"], "taxiway:project is 'Acme'")],
)
def test_a_wrong_setting_is_reported_with_the_file_it_is_in(
    folder: Path, options: list[str], sentence: str, capsys: Any
) -> None:
    (folder / "pulumi").write_text("")
    (folder / "pulumi").chmod(0o755)
    if not options:
        Checkout(folder).files.write("local", {"taxiway:location": "mars"})
    assert main(["up", *options], Checkout(folder, started)) == 1
    shown = capsys.readouterr().err
    assert sentence in shown
    assert str(folder / "infra" / "stacks" / "Pulumi.local.yaml") in shown
    assert not (folder / ".taxiway").exists()


@pytest.mark.parametrize(
    ("credentials", "sentence"),
    [("impersonation", "no credentials of your own"), ("key", "default credentials were not found")],
)
def test_without_credentials_of_googles_nothing_is_started(
    folder: Path, monkeypatch: pytest.MonkeyPatch, credentials: str, sentence: str, capsys: Any
) -> None:
    (folder / "pulumi").write_text("")
    (folder / "pulumi").chmod(0o755)
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    monkeypatch.setenv("CLOUDSDK_CORE_ACCOUNT", "alice@example.com")
    # Nor is this a machine of Google's, which would have some.
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    checkout = Checkout(folder, started)
    checkout.files.write("alice", {"taxiway:credentials": credentials})
    assert main(["up", "--stack", "alice", "--project", "acme-data"], checkout) == 3
    shown = capsys.readouterr().err
    assert sentence in shown
    assert "gcloud auth application-default login" in shown
    assert not (folder / ".taxiway").exists()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--project", "acme-data"], "is here as embedded on emulators"),
        (["--target", "compose"], "is here as embedded on emulators"),
    ],
)
def test_an_environment_does_not_move_while_it_is_up(
    folder: Path, options: list[str], sentence: str, capsys: Any
) -> None:
    State({"supervisor": 9}).save(Home.of("local", folder))
    assert main(["up", *options], Checkout(folder, started)) == 1
    shown = capsys.readouterr().err
    assert sentence in shown
    assert "scripts/down --stack local" in shown


# Hints


@pytest.mark.parametrize("command", [["run", "yellow", "2024-01"], ["status"], ["logs", "postgres"]])
def test_a_remedy_names_the_stack_that_the_command_was_about(
    tmp_path: Path, capsys: Any, command: list[str]
) -> None:
    assert main([*command, "--stack", "alice"], Checkout(tmp_path)) == 1
    assert "Create one: scripts/up --stack alice\n" in capsys.readouterr().err
    assert main(command, Checkout(tmp_path)) == 1
    assert "Create one: scripts/up\n" in capsys.readouterr().err


def test_every_command_that_takes_a_stack_is_named_with_it() -> None:
    takes = {n for n, c in COMMANDS.items() if {"--stack", "stack"} & {o for p in c.params for o in p.opts}}
    assert takes >= {"up", "env", "airflow", "drift"}
    hints = Hints("alice")
    for name in COMMANDS:
        named = {"env": " alice"}.get(name, " --stack alice") if name in takes else ""
        assert hints.named(f"Call scripts/{name} again.") == f"Call scripts/{name}{named} again."


def test_a_command_that_names_its_stack_and_a_file_of_that_name_stay_as_they_are() -> None:
    for text in ("scripts/down --stack bob", "/srv/taxiway/scripts/up", "scripts/upgrade 3.4", "scripts/_x"):
        assert Hints("alice").named(text) == text
    assert Hints().named("scripts/up") == "scripts/up"


@pytest.mark.parametrize("stack", ["Alice.Dev", "alice_dev", "0alice", "_mine", "a" * 100])
def test_a_stack_may_have_the_names_that_pulumi_takes(tmp_path: Path, capsys: Any, stack: str) -> None:
    assert main(["status", "--stack", stack], Checkout(tmp_path)) == 1
    assert f"Create one: scripts/up --stack {stack}" in capsys.readouterr().err


@pytest.mark.parametrize("stack", ["..", ".x", "-x", "a/b", "_engine", "local.lock", "a b", "a" * 101])
def test_a_name_that_cannot_be_a_folder_beside_the_others_is_refused(
    tmp_path: Path, capsys: Any, stack: str
) -> None:
    assert main(["status", f"--stack={stack}"], Checkout(tmp_path)) == 2
    assert "is not a name of letters, digits and _.-" in capsys.readouterr().err


def test_check_writes_the_format_only_if_it_is_told_to(tmp_path: Path) -> None:
    file = tmp_path / "own.py"
    file.write_text("import os\nx = [1,2]\n")
    assert main(["check"], Checkout(tmp_path)) != 0
    assert file.read_text() == "import os\nx = [1,2]\n"
    main(["check", "--fix"], Checkout(tmp_path))
    assert file.read_text() == "x = [1, 2]\n"
