"""The Pulumi program: settings, components, outputs."""

import pulumi

from lakehouse.context import Context
from lakehouse.identity import PipelineIdentity, ReaderIdentity
from lakehouse.outputs import outputs, places
from lakehouse.project import Apis, Budget
from lakehouse.stores import Lake, Warehouse

context = Context.of_stack()
# Children inherit `protect`, identity and grants too: else `pulumi destroy` of a protected stack would take
# those away first, and refuse only when it comes to the data.
ready = pulumi.ResourceOptions(depends_on=[Apis(context)], protect=not context.settings.ephemeral)
identity = PipelineIdentity(context, ready)
reader = ReaderIdentity(context, ready) if context.settings.reader else None
lake = Lake(context, identity, reader, ready)
warehouse = Warehouse(context, identity, reader, ready)
if context.settings.composer:
    # It lists every file of dags/ and plugins/, which no other stack needs.
    from lakehouse.composer import Composer

    Composer(context, identity, places(context.settings, lake.name, warehouse.dataset_id), ready)
if context.settings.runner:
    from lakehouse.runner import Runner

    Runner(context, identity, outputs(context.settings, lake.name, warehouse.dataset_id), ready)
if context.settings.budget:
    Budget(context, lake.project_number, ready)
credentials = (identity.credentials, reader.credentials if reader else None)
for name, value in outputs(context.settings, lake.name, warehouse.dataset_id, *credentials).items():
    pulumi.export(name, value)
