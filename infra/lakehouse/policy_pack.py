"""The guardrails as a Pulumi policy pack, through Pulumi's policy SDK."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import pulumi
from pulumi_policy import (
    EnforcementLevel,
    Policy,
    PolicyPack,
    ReportViolation,
    ResourceValidationArgs,
    ResourceValidationPolicy,
    StackValidationArgs,
    StackValidationPolicy,
)
from pulumi_policy.proxy import UnknownValueError

from lakehouse.guardrails import RULES, SETTINGS, Resource, Rule
from lakehouse.settings import NAMESPACE

NAME: Final = "taxiway"


def serve() -> None:
    """Serve the rules on a free port of the loopback; the engine reads the port and ends the process."""
    # Read here: the SDK answers in threads of its own, and Pulumi's configuration does not reach those.
    ours = pulumi.Config(NAMESPACE)
    config = {f"{NAMESPACE}:{key}": value for key in SETTINGS if (value := ours.get(key)) is not None}
    PolicyPack(NAME, [_policy(rule, config) for rule in RULES], EnforcementLevel.MANDATORY)


def _policy(rule: Rule, config: Mapping[str, str]) -> Policy:
    check_resource, check_stack = rule.resource, rule.stack
    if check_stack:

        def stack(args: StackValidationArgs, report: ReportViolation) -> None:
            found = [Resource(one.resource_type, one.name, one.props) for one in args.resources]
            _report(lambda: check_stack(found, config), report)

        return StackValidationPolicy(rule.name, rule.description, stack)

    def resource(args: ResourceValidationArgs, report: ReportViolation) -> None:
        found = Resource(args.resource_type, args.name, args.props)
        _report(lambda: check_resource(found, config) if check_resource else (), report)

    return ResourceValidationPolicy(rule.name, rule.description, resource)


def _report(check: Callable[[], Iterable[str]], report: Callable[..., Any]) -> None:
    try:
        for message in check():
            report(message)
    except UnknownValueError:
        # A value that the preview of a new stack cannot know, such as the account's address. The SDK would
        # warn of each; the update itself asks again, with the value, before it makes the resource.
        return
