"""For who works on this repository: help, test, check, docs, bench, upgrade."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import click

from taxiway.cli.options import PASS_THROUGH, command, pass_checkout
from taxiway.errors import TaxiwayError, UsageError
from taxiway.targets.target import Checkout

# For everything; what a worker gets at a time is decided in tests/conftest.py.
WORKERS = ("--numprocesses=2",)
# mypy on an empty cache takes two minutes on two cores.
CHECK_SECONDS = 900
BIN = Path(sys.prefix) / "bin"


def _become(folder: Path, *command: str | Path) -> int:
    """Replace this process: signals and the exit code are the program's own."""
    # Airflow's own settings of the user's shell are not the tests' business.
    environment = {k: v for k, v in os.environ.items() if not k.startswith("AIRFLOW_")}
    os.chdir(folder)
    os.execve(command[0], [str(word) for word in command], environment)  # noqa: S606


@command(
    "test",
    """
  scripts/test                     what a change should pass: 15 minutes
  scripts/test --all               and the tests that take minutes each
  scripts/test --docker            the compose target, in real containers
  scripts/test --hosts             workers on other hosts, cut off and destroyed
                                   in a longer backfill (in containers, too)
  scripts/test --cloud my-project  a stack's whole life on Google Cloud: says
                                   what it costs, asks, leaves nothing
  scripts/test tests/unit          some of it; any option of pytest may follow
  scripts/test -k month -x
""",
    context_settings=PASS_THROUGH,
)
@click.option("--cloud", metavar="PROJECT", help="Try a real project, or `emulators`, in place of tests.")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[PYTEST OPTIONS]…")
@pass_checkout
def test(checkout: Checkout, cloud: str | None, arguments: tuple[str, ...]) -> int:
    """Run the tests; every other option goes to pytest."""
    ours = {"--all", "--docker", "--hosts"}.intersection(arguments) or cloud
    if ours and not (checkout.folder / "tests" / "support").is_dir():
        raise UsageError(
            "these tests are Taxiway's own, and not in this project", "scripts/test runs what is."
        )
    if cloud:
        return _become(
            checkout.folder,
            sys.executable,
            checkout.folder / "tests" / "support" / "lifecycle.py",
            cloud,
            *arguments,
        )
    return _become(
        checkout.folder, BIN / "pytest", *(WORKERS if set(arguments) <= {"--all"} else ()), *arguments
    )


@command(
    "bench",
    """
  scripts/bench postgres           load Postgres, beside limit and other tools
  scripts/bench all                everything: 40 minutes
""",
    # The benchmark, which is no part of this package, has help of its own.
    add_help_option=False,
    context_settings=PASS_THROUGH,
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="SECTION…")
@pass_checkout
def bench(checkout: Checkout, arguments: tuple[str, ...]) -> int:
    """Measure the pipeline beside this machine's limits and other tools."""
    return _become(checkout.folder, sys.executable, checkout.folder / "tests" / "benchmarks", *arguments)


@command(
    "check",
    """
  scripts/check                    what CI runs before the tests
  scripts/check --fix              write the format, correct what can be
""",
)
@click.option("--fix", is_flag=True, help="Correct what the linter can, and write the format.")
@pass_checkout
def check(checkout: Checkout, fix: bool) -> int:
    """Lint, check the format and check the types."""
    lint, formatted = (["--fix"], []) if fix else ([], ["--check"])
    codes = []
    for program, *options in (["ruff", "check", *lint, "."], ["ruff", "format", *formatted, "."], ["mypy"]):
        try:
            done = subprocess.run([BIN / program, *options], cwd=checkout.folder, timeout=CHECK_SECONDS)
        except subprocess.TimeoutExpired:
            raise TaxiwayError(f"{program} did not end within {CHECK_SECONDS} s", "Call it alone.") from None
        codes.append(done.returncode)
    return max(codes)


@command(
    "docs",
    """
  scripts/docs                     write every generated page and file
  scripts/docs --check             name those that are behind the code
  scripts/docs --site              build the site into site/; a link that
                                   leads nowhere is an error
  scripts/docs --site --serve      show it, and each page as you change it
The first --site installs Zensical into .tools/site.
""",
)
@click.option("--check", is_flag=True, help="Write nothing; exit with 1 if one is behind.")
@click.option("--site", is_flag=True, help="Build the site of docs/ instead.")
@click.option("--serve", is_flag=True, help="With --site: serve it on this machine until Ctrl-C.")
@pass_checkout
def docs(checkout: Checkout, check: bool, site: bool, serve: bool) -> int:
    """Write the generated pages and files, or build the site."""
    if (check and site) or (serve and not site):
        raise click.UsageError("--check stands alone, --serve needs --site")
    if site:
        return _site(checkout, serve=serve)
    from taxiway import docgen
    from taxiway.cli.reference import page

    files = docgen.generated(check=check)
    return docgen.main(check=check, files={checkout.folder / "docs" / "commands.md": page, **files})


def _site(checkout: Checkout, *, serve: bool) -> int:
    from taxiway.docgen.site import SITE, build, serve_command

    program = SITE.installed() / SITE.there
    if serve:
        return _become(checkout.folder, *serve_command(program))
    click.echo(f"built {build(checkout.folder, program)}; to look at it: scripts/docs --site --serve")
    return 0


@command(
    "upgrade",
    """
  scripts/upgrade 3.4.0            another Airflow: resolves, installs, checks,
                                   runs the tests of DAGs and images
  scripts/upgrade --lock           the newest of all packages: the unit tests,
                                   too (15 minutes)
It changes nothing. exit code: 0 if nothing breaks, 1 if something does
""",
)
@click.argument("version", required=False)
@click.option("--lock", is_flag=True, help="Rehearse `uv lock --upgrade` instead of another Airflow.")
def upgrade(version: str | None, lock: bool) -> int:
    """Rehearse an upgrade of Airflow or all packages: what would break."""
    from taxiway.compose import packages
    from taxiway.console.progress import Progress

    if lock == bool(version):
        raise click.UsageError("give the VERSION of an Airflow, or --lock")
    if version and not re.fullmatch(r"\d+\.\d+\.\d+((a|b|rc)\d+)?", version):
        raise click.BadParameter(f"{version!r} is not a version such as 3.4.0")
    report = packages.rehearse(version or "", Progress(), packages.Uv())
    what = f"Airflow {version}" if version else "these packages"
    click.echo(f"\nOther packages than now with {what}:")
    for line in report.changes or ["none"]:
        click.echo(f"  {line}")
    if report.held:
        click.echo("\nNot the newest, by a bound in a pyproject.toml:")
        for line in report.held:
            click.echo(f"  {line}")
    for name, output in report.failures.items():
        click.echo(f"\n{name} fails with {what}:\n{output}")
    if not report.failures:
        click.echo(f"\nNothing breaks with {what}.")
    return 1 if report.failures else 0


@command(
    "help",
    """
  scripts/help                     all commands, one line each
  scripts/help run                 as scripts/run --help
""",
)
@click.argument("name", metavar="COMMAND", required=False)
@pass_checkout
def help_(checkout: Checkout, name: str | None) -> int:
    """Say what each command is for, or explain one."""
    from taxiway.cli.main import group
    from taxiway.cli.reference import help_of, overview

    known = group().commands
    if name and name not in known:
        raise click.BadParameter(f"{name!r} is no command; scripts/help lists them")
    click.echo(help_of(known[name]) if name else overview(checkout.folder), nl=False)
    return 0


COMMANDS = (help_, test, check, docs, bench, upgrade)
