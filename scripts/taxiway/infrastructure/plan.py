"""What a stack would be, without asking anybody: declared resources, rules, price."""

from __future__ import annotations

from collections.abc import Mapping

from policy.guardrails import Resource, check
from taxiway.infrastructure.dry import Dry
from taxiway.infrastructure.errors import EngineError
from taxiway.infrastructure.evaluate import Plan, Provider, evaluate


def plan(stack: str, config: Mapping[str, str], provider: Provider | None = None) -> Plan:
    """Return what the program declares for a stack and its whole configuration.

    Raises EngineError where a setting is wrong or a mandatory rule is broken.
    """
    declared = evaluate(stack, config, provider or Dry())
    resources = [Resource(resource.type, resource.name, resource.inputs) for resource in declared.resources]
    violations = check(resources, config)
    if violations:
        sentences = [
            f"{violation.rule}: {violation.resource} {violation.message}" for violation in violations
        ]
        raise EngineError("The program breaks mandatory rules.\n" + "\n".join(sentences), "See infra/policy.")
    return declared
