"""The Pulumi program: settings, components, outputs."""

import pulumi

from lakehouse.context import Context
from lakehouse.identity import PipelineIdentity
from lakehouse.lake import Lake
from lakehouse.outputs import outputs, places
from lakehouse.project import Apis, Budget
from lakehouse.warehouse import Warehouse

context = Context.of_stack()
ready = pulumi.ResourceOptions(depends_on=[Apis(context)])
identity = PipelineIdentity(context, ready)
lake = Lake(context, identity.member, ready)
warehouse = Warehouse(context, identity.member, ready)
if context.settings.composer:
    # It lists every file of dags/ and plugins/, which no other stack needs.
    from lakehouse.composer import Composer

    Composer(context, identity, places(context.settings, lake.name, warehouse.dataset_id), ready)
if context.settings.budget:
    Budget(context, ready)
for name, value in outputs(context.settings, lake.name, warehouse.dataset_id, identity.credentials).items():
    pulumi.export(name, value)
