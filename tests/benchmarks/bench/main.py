"""scripts/bench: measure the platform against its limits and its peers, on this machine."""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from bench import history, idle, install, library, machine, month, orchestration, report, years
from bench.section import Bench, Section
from taxiway.console.progress import Progress
from taxiway.embedded.supervisor import Supervisor
from taxiway.environment.home import REPOSITORY, Home, write_atomically, write_json
from taxiway.environment.machine import Machine
from taxiway.errors import TaxiwayError, UsageError

SECTIONS: Mapping[str, tuple[str, Callable[[Bench], Section]]] = {
    "parse": ("DAG parse", orchestration.parse_dags),
    "postgres": ("Parquet → PostgreSQL", library.load_postgres),
    "lake": ("HTTP → lake", library.fill_lake),
    "conform": ("Raw → typed Parquet", library.conform),
    "warehouse": ("Lake → warehouse", library.load_warehouse),
    "memory": ("Memory", library.use_memory),
    "month": ("A month, end to end", month.month),
    "install": ("Installation", install.install),
    "start": ("Start", orchestration.start),
    "backfill": ("Backfill", orchestration.backfill),
    "idle": ("Idle", idle.idle),
}
"""Title and measurement by name, in the order in which they are measured: the short ones first."""
ON_REQUEST: Mapping[str, tuple[str, Callable[[Bench], Section]]] = {
    "years": ("Years", years.years),
    "history": ("History", history.history),
}
"""What `all` leaves out: they take longer than the rest."""
# Nothing is installed for these alone.
PEERLESS = {"parse", "memory", "install", "start", "backfill", "idle", "years", "history"}

EXAMPLES = """\
  scripts/bench all                        everything, and docs/performance.md
                                           (40 minutes)
  scripts/bench postgres                   one section
  scripts/bench postgres --rows 300000 --n 3 --json FILE
                                           a quick look, for programs too
  scripts/bench lake conform --no-peers    limits and ours only: nothing is
                                           installed
  scripts/bench years --partitions 1000    small partitions through lake,
                                           warehouse and Postgres, killed once
  scripts/bench history                    what 100,000 finished task instances
                                           cost
  scripts/bench idle --seconds 300         what a platform with nothing to do
                                           costs"""
HOME = Home.of("_bench").root
PAGE = REPOSITORY / "docs" / "performance.md"
PICTURE = REPOSITORY / "docs" / "images" / "performance.svg"


def main(arguments: list[str]) -> int:
    """Measure; returns 1 if a section could not be measured."""
    chosen = _parser().parse_args(arguments)
    names = _sections(chosen.sections)
    progress, console = Progress(), Console()
    Machine.at(REPOSITORY).check()
    Supervisor(Home(HOME), 0).end_strays()
    peers = machine.peers(progress) if chosen.peers and not PEERLESS.issuperset(names) else None
    settings = (chosen.rows, chosen.n, chosen.seed)
    bench = Bench(HOME, *settings, peers, progress, chosen.seconds, chosen.peers, chosen.partitions)
    figures: dict[str, Any] = {
        "machine": machine.describe(),
        "rows": chosen.rows,
        "n": chosen.n,
        "sections": {},
    }
    if machine.is_busy(figures["machine"]):
        progress.say("the machine is busy: trust the ratios and CPU seconds, not the rates", style="yellow")
    try:
        for name in names:
            figures["sections"][name] = _measure(name, bench)
            report.show(console, {**SECTIONS, **ON_REQUEST}[name][0], figures["sections"][name])
            if name in ON_REQUEST:  # no page has what these find beside rates
                console.print_json(data=figures["sections"][name])
            if chosen.json:
                write_json(chosen.json, figures)
    finally:
        if not chosen.keep:
            shutil.rmtree(HOME, ignore_errors=True)
    if names == list(SECTIONS):
        _write_pages(figures)
        progress.say(f"{PAGE.relative_to(REPOSITORY)} is written", "done")
    progress.say(f"done in {progress.elapsed / 60:.1f} minutes", "done")
    return int(any("failed" in section for section in figures["sections"].values()))


def _measure(name: str, bench: Bench) -> dict[str, Any]:
    """One section; an error in it does not end the others."""
    bench.progress.say(name, style="bold")
    began = bench.progress.elapsed
    try:
        found: dict[str, Any] = {**SECTIONS, **ON_REQUEST}[name][1](bench).as_json()
    except Exception as error:
        reason = f"{type(error).__name__}: {error}" if not isinstance(error, TaxiwayError) else str(error)
        bench.progress.say(f"{name}: {reason}", "failed", style="red")
        return {"failed": reason}
    elapsed = round(bench.progress.elapsed - began)
    bench.progress.say(f"{name} is measured in {elapsed} s", "done")
    return found | {"elapsed_s": elapsed}


def _write_pages(figures: dict[str, Any]) -> None:
    titles = {name: title for name, (title, _) in SECTIONS.items()}
    write_atomically(PAGE, report.page(figures, titles), 0o644)
    write_atomically(PICTURE, report.picture(figures["sections"], titles), 0o644)


def _sections(wanted: list[str]) -> list[str]:
    known = [*SECTIONS, *ON_REQUEST]
    if unknown := sorted(set(wanted) - {*known, "all"}):
        raise UsageError(f"section {unknown[0]!r} does not exist", f"Choose of: all, {', '.join(known)}")
    return list(SECTIONS) if "all" in wanted else [name for name in known if name in wanted]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/bench",
        description="Measure the platform against its limits and its peers.",
        epilog=f"examples:\n{EXAMPLES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "sections",
        nargs="+",
        metavar="SECTION",
        help=f"all, or some of: {', '.join([*SECTIONS, *ON_REQUEST])}",
    )
    parser.add_argument("--rows", type=_count, default=3_000_000, help="rows of the files (%(default)s)")
    parser.add_argument("--n", type=_count, default=3, help="runs of each contestant (%(default)s)")
    parser.add_argument(
        "--seconds", type=_count, default=60, help="how long the idle platform is watched (%(default)s)"
    )
    parser.add_argument(
        "--partitions", type=_count, default=1000, help="small partitions of `years` (%(default)s)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to FILE")
    parser.add_argument("--seed", type=int, default=2024, help="of the random order (%(default)s)")
    parser.add_argument(
        "--no-peers", dest="peers", action="store_false", help="without other tools; nothing is installed"
    )
    parser.add_argument("--keep", action="store_true", help="keep the generated files in .taxiway/_bench")
    return parser


def _count(text: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= 100_000_000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 on")
    return int(text)
