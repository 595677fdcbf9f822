"""Tables of docs/infrastructure.md, and tests/infra/inventories: what a stack of given settings is made of.

`config` and `absent` of an inventory are written by people, all else is what the program declares.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

import yaml

from lakehouse.guardrails import RULES
from lakehouse.outputs import VARIABLES
from taxiway.docgen.markdown import Parts, codes, table
from taxiway.environment.home import REPOSITORY
from taxiway.infrastructure import cost
from taxiway.infrastructure.plan import Declared, Plan, plan

STACK: Final = "alice"
_SETTINGS: Final = {"taxiway:project": "acme-data", "taxiway:owner": "alice@example.com"}
_KEY: Final = {"taxiway:credentials": "key"}
_FEDERATED: Final = {
    "taxiway:credentials": "workload-identity",
    "taxiway:workloadIdentityProvider": (
        "projects/123456789012/locations/global/workloadIdentityPools/ci/providers/github"
    ),
    "taxiway:workloadIdentityPrincipal": "attribute.repository/acme/taxiway",
}
_HOST: Final = "acme-data.iam.gserviceaccount.com"
_ACCOUNTS: Final = {
    f"taxiway-{STACK}@{_HOST}": "the pipelines",
    f"taxiway-{STACK}--reader@{_HOST}": "the reader",
}
_PARTS_OF_A_RUNNER: Final = {
    "secretId": "its two secrets",
    "repository": "its images",
    "instanceName": "its machine",
    "instance": "the tunnel to its machine",
}
_INVENTORIES: Final = REPOSITORY / "tests" / "infra" / "inventories"


def _declared(config: Mapping[str, str]) -> tuple[Declared, ...]:
    return _plan({**_SETTINGS, **config}).resources


def _plan(config: Mapping[str, str]) -> Plan:
    return _evaluated(tuple(sorted(config.items())))


@cache
def _evaluated(config: tuple[tuple[str, str], ...]) -> Plan:
    # Half a second each, and the tables ask for the same few again and again.
    return plan(STACK, dict(config))


# --- The page's tables, each named as its part of the page -------------------------------------------------


def resources() -> str:
    """Return what is created, ephemeral and protected side by side."""
    protected = {one.key: one for one in _declared({"taxiway:ephemeral": "false"})}
    rows = [
        (one.title, _life(one), _life(protected[one.key]))
        for one in _declared({})
        if one.type.endswith((":Bucket", ":Dataset", ":Account"))
    ]
    return table(("resource", "ephemeral", "protected"), rows)


def _life(resource: Declared) -> str:
    inputs, facts = resource.inputs, ["protected"] if resource.protect else []
    if inputs.get("forceDestroy") or inputs.get("deleteContentsOnDestroy"):
        facts.append("goes with its content")
    if inputs.get("versioning", {}).get("enabled"):
        facts.append("old versions kept")
    if seconds := inputs.get("softDeletePolicy", {}).get("retentionDurationSeconds"):
        facts.append(f"deleted objects kept {seconds // 86_400} days")
    if milliseconds := inputs.get("defaultTableExpirationMs"):
        facts.append(f"tables go after {milliseconds // 86_400_000} days")
    for rule in inputs.get("lifecycleRules", []):
        to = (
            f"to {rule['action'].get('storageClass', '').title()}"
            if "storageClass" in rule["action"]
            else "go"
        )
        old, below = (rule["condition"].get(name) for name in ("daysSinceNoncurrentTime", "matchesPrefixes"))
        what = "old versions" if old else " ".join(below) if below else "objects"
        facts.append(f"{what} {to} after {old or rule['condition']['age']} days")
    return ", ".join(facts) or "goes with the stack"


def rights() -> str:
    """Return who may do what, by credential mode."""
    modes = {
        "impersonation": {},
        "workload-identity": _FEDERATED,
        "composer": {**_KEY, "taxiway:composer": "true"},
        "runner": {**_KEY, "taxiway:runner": "true"},
    }
    always = _grants(_KEY)
    rows = [("every mode", *grant) for grant in always]
    rows += [(mode, *g) for mode, config in modes.items() for g in _grants(config) if g not in always]
    return table(("with", "who", "role", "on"), list(dict.fromkeys(rows)))


def _grants(config: Mapping[str, str]) -> list[tuple[str, str, str]]:
    found = []
    for one in _declared(config):
        place = "the lake" if one.type.endswith(":BucketIAMMember") else "the project"
        if one.type.startswith("gcp:serviceaccount/"):
            email = one.inputs.get("serviceAccountId", "").rpartition("/")[2]
            place = f"the account of {_ACCOUNTS.get(email)}"
        if one.name == "composer-files":
            place = "the bucket of the DAGs"
        for part, text in _PARTS_OF_A_RUNNER.items():
            place = text if part in one.inputs else place
        if "member" in one.inputs:
            found.append((_who(one.inputs["member"]), f"`{one.inputs['role']}`", place))
        for entry in one.inputs.get("accesses", ()):
            whom = entry.get("specialGroup") or entry["userByEmail"]
            found.append((_who(whom), f"`{entry['role']}`", "the warehouse"))
    return found


def _who(member: str) -> str:
    names = {**_ACCOUNTS, "projectOwners": "owners of the project"}
    other = "identities of the platform's pool" if member.startswith("principal") else "the owner"
    return names.get(member.removeprefix("serviceAccount:"), other)


def apis() -> str:
    """Return which APIs are enabled, and when."""

    def enabled(config: Mapping[str, str]) -> set[str]:
        services = [one.inputs["service"] for one in _declared(config) if one.type.endswith(":Service")]
        return {service.removesuffix(".googleapis.com") for service in services}

    always = enabled(_KEY)
    extra: dict[str, Mapping[str, str]] = {
        "credentials: impersonation": {},
        "credentials: workload-identity": _FEDERATED,
        "kmsKey": {**_KEY, "taxiway:kmsKey": "projects/acme/locations/us/keyRings/data/cryptoKeys/lake"},
        "composer": {**_KEY, "taxiway:composer": "true"},
        "runner": {**_KEY, "taxiway:runner": "true"},
        "budget": {**_KEY, "taxiway:budget": "1", "taxiway:billingAccount": "012345-6789AB-CDEF01"},
    }
    rows = [("every stack", codes(sorted(always)))]
    rows += [(name, codes(sorted(enabled(config) - always))) for name, config in extra.items()]
    return table(("with", "APIs"), rows)


def settings() -> str:
    """Return every setting of the schema."""
    rows = []
    for key, entry in yaml.safe_load((REPOSITORY / "Pulumi.yaml").read_text())["config"].items():
        default = str(entry["default"]).lower() if entry["type"] == "boolean" else str(entry["default"])
        rows.append((f"`{key}`", entry["type"], codes([default]), entry["description"]))
    return table(("setting", "type", "default", "what it is"), rows)


def outputs() -> str:
    """Return what each output is for this stack."""
    found = _plan(_SETTINGS).outputs
    rows = [(f"`{name}`", f"`{found[name]}`") for name in sorted(found) if name in VARIABLES]
    return table(("output", "for the stack alice"), rows)


def rules() -> str:
    """Return every mandatory rule."""
    return table(("rule", "what it holds"), [(f"`{rule.name}`", rule.description) for rule in RULES])


def prices() -> str:
    """Return what a month would cost, by itself, with a runner and with Composer."""
    listed = cost.prices()

    def lines(config: Mapping[str, str]) -> list[cost.CostLine]:
        return sorted(cost.estimate(_declared(config), listed), key=lambda one: one.dollars)

    own, rows = lines({}), list[tuple[str, str, str]]()
    found = {"runner": lines({"taxiway:runner": "true"}), "composer": lines({"taxiway:composer": "true"})}
    for line in (*own, *(one for more in found.values() for one in more if one not in own)):
        rows.append((line.title, f"{line.dollars:,.2f}", line.assumption))
    for title, all_lines in (("in all", own), *((f"in all, with {n}", more) for n, more in found.items())):
        rows.append((title, f"{cost.total(all_lines):,.2f}", f"list prices of {listed['as_of']}"))
    return table(("resource", "US dollars a month", "assuming"), rows)


PARTS: Final[Parts] = {
    part.__name__: part for part in (resources, rights, apis, settings, outputs, rules, prices)
}


# --- Inventories ------------------------------------------------------------------------------------------


def inventories() -> list[Path]:
    """Return the inventories' files, one for each scenario."""
    return sorted(_INVENTORIES.glob("*.yaml"))


def inventory_text(path: Path) -> str:
    """Return an inventory's file as it should be."""
    content = yaml.safe_load(path.read_text())
    kept = {"config": content["config"], "absent": content["absent"]}
    text = yaml.safe_dump({**kept, **inventory(content["config"])}, sort_keys=False, width=120)
    return f"# Made by scripts/docs, but for config and absent.\n{text}"


def inventory(config: Mapping[str, str]) -> dict[str, Any]:
    """Return counts, resources by type and name, and outputs of the stack `alice` with these settings."""
    declared = _plan(config)
    # One for each file of dags/ and plugins/: those are not the infrastructure's to list.
    listed = [one for one in declared.resources if one.type != "gcp:storage/bucketObject:BucketObject"]
    found: dict[str, Any] = {
        "counts": dict(sorted(Counter(one.type for one in listed).items())),
        "resources": {},
    }
    for one in listed:
        options = {"protect": one.protect, "retain_on_delete": one.retain_on_delete}
        is_set = {name: True for name, value in options.items() if value}
        found["resources"][one.key] = {**is_set, "inputs": _ordered(one.inputs)}
    shown = {name: "(secret)" if name in declared.secret else v for name, v in declared.outputs.items()}
    return {**found, "outputs": dict(sorted(shown.items()))}


def _ordered(value: Any) -> Any:
    """Return a value whose objects have their names in order; the wire format keeps none."""
    if isinstance(value, Mapping):
        return {name: _ordered(value[name]) for name in sorted(value)}
    return [_ordered(item) for item in value] if isinstance(value, list) else value
