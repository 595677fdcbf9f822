"""Compute Engine, Secret Manager, Artifact Registry and OS Config, as far as the runner is made of them.

Everything is in one table, by its path; no machine starts. Refused is what comes in the wrong order: a name
twice, a part that is not there, or the removal of one that another resource uses.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import secrets
import zlib
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from taxiway.emulators.answers import HttpError, Json, page, project_number

Table = dict[str, Json]
LINK = "https://www.googleapis.com/compute/v1/"
# The kind of each collection, and what the service adds to what was sent.
KINDS: Mapping[str, tuple[str, Json]] = {
    "networks": ("network", {"mtu": 1460, "networkFirewallPolicyEnforcementOrder": "AFTER_CLASSIC_FIREWALL"}),
    "firewalls": ("firewall", {"priority": 1000, "direction": "INGRESS", "disabled": False}),
    "subnetworks": ("subnetwork", {"purpose": "PRIVATE", "stackType": "IPV4_ONLY"}),
    "routers": ("router", {"encryptedInterconnectRouter": False}),
    "resourcePolicies": ("resourcePolicy", {"status": "READY"}),
    "snapshots": ("snapshot", {"status": "READY"}),
    "disks": ("disk", {"status": "READY", "sizeGb": "10", "physicalBlockSizeBytes": "4096"}),
    "instances": (
        "instance",
        {"status": "RUNNING", "startRestricted": False, "cpuPlatform": "Intel Broadwell"},
    ),
}
# What a method sets: the field of the resource, and where in the body it is; none: the body itself.
SETTERS = {
    "setLabels": ("labels", "labels"),
    "setMetadata": ("metadata", ""),
    "setTags": ("tags", ""),
    "setScheduling": ("scheduling", ""),
    "setMachineType": ("machineType", "machineType"),
    "updateShieldedInstanceConfig": ("shieldedInstanceConfig", ""),
    "resize": ("sizeGb", "sizeGb"),
}
STATES = {"stop": "TERMINATED", "start": "RUNNING", "reset": "RUNNING"}
IDS = {
    "secretmanager": "secretId",
    "artifactregistry": "repositoryId",
    "osconfig": "patchDeploymentId",
}
_OURS = re.compile(
    r"(?:https?://.*/compute/[^/]+/)?"
    rf"(projects/[^/]+/(?:global|(?:regions|zones)/[^/]+)/(?:{'|'.join(KINDS)}|machineTypes|diskTypes)/[^/]+)"
)


def found(table: Table, path: str) -> Json:
    """The resource at a path. Raises HttpError 404 if there is none."""
    if path not in table:
        raise HttpError(404, f"The resource '{path}' was not found")
    return table[path]


def _given(value: Any, unset: tuple[Any, ...] = (None, "")) -> Any:
    """The same without what clients send for what they do not set; an empty list at the top empties one."""
    if isinstance(value, dict):
        return {name: _given(inner, (None, "", [])) for name, inner in value.items() if inner not in unset}
    return (
        [_given(inner, unset) for inner in value if inner is not None] if isinstance(value, list) else value
    )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


# --- Compute Engine ----------------------------------------------------------------------------------------


def compute(table: Table, method: str, project: str, rest: str, query: Mapping[str, str], body: Json) -> Json:
    """Answer a request for `projects/PROJECT/REST`; changes are answered with an operation that is done."""
    words = rest.split("/")
    depth = 1 if words[0] == "global" else 2
    scope, words = "/".join(words[:depth]), words[depth:]
    root, body = f"projects/{project}/{scope}", _linked(_given(body))
    if not words or words[0] in ("operations", "images", "machineTypes"):
        return _constant(root, words)
    collection, name, verb = [*words, "", ""][:3]
    if collection not in KINDS:
        raise HttpError(404, f"Compute Engine has no {collection} here.")
    path = f"{root}/{collection}/{name or body.get('name', '')}"
    if method == "GET" and not name:
        every = {at: _shown(table, at) for at in table if at.startswith(path)}
        items, more = page(every, query, "maxResults")
        return {"kind": f"compute#{KINDS[collection][0]}List", "items": items, **more}
    if method == "GET":
        found(table, path)
        return _shown(table, path)
    if not name:
        _insert(table, root, collection, path, body)
    elif method == "DELETE":
        _delete(table, path)
    elif verb:
        _change(table, path, verb, query, body)
    else:
        table[path] = _checked(table, path, {**found(table, path), **body})
    return _operation(root, verb or method.lower(), path)


def _constant(root: str, words: list[str]) -> Json:
    """What every project has: zones, machine types, images of systems; and operations, which are done."""
    if words[:1] == ["operations"]:
        return _operation(root, "", "", words[1])
    path = "/".join([root, *words])
    kind = words[0].removesuffix("s") if words else root.split("/")[2].removesuffix("s")
    name = path.rsplit("/", 1)[1]
    if words[:2] == ["images", "family"]:
        name, path = f"{name}-v20261101", f"{root}/images/{name}-v20261101"
    elif kind == "image" and not re.search(r"-v\d{8}$", name):
        raise HttpError(404, f"The resource '{path}' was not found")
    return {"kind": f"compute#{kind}", "name": name, "id": _number(path), "selfLink": LINK + path}


def _operation(root: str, verb: str, path: str, name: str = "") -> Json:
    name = name or f"operation-{secrets.token_hex(12)}"
    scope, _, place = root.partition("/")[2].partition("/")[2].partition("/")
    return {
        "kind": "compute#operation",
        "id": _number(name),
        "name": name,
        "operationType": verb,
        "targetLink": LINK + path,
        "status": "DONE",
        "progress": 100,
        "insertTime": _now(),
        "selfLink": f"{LINK}{root}/operations/{name}",
        **({scope.removesuffix("s"): LINK + root} if place else {}),
    }


def _insert(table: Table, root: str, collection: str, path: str, body: Json) -> None:
    if not re.fullmatch(r"[a-z](?:[-a-z0-9]{0,61}[a-z0-9])?", str(body.get("name"))):
        raise HttpError(400, f"Invalid value for field 'resource.name': {body.get('name')!r}.")
    if path in table:
        raise HttpError(409, f"The resource '{path}' already exists", "alreadyExists")
    kind, added = KINDS[collection]
    scope = root.split("/")[2]
    own = {
        "kind": f"compute#{kind}",
        "id": _number(path),
        "creationTimestamp": _now(),
        "selfLink": LINK + path,
    }
    place = {} if scope == "global" else {scope.removesuffix("s"): LINK + root}
    # Clients send sizes as numbers, too.
    sizes = {"sizeGb": str(body["sizeGb"])} if "sizeGb" in body else {}
    one = {**added, **body, **sizes, **own, **place}
    # Before its boot disk is made, and after: what is refused leaves nothing.
    _checked(table, path, one)
    table[path] = _checked(table, path, _booted(table, root, one) if collection == "instances" else one)


def _booted(table: Table, root: str, one: Json) -> Json:
    """A machine as it is once it runs: its boot disk is made, its interfaces are in a network."""
    disks: list[Json] = []
    for number, disk in enumerate(one.get("disks") or []):
        wanted = disk.get("initializeParams")
        if wanted is not None:
            name = wanted.get("diskName") or one["name"]
            made = {
                "name": name,
                "sizeGb": str(wanted.get("diskSizeGb") or 10),
                "labels": wanted.get("labels", {}),
            }
            made |= {"type": wanted.get("diskType", f"{LINK}{root}/diskTypes/pd-standard")}
            made |= {"sourceImage": wanted["sourceImage"]} if "sourceImage" in wanted else {}
            _insert(table, root, "disks", f"{root}/disks/{name}", made)
            disk = {**disk, "source": f"{LINK}{root}/disks/{name}"}
        shown = {name: value for name, value in disk.items() if name != "initializeParams"}
        size = table[_path_of(disk["source"])]["sizeGb"]
        usual = {
            "kind": "compute#attachedDisk",
            "type": "PERSISTENT",
            "mode": "READ_WRITE",
            "interface": "SCSI",
        }
        usual |= {"deviceName": f"persistent-disk-{number}"}
        disks.append(usual | shown | {"index": number, "diskSizeGb": size})
    interfaces = []
    for number, interface in enumerate(one.get("networkInterfaces") or []):
        usual = {"kind": "compute#networkInterface", "name": f"nic{number}", "stackType": "IPV4_ONLY"}
        if "subnetwork" in interface:
            subnetwork = found(table, _path_of(interface["subnetwork"]))
            address = subnetwork["ipCidrRange"].rpartition(".")[0] + ".2"
            usual |= {"network": subnetwork["network"], "networkIP": address}
        interfaces.append(usual | interface)
    scheduling = {"automaticRestart": True, "onHostMaintenance": "MIGRATE", "preemptible": False}
    scheduling |= {"provisioningModel": "STANDARD", **(one.get("scheduling") or {})}
    metadata = {"kind": "compute#metadata", "items": [], **(one.get("metadata") or {})}
    made = {"disks": disks, "networkInterfaces": interfaces, "scheduling": scheduling, "metadata": metadata}
    return {"tags": {}, "canIpForward": False, "deletionProtection": False, **one, **made}


def _delete(table: Table, path: str) -> None:
    one = found(table, path)
    if one.get("deletionProtection"):
        raise HttpError(400, f"Invalid resource usage: 'Resource {path} is protected against deletion'.")
    for other, content in table.items():
        if other != path and path in _references(content):
            text = f"The {one['kind'].partition('#')[2]} resource '{path}' is already being used by '{other}'"
            raise HttpError(400, text, "resourceInUseByAnotherResource")
    del table[path]
    for disk in one.get("disks", []):
        if disk.get("autoDelete"):
            table.pop(_path_of(disk["source"]), None)


def _change(table: Table, path: str, verb: str, query: Mapping[str, str], body: Json) -> None:
    one = found(table, path)
    if verb in STATES:
        changed: Json = {"status": STATES[verb]}
    elif verb == "setDeletionProtection":
        changed = {"deletionProtection": query.get("deletionProtection", "true") == "true"}
    elif verb in ("addResourcePolicies", "removeResourcePolicies"):
        others = [
            policy for policy in one.get("resourcePolicies", []) if policy not in body["resourcePolicies"]
        ]
        changed = {"resourcePolicies": others + body["resourcePolicies"] * verb.startswith("add")}
    elif verb == "detachDisk":
        # The provider detaches a disk that it is to delete from whatever machine has it.
        changed = {"disks": [disk for disk in one["disks"] if disk["deviceName"] != query.get("deviceName")]}
    elif verb == "setServiceAccount":
        changed = {"serviceAccounts": [body]}
    elif verb in SETTERS:
        field, inside = SETTERS[verb]
        value = body[inside] if inside else body
        changed = {field: value}
        _refuse_stale(table, path, verb, body)
    else:
        raise HttpError(501, f"Not part of the emulated Compute Engine: {verb}")
    if verb in ("setMachineType", "setServiceAccount") and one["status"] != "TERMINATED":
        raise HttpError(400, "The instance must be stopped before it is changed so.", "resourceNotReady")
    table[path] = _checked(table, path, one | changed)


def _refuse_stale(table: Table, path: str, verb: str, body: Json) -> None:
    shown = _shown(table, path)
    present = (
        shown.get("labelFingerprint") if verb == "setLabels" else shown.get("metadata", {}).get("fingerprint")
    )
    given = body.get("labelFingerprint") if verb == "setLabels" else body.get("fingerprint")
    if verb in ("setLabels", "setMetadata") and given != present:
        raise HttpError(412, "Supplied fingerprint does not match current one.")


def _shown(table: Table, path: str) -> Json:
    """A resource as it is read: with fingerprints, and with what uses a disk."""
    one = dict(table[path])
    collection = path.split("/")[-2]
    if collection in ("instances", "disks", "snapshots"):
        one["labelFingerprint"] = _fingerprint(one.get("labels", {}))
    if collection == "instances":
        for name in ("metadata", "tags"):
            items = one[name].get("items", [])
            one[name] = {**one[name], "fingerprint": _fingerprint(items)}
        interfaces = one["networkInterfaces"]
        one["networkInterfaces"] = [{**each, "fingerprint": _fingerprint(each)} for each in interfaces]
    if collection in ("instances", "subnetworks"):
        one["fingerprint"] = _fingerprint(table[path])
    if collection == "subnetworks":
        one["gatewayAddress"] = one["ipCidrRange"].rpartition(".")[0] + ".1"
    users = [LINK + at for at, other in table.items() if "/instances/" in at and path in _references(other)]
    return one | ({"users": users} if users and collection == "disks" else {})


def _checked(table: Table, path: str, one: Json) -> Json:
    """The resource, if all that it names is there."""
    for other in _references(one) - {path}:
        if "Types/" not in other:
            found(table, other)
    return one


def _references(value: Any) -> set[str]:
    if isinstance(value, str):
        return {value.removeprefix(LINK)} if value.startswith(LINK) and _OURS.fullmatch(value) else set()
    nested = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return set().union(*map(_references, nested))


def _linked(value: Any) -> Any:
    """The same with whole links, in whichever form a client names a resource."""
    if isinstance(value, dict):
        return {name: _linked(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_linked(inner) for inner in value]
    match = _OURS.fullmatch(value) if isinstance(value, str) else None
    return LINK + match[1] if match else value


def _path_of(link: str) -> str:
    return link.removeprefix(LINK)


def _number(text: str) -> str:
    return str(int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "big"))


def _fingerprint(value: Any) -> str:
    digest = hashlib.sha256(json.dumps(value, sort_keys=True).encode()).digest()[:8]
    return base64.urlsafe_b64encode(digest).decode()


# --- Secret Manager, Artifact Registry, OS Config -----------------------------------------------------------


def named(
    table: Table, api: str, method: str, project: str, rest: str, query: Mapping[str, str], body: Json
) -> Json:
    """Answer a request for `projects/PROJECT/REST` of an API whose resources get their id from the query."""
    place, _, verb = rest.partition(":")
    path = f"{api}/projects/{project}/{place}"
    if "/operations/" in path:
        return {"name": path.partition("/")[2], "done": True, "response": {}}
    if verb:
        return _secret_verb(table, path, verb, body)
    if method == "POST":
        return _create(table, api, project, path, query, body)
    if method == "GET" and place.rsplit("/", 1)[-1] in (
        "secrets",
        "versions",
        "repositories",
        "patchDeployments",
    ):
        every = {at: _plain(one) for at, one in table.items() if at.rpartition("/")[0] == path}
        items, more = page(every, query, "pageSize")
        return {place.rsplit("/", 1)[-1]: items, **more}
    one = found(table, _version(table, path))
    if method == "PATCH":
        for field in filter(None, query.get("updateMask", "").split(",")):
            name = field.split(".")[0]
            one[name] = body.get(name)
    elif method == "DELETE":
        for below in [at for at in table if at == path or at.startswith(f"{path}/")]:
            del table[below]
        return _done(api, path, {}) if api == "artifactregistry" else {}
    return _plain(one)


def _create(table: Table, api: str, project: str, path: str, query: Mapping[str, str], body: Json) -> Json:
    # The provider writes one of them with underscores.
    snake = re.sub(r"([A-Z])", lambda match: f"_{match[1].lower()}", IDS[api])
    chosen = query.get(IDS[api]) or query.get(snake, "")
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]{0,254}", chosen):
        raise HttpError(400, f"Invalid {IDS[api]}: {chosen!r}")
    path = f"{path}/{chosen}"
    if path in table:
        raise HttpError(409, f"Resource '{path}' already exists.", "alreadyExists", "ALREADY_EXISTS")
    # Artifact Registry's names have the project's id, the others' its number.
    owner = project if api == "artifactregistry" else project_number(project)
    name = path.partition("/")[2].replace(f"projects/{project}/", f"projects/{owner}/", 1)
    table[path] = {**_given(body), "name": name, "createTime": _now()}
    if api == "secretmanager":
        table[path]["etag"] = f'"{secrets.token_hex(7)}"'
    if api == "artifactregistry":
        table[path] |= {"mode": "STANDARD_REPOSITORY", "updateTime": _now()}
        return _done(api, path, table[path])
    if api == "osconfig":
        table[path] |= {"updateTime": _now(), "state": "ACTIVE"}
    return _plain(table[path])


def _done(api: str, path: str, response: Json) -> Json:
    place = "/".join(path.split("/")[1:5])
    kind = f"type.googleapis.com/google.devtools.{api}.v1.Repository" if response else ""
    typed = {"@type": kind or "type.googleapis.com/google.protobuf.Empty", **response}
    return {"name": f"{place}/operations/{secrets.token_hex(16)}", "done": True, "response": typed}


def _secret_verb(table: Table, path: str, verb: str, body: Json) -> Json:
    one = found(table, _version(table, path))
    if verb == "addVersion":
        number = 1 + len(list(_versions(table, path)))
        version = {"name": f"{one['name']}/versions/{number}", "createTime": _now(), "state": "ENABLED"}
        # The value itself is not shown with its version.
        table[f"{path}/versions/{number}"] = {
            **version,
            "etag": f'"{number}"',
            "payload": body["payload"]["data"],
        }
        return version
    if verb == "access":
        if one["state"] != "ENABLED":
            raise HttpError(
                400,
                f"Secret Version [{one['name']}] is in {one['state']} state.",
                status="FAILED_PRECONDITION",
            )
        crc = str(zlib.crc32(base64.b64decode(one["payload"])))
        return {"name": one["name"], "payload": {"data": one["payload"], "dataCrc32c": crc}}
    if verb not in ("destroy", "enable", "disable"):
        raise HttpError(501, f"Not part of the emulated Secret Manager: {verb}")
    one["state"] = {"destroy": "DESTROYED", "enable": "ENABLED", "disable": "DISABLED"}[verb]
    if verb == "destroy":
        one |= {"payload": "", "destroyTime": _now()}
    return _plain(one)


def _version(table: Table, path: str) -> str:
    """The path, `latest` replaced by the number of the newest version."""
    secret, latest, _ = path.partition("/versions/latest")
    return f"{secret}/versions/{len(list(_versions(table, secret)))}" if latest else path


def _versions(table: Table, secret: str) -> Iterator[str]:
    return (at for at in table if at.startswith(f"{secret}/versions/"))


def _plain(one: Json) -> Json:
    return {name: value for name, value in one.items() if name != "payload"}
