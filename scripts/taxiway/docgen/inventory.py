"""What a stack with given settings is made of, as data: tests/infra/inventories, reviewed like code.

`config` and `absent` of an inventory are written by people, all else is what the program declares.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from taxiway.environment.home import REPOSITORY
from taxiway.infrastructure.plan import Declared, plan

STACK: Final = "alice"
FOLDER: Final = REPOSITORY / "tests" / "infra" / "inventories"
HEADER: Final = "# Made by scripts/docs, but for config and absent.\n"
# One for each file of dags/ and plugins/: those are not the infrastructure's to list.
_UPLOAD: Final = "gcp:storage/bucketObject:BucketObject"


def paths() -> list[Path]:
    """Return the inventories, one for each scenario."""
    return sorted(FOLDER.glob("*.yaml"))


def text(path: Path) -> str:
    """Return an inventory's file as it should be."""
    content = yaml.safe_load(path.read_text())
    kept = {"config": content["config"], "absent": content["absent"]}
    return HEADER + yaml.safe_dump({**kept, **inventory(content["config"])}, sort_keys=False, width=120)


def inventory(config: Mapping[str, str]) -> dict[str, Any]:
    """Return counts, resources by type and name, and outputs of the stack `alice` with these settings."""
    declared = plan(STACK, config)
    resources = [resource for resource in declared.resources if resource.type != _UPLOAD]
    return {
        "counts": dict(sorted(Counter(resource.type for resource in resources).items())),
        "resources": {resource.key: _described(resource) for resource in resources},
        "outputs": {
            name: "(secret)" if name in declared.secret else value
            for name, value in sorted(declared.outputs.items())
        },
    }


def _described(resource: Declared) -> dict[str, Any]:
    options = {"protect": resource.protect, "retain_on_delete": resource.retain_on_delete}
    return {**{name: True for name, is_set in options.items() if is_set}, "inputs": _ordered(resource.inputs)}


def _ordered(value: Any) -> Any:
    """Return a value whose objects have their names in order; the wire format keeps none."""
    if isinstance(value, Mapping):
        return {name: _ordered(value[name]) for name in sorted(value)}
    return [_ordered(item) for item in value] if isinstance(value, list) else value
