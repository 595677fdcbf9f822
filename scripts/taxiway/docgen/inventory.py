"""What a stack with given settings is made of, as data: reviewed as files, compared by tests, shown in docs.

    python -m taxiway.docgen.inventory FILE...

rewrites inventories: `config` and `absent` stay, the rest is what the program declares now.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from taxiway.environment.home import REPOSITORY, write_atomically
from taxiway.infrastructure.evaluate import Declared, Plan

STACK = "alice"
HEADER = "# Generated, but for config and absent: python -m taxiway.docgen.inventory {path}\n"
# One for each file of dags/ and plugins/: those are not the infrastructure's to list.
_UPLOAD = "gcp:storage/bucketObject:BucketObject"


def inventory(config: Mapping[str, str]) -> dict[str, Any]:
    """Return counts, resources by type and name, and outputs of the stack `alice` with these settings."""
    plan = _plan(config)
    resources = [resource for resource in plan.resources if resource.type != _UPLOAD]
    return {
        "counts": dict(sorted(Counter(resource.type for resource in resources).items())),
        "resources": {resource.key: _described(resource) for resource in resources},
        "outputs": {
            name: "(secret)" if name in plan.secret else value for name, value in sorted(plan.outputs.items())
        },
    }


def rewrite(path: Path) -> None:
    """Bring one inventory file up to date."""
    content = yaml.safe_load(path.read_text())
    kept = {"config": content["config"], "absent": content["absent"]}
    text = yaml.safe_dump({**kept, **inventory(content["config"])}, sort_keys=False, width=120)
    write_atomically(path, HEADER.format(path=path.resolve().relative_to(REPOSITORY)) + text, mode=0o644)


def main(arguments: Sequence[str]) -> None:
    """Rewrite the files that are named."""
    for name in arguments:
        rewrite(Path(name))


def _plan(config: Mapping[str, str]) -> Plan:
    # The program's import root is there only once the engines' package was imported.
    from taxiway.infrastructure.plan import plan

    return plan(STACK, config)


def _described(resource: Declared) -> dict[str, Any]:
    options = {"protect": resource.protect, "retain_on_delete": resource.retain_on_delete}
    return {**{name: True for name, is_set in options.items() if is_set}, "inputs": _ordered(resource.inputs)}


def _ordered(value: Any) -> Any:
    """Return a value whose objects have their names in order; the wire format keeps none."""
    if isinstance(value, Mapping):
        return {name: _ordered(value[name]) for name in sorted(value)}
    return [_ordered(item) for item in value] if isinstance(value, list) else value


if __name__ == "__main__":
    main(sys.argv[1:])
