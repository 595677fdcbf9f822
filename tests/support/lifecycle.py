#!/usr/bin/env python
"""The whole life of a stack on a real project, or on emulators: `scripts/test --cloud PROJECT`.

    scripts/test --cloud my-project             asks before it costs anything
    scripts/test --cloud my-project --yes       does not ask
    scripts/test --cloud emulators              the same steps, here, for nothing

It says what will be made and what that costs, brings a stack of its own up, loads one month, and looks
whether the month is everywhere, nothing has drifted, and a second `up` plans nothing. Then it takes the stack
down, also after a failure, and has the cloud asked whether anything is left. What Google's APIs were asked
and answered is kept without secrets. Killed, it leaves the stack: scripts/down --stack cloud-test takes it.
Exit code: 0 if every step did what it should.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from recorder import Recorder

REPOSITORY = Path(__file__).resolve().parents[2]

EMULATORS = "emulators"
STACK, DATASET, MONTH = "cloud-test", "yellow", "2024-01"
# A first `up` installs nothing more, but waits for grants (10 minutes) and for Airflow.
SECONDS = 3600
RECORDINGS = REPOSITORY / ".taxiway" / "recordings"


@dataclass(frozen=True)
class Done:
    """How a command ended, and what it printed."""

    code: int
    output: str


Run = Callable[[Sequence[str]], Done]


class StepError(Exception):
    """A step did not do what it should."""


@dataclass
class Life:
    """One stack's life, step by step; `run` calls a command of scripts/."""

    project: str
    run: Run
    source: str = "sample"
    steps: list[str] = field(default_factory=list)

    @property
    def place(self) -> list[str]:
        """The options that say which stack is meant."""
        return ["--stack", STACK, *([] if self.project == EMULATORS else ["--project", self.project])]

    def expect(self, what: str, command: Sequence[str], holds: Callable[[Done], bool]) -> Done:
        """Call a command; StepError with the end of its output unless it did what it should."""
        began = time.monotonic()
        done = self.run(command)
        if not holds(done):
            shown = "\n".join(done.output.strip().splitlines()[-15:])
            raise StepError(f"{what}: scripts/{' '.join(command)} exited with {done.code}\n{shown}")
        self.steps.append(what)
        say(f"✓ {what} ({time.monotonic() - began:.0f} s)")
        return done

    def preview(self) -> str:
        """What would be made, and what a month of it costs."""
        name = "changes and cost are known, and nothing was changed"
        done = self.expect(name, ["preview", *self.place], lambda d: d.code == 0 and "in all" in d.output)
        return done.output

    def live(self) -> None:
        """Bring it up, load one month, look at it from every side, take it down; the last in any case."""
        try:
            self._up()
            self._check()
        finally:
            self._down()

    def _up(self) -> None:
        up = ["up", *self.place, "--months", MONTH, "--source", self.source]
        self.expect("it is up, with one month", up, lambda d: d.code == 0)

    def _check(self) -> None:
        self.expect("the month is in every store", ["status", "--json", "--stack", STACK], _is_loaded)
        self.expect("nothing has drifted", ["drift", "--stack", STACK], lambda d: d.code == 0)
        nothing = "Nothing would change."
        self.expect("a second up plans nothing", ["preview", "--stack", STACK], lambda d: nothing in d.output)
        again = ["up", *self.place, "--months", MONTH, "--source", self.source]
        loaded = "nothing to do"
        self.expect("and does nothing", again, lambda d: d.code == 0 and loaded in d.output)

    def _down(self) -> None:
        # It asks the cloud itself, by label and by name, and fails with the list of what is left.
        down = ["down", "--stack", STACK]
        for what, said in {
            "it is down, and nothing is left": "Nothing is left",
            "a second down finds nothing": "nothing to remove",
        }.items():
            self.expect(what, down, lambda d, said=said: d.code == 0 and said in d.output)


def _is_loaded(done: Done) -> bool:
    try:
        datasets = json.loads(done.output[done.output.index("{") :])["datasets"]
    except ValueError:
        return False
    rows = [row for row in datasets if (row["dataset"], row["period"]) == (DATASET, MONTH)]
    return bool(rows) and all(row["state"] == "loaded" for row in rows)


def scripts(variables: Mapping[str, str]) -> Run:
    """Call this checkout's commands, with these variables beside the shell's."""

    def run(command: Sequence[str]) -> Done:
        name, *options = command
        try:
            done = subprocess.run(
                [REPOSITORY / "scripts" / name, *options],
                cwd=REPOSITORY,
                env={**os.environ, **variables, "COLUMNS": "200"},
                stdout=subprocess.PIPE,
                # Of `status --json` only what a program is to read.
                stderr=subprocess.DEVNULL if "--json" in options else subprocess.STDOUT,
                text=True,
                timeout=SECONDS,
            )
        except subprocess.TimeoutExpired as error:
            return Done(124, f"{error.stdout or ''}\nno end within {SECONDS} s")
        return Done(done.returncode, done.stdout)

    return run


def say(text: str) -> None:
    """Print a line now: each takes minutes."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main(
    arguments: Sequence[str] | None = None, run: Run | None = None, ask: Callable[[str], str] = input
) -> int:
    """Live the life; `run` and `ask` are for tests."""
    parser = argparse.ArgumentParser("scripts/test --cloud", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("project", help="id of the project, or `emulators`")
    parser.add_argument("--yes", action="store_true", help="do not ask before it costs anything")
    parser.add_argument("--source", default="sample", help="where the month comes from: sample, tlc or a URL")
    parser.add_argument("--record", type=Path, metavar="FILE", help="where the traffic is kept")
    given = parser.parse_args(arguments)
    on_google = given.project != EMULATORS
    file = given.record or RECORDINGS / f"{time.strftime('%Y%m%dT%H%M%S')}.jsonl"
    with tempfile.TemporaryDirectory() as folder:
        recorder = Recorder(file, {given.project: "p1"}) if on_google and run is None else None
        with recorder or nullcontext():
            variables = recorder.variables(Path(folder)) if recorder else {}
            code = _live(Life(given.project, run or scripts(variables), source=given.source), given.yes, ask)
    if recorder:
        say(f"{recorder.count} exchanges, without secrets: {file}")
    return code


def _live(life: Life, agreed: bool, ask: Callable[[str], str]) -> int:
    try:
        say(life.preview())
        on_google = life.project != EMULATORS
        if on_google:
            # The estimate is for a month and gigabytes; this takes a quarter of an hour, and megabytes.
            say("It lives for about 20 minutes, with one month of generated rows: less than 0.10 US dollars.")
        if (
            on_google
            and not agreed
            and ask(f"Make it in {life.project}? [y/N] ").strip().lower() not in ("y", "yes")
        ):
            say("Nothing was made.")
            return 0
        life.live()
    except StepError as error:
        say(f"✗ {error}")
        return 1
    say(f"{len(life.steps)} steps, all as they should be.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
