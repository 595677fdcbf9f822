"""Load what is missing and say what came of it: what `up` and `run` have in common."""

from __future__ import annotations

import os
from collections.abc import Iterable

from nyc_taxi import load_log
from nyc_taxi.settings import Settings
from taxiway.airflow_api import AirflowApi
from taxiway.files import read_json
from taxiway.loading import NOT_PUBLISHED, Loaded, Loader, Unit, needed
from taxiway.paths import Home
from taxiway.progress import Progress

SILENCE_SECONDS = 300.0
NOT_PUBLISHED_CODE = 4


def settings_of(home: Home) -> Settings:
    """The settings that the environment's Airflow has."""
    variables = read_json(home.environment)
    if path := variables.get("GOOGLE_APPLICATION_CREDENTIALS"):
        os.environ["GOOGLE_APPLICATION_CREDENTIALS"] = path  # where Google's libraries look
    return Settings.from_environment(variables)


def loaded_stages(settings: Settings) -> Loaded:
    """What the load log says is loaded."""
    stages: dict[Unit, set[str]] = {}
    for dataset, month, stage in load_log.latest(settings):
        stages.setdefault(Unit(dataset, month or ""), set()).add(stage)
    return stages


def load_months(home: Home, api: AirflowApi, progress: Progress, wanted: Iterable[Unit], wait: float) -> int:
    """Load the units that are not loaded yet; returns the exit code."""
    settings, units = settings_of(home), list(wanted)
    before = loaded_stages(settings)
    missing = [unit for unit in units if needed(unit, before)]
    if not missing:
        progress.say("everything asked for is loaded already; nothing to do", "done")
        return 0
    outcomes = Loader(api, progress, wait).load(missing, before, SILENCE_SECONDS + wait)
    after = loaded_stages(settings)
    codes = [_tell(progress, unit, outcomes[unit], needed(unit, after)) for unit in missing]
    return max(codes, key=[0, NOT_PUBLISHED_CODE, 1].index)


def _tell(progress: Progress, unit: Unit, outcome: str, still: list[str]) -> int:
    if outcome == NOT_PUBLISHED:
        progress.say(f"[yellow]{unit} is not published yet. Ask again later: scripts/run {unit}[/]")
        return NOT_PUBLISHED_CODE
    if outcome or still:
        progress.say(
            f"[red]{unit} is not loaded: {outcome or 'no trace of ' + ', '.join(still)}[/]", "failed"
        )
        return 1
    progress.say(f"{unit} is loaded", "done")
    return 0
