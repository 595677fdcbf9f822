"""A stage in this process, not in an Airflow task: `breakpoint()` stops, a failure shows its traceback."""

from __future__ import annotations

import json
import os
import traceback

import click

from taxiway.cli.commands.airflow import complete_dataset
from taxiway.cli.options import command, pass_checkout, stack_option, stores_of
from taxiway.errors import UsageError
from taxiway.targets.target import Checkout

# All tries are of one run: `audit` finds the staging table that `stage` has left, as in a DAG run.
RUN = "scripts/try"


def complete_stage(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Names that a shell completes: the stages."""
    from elt.stages import STAGES

    return [name for name in STAGES if name.startswith(incomplete)]


@command(
    "try",
    """
  scripts/try yellow conform 2024-01         a breakpoint() in your code stops
  scripts/try yellow conform 2024-01 --pdb   a debugger where it fails
  scripts/try zones download
  scripts/try bikes audit 2024-01-05         of what scripts/try has staged
A source's connection that only Airflow knows: export AIRFLOW_CONN_NAME first.
""",
)
@click.argument("dataset", shell_complete=complete_dataset)
@click.argument("stage", shell_complete=complete_stage)
@click.argument("period", required=False)
@click.option("--pdb", is_flag=True, help="Open Python's debugger where the stage fails.")
@stack_option
@pass_checkout
def try_(checkout: Checkout, dataset: str, stage: str, period: str | None, pdb: bool, stack: str) -> int:
    """Run a STAGE of a DATASET in this process, on the stack's stores.

    STAGE is download, conform, stage, audit, publish, mart or postgres. It does what
    its task does, also where that is done already: the stores have its result then.
    """
    from elt import stages
    from elt.catalogue.registry import dataset as entry
    from elt.periods import Period
    from elt.stage_request import StageRequest

    ds = entry(dataset)
    if ds.every and period is None:
        raise UsageError(
            f"{dataset} has periods: say which", f"Such as: scripts/try {dataset} {stage} {ds.first}"
        )
    own = {name: value for name, value in os.environ.items() if name.startswith("AIRFLOW_CONN_")}
    connections = stores_of(checkout, stack, own)
    request = StageRequest(
        ds, Period.parse(period) if period else None, RUN, connections.settings, force=True
    )
    if stage not in stages.STAGES:
        raise UsageError(f"stage {stage!r} is unknown", f"Choose one of: {', '.join(stages.STAGES)}")
    try:
        result = stages.run(stage, request, connections)
    except Exception as error:
        # Not one sentence, as everywhere else: who tries a stage changes its code.
        traceback.print_exc()
        if pdb:
            import pdb as debugger

            debugger.post_mortem(error.__traceback__)
        return 1
    click.echo(json.dumps(result, indent=2, default=str))
    return 0


COMMANDS = (try_,)
