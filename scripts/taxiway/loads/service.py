"""Load what is missing and say what came of it: what `up` and `run` have in common."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from elt.catalogue.registry import DATASETS
from elt.settings import Settings
from elt.stages import marts
from elt.warehouse import load_log
from elt.warehouse.load_log import Key, LogRow
from taxiway.airflow.client import AirflowApi
from taxiway.console.progress import Progress
from taxiway.environment.home import Home, read_json
from taxiway.loads.runner import NOT_PUBLISHED, WINDOW, Loaded, Loader, Unit, needed

SILENCE_SECONDS = 300.0
NOT_PUBLISHED_CODE = 4


@dataclass(frozen=True)
class Again:
    """Units to load although they are loaded; `force` does also what would find that nothing has changed."""

    units: Collection[Unit] = ()
    force: bool = False


def settings_of(home: Home) -> Settings:
    """The settings that the environment's Airflow has."""
    variables = read_json(home.environment)
    if path := variables.get("GOOGLE_APPLICATION_CREDENTIALS"):
        os.environ["GOOGLE_APPLICATION_CREDENTIALS"] = path  # where Google's libraries look
    return Settings.from_environment(variables)


def loaded_stages(settings: Settings) -> Loaded:
    """What the load log says is loaded."""
    return current_stages(load_log.latest(settings))


def current_stages(log: Mapping[Key, LogRow]) -> Loaded:
    """Stages by unit, without those of an older file than `raw` or made by other rules than today's."""
    stages: dict[Unit, set[str]] = {}
    for (name, month, stage), row in log.items():
        if name in DATASETS and _is_current(row, log):
            stages.setdefault(Unit(name, month or ""), set()).add(stage)
    return stages


def _is_current(row: LogRow, log: Mapping[Key, LogRow]) -> bool:
    entry, published = DATASETS[row.dataset], log.get((row.dataset, row.month, "warehouse"))
    if row.checksum != log.get((row.dataset, row.month, "raw"), row).checksum:
        return False
    if row.stage == "mart":
        return published is not None and marts.current(entry, row, published)
    return row.stage == "raw" or row.schema_version == entry.schema_version


def load_months(
    home: Home,
    api: AirflowApi,
    progress: Progress,
    wanted: Iterable[Unit],
    wait: float,
    again: Again = Again(),
) -> int:
    """Load the units that are not loaded yet, in the order given; returns the exit code."""
    settings, units = settings_of(home), list(wanted)
    before = loaded_stages(settings)
    missing = {unit: dags for unit in units if (dags := needed(unit, {} if unit in again.units else before))}
    if not missing:
        progress.say("everything asked for is loaded already; nothing to do", "done")
        return 0
    if len(missing) > WINDOW:
        progress.say(f"{len(missing)} of {len(units)} are to be loaded, the others are")
    outcomes = Loader(api, progress, wait, again.force).load(missing, SILENCE_SECONDS + wait)
    after = loaded_stages(settings)
    many = len(missing) > WINDOW
    codes = [_tell(progress, unit, outcomes[unit], needed(unit, after), brief=many) for unit in missing]
    if many:
        progress.say(_summary(codes), "failed" if 1 in codes else "done")
    return max(codes, key=[0, NOT_PUBLISHED_CODE, 1].index)


def _summary(codes: list[int]) -> str:
    words = {0: "loaded", NOT_PUBLISHED_CODE: NOT_PUBLISHED, 1: "not loaded"}
    return ", ".join(f"{codes.count(code)} {what}" for code, what in words.items() if code in codes)


def _tell(progress: Progress, unit: Unit, outcome: str, still: list[str], *, brief: bool) -> int:
    if outcome == NOT_PUBLISHED:
        progress.say(f"[yellow]{unit} is not published yet. Ask again later: scripts/run {unit}[/]")
        return NOT_PUBLISHED_CODE
    if outcome or still:
        progress.say(
            f"[red]{unit} is not loaded: {outcome or 'no trace of ' + ', '.join(still)}[/]", "failed"
        )
        return 1
    if not brief:
        progress.say(f"{unit} is loaded", "done")
    return 0
