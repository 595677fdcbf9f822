"""The datasets and marts that the product brings: tests of these name them.

A user's own are beside them, in the same mappings; tests of rules run over all that are there.
"""

from elt.catalogue import registry

DATASETS = {name: registry.dataset(name) for name in ("yellow", "green", "fhv", "fhvhv", "zones")}
MARTS = {name: registry.MARTS[name] for name in ("daily_zone_revenue", "hourly_demand", "payment_mix")}
