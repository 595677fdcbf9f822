"""The tables of docs/infrastructure.md: settings, resources, rights, APIs, outputs, rules and prices."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import yaml

from lakehouse.guardrails import RULES
from lakehouse.outputs import CREDENTIALS
from taxiway.docgen.inventory import STACK
from taxiway.docgen.markdown import Parts, codes, table
from taxiway.environment.home import REPOSITORY
from taxiway.infrastructure import cost
from taxiway.infrastructure.plan import Declared, plan
from taxiway.infrastructure.resources import TYPES

_SETTINGS: Final = {"taxiway:project": "acme-data", "taxiway:owner": "alice@example.com"}
_FEDERATED: Final = {
    "taxiway:credentials": "workload-identity",
    "taxiway:workloadIdentityProvider": (
        "projects/123456789012/locations/global/workloadIdentityPools/ci/providers/github"
    ),
    "taxiway:workloadIdentityPrincipal": "attribute.repository/acme/taxiway",
}
_PIPELINES: Final = f"serviceAccount:taxiway-{STACK}@acme-data.iam.gserviceaccount.com"


def resources() -> str:
    """What is created, ephemeral and protected side by side."""
    ephemeral, protected = _declared({}), _declared({"taxiway:ephemeral": "false"})
    rows = [
        (TYPES[resource.type].title(resource.inputs), _life(resource), _life(protected[key]))
        for key, resource in ephemeral.items()
        if resource.type.endswith((":Bucket", ":Dataset", ":Account"))
    ]
    return table(("resource", "ephemeral", "protected"), rows)


def rights() -> str:
    """Who may do what, by credential mode."""
    composer = {"taxiway:credentials": "key", "taxiway:composer": "true"}
    modes = {"impersonation": {}, "workload-identity": _FEDERATED, "composer": composer}
    always = _grants({"taxiway:credentials": "key"})
    rows = [("every mode", *grant) for grant in always]
    rows += [(mode, *g) for mode, config in modes.items() for g in _grants(config) if g not in always]
    return table(("with", "who", "role", "on"), rows)


def apis() -> str:
    """Which APIs are enabled, and when."""
    always = _services({"taxiway:credentials": "key"})
    extra: dict[str, Mapping[str, str]] = {
        "credentials: impersonation": {},
        "credentials: workload-identity": _FEDERATED,
        "kmsKey": {"taxiway:kmsKey": "projects/acme/locations/us/keyRings/data/cryptoKeys/lake"},
        "composer": {"taxiway:composer": "true"},
        "budget": {"taxiway:budget": "1", "taxiway:billingAccount": "012345-6789AB-CDEF01"},
    }
    rows = [("every stack", _apis(always))]
    for name, config in extra.items():
        base = {"taxiway:credentials": "key"} if "credentials" not in name else {}
        rows.append((name, _apis(_services({**base, **config}) - always)))
    return table(("with", "APIs"), rows)


def settings() -> str:
    """Every setting of the schema."""
    schema = yaml.safe_load((REPOSITORY / "Pulumi.yaml").read_text())["config"]
    rows = [
        (f"`{key}`", entry["type"], _default(entry["default"]), entry["description"])
        for key, entry in schema.items()
    ]
    return table(("setting", "type", "default", "what it is"), rows)


def outputs() -> str:
    """What each output is for this stack."""
    found = plan(STACK, _SETTINGS).outputs
    rows = [(f"`{name}`", f"`{found[name]}`") for name in sorted(found) if name != CREDENTIALS]
    return table(("output", "for the stack alice"), rows)


def rules() -> str:
    """Every mandatory rule."""
    return table(("rule", "what it holds"), [(f"`{rule.name}`", rule.description) for rule in RULES])


def prices() -> str:
    """What a month would cost, with and without Composer."""
    listed = cost.prices()
    lines = cost.estimate(plan(STACK, {**_SETTINGS, "taxiway:composer": "true"}).resources, listed)
    rows = [
        (line.title, f"{line.dollars:,.2f}", line.assumption)
        for line in sorted(lines, key=lambda line: line.dollars)
    ]
    without = [line for line in lines if not line.title.startswith("Composer")]
    rows.append(
        ("in all, without Composer", f"{cost.total(without):,.2f}", f"list prices of {listed['as_of']}")
    )
    return table(("resource", "US dollars a month", "assuming"), rows)


PARTS: Final[Parts] = {
    part.__name__: part for part in (resources, rights, apis, settings, outputs, rules, prices)
}


def _declared(config: Mapping[str, str]) -> dict[str, Declared]:
    return {resource.key: resource for resource in plan(STACK, {**_SETTINGS, **config}).resources}


def _life(resource: Declared) -> str:
    """Return what becomes of the resource and its data."""
    inputs, facts = resource.inputs, ["protected"] if resource.protect else []
    if inputs.get("forceDestroy") or inputs.get("deleteContentsOnDestroy"):
        facts.append("goes with its content")
    if inputs.get("versioning", {}).get("enabled"):
        facts.append("old versions kept")
    if seconds := inputs.get("softDeletePolicy", {}).get("retentionDurationSeconds"):
        facts.append(f"deleted objects kept {seconds // 86_400} days")
    if milliseconds := inputs.get("defaultTableExpirationMs"):
        facts.append(f"tables go after {milliseconds // 86_400_000} days")
    facts += [_rule(rule) for rule in inputs.get("lifecycleRules", [])]
    return ", ".join(facts) or "goes with the stack"


def _rule(rule: Mapping[str, Mapping[str, object]]) -> str:
    action, condition = rule["action"], rule["condition"]
    if action["type"] == "SetStorageClass":
        return f"objects to {str(action['storageClass']).title()} after {condition['age']} days"
    if "age" in condition:
        return f"objects go after {condition['age']} days"
    return f"old versions go after {condition['daysSinceNoncurrentTime']} days"


def _grants(config: Mapping[str, str]) -> list[tuple[str, str, str]]:
    members = [resource for resource in _declared(config).values() if "member" in resource.inputs]
    return [
        (_who(resource.inputs["member"]), f"`{resource.inputs['role']}`", _where(resource))
        for resource in members
    ]


def _who(member: str) -> str:
    if member == _PIPELINES:
        return "the pipelines"
    return "identities of the platform's pool" if member.startswith("principal") else "the owner"


def _where(resource: Declared) -> str:
    if resource.name == "composer-files":
        return "the bucket of the DAGs"
    kinds = {"BucketIAMMember": "the lake", "DatasetIamMember": "the warehouse"}
    if resource.type.startswith("gcp:serviceaccount/"):
        return "the pipelines' account"
    return kinds.get(resource.type.rsplit(":", 1)[1], "the project")


def _services(config: Mapping[str, str]) -> set[str]:
    return {r.inputs["service"] for r in _declared(config).values() if r.type.endswith(":Service")}


def _apis(names: Iterable[str]) -> str:
    return codes(name.removesuffix(".googleapis.com") for name in sorted(names))


def _default(value: object) -> str:
    return f"`{str(value).lower() if isinstance(value, bool) else value}`" if value != "" else ""
