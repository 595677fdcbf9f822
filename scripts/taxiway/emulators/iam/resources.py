"""Projects (every well-formed id is one), and which APIs they have enabled."""

from __future__ import annotations

from taxiway.emulators.answers import Json, Refused, page, project_number
from taxiway.emulators.iam.state import Call, State, route

PROJECT = "/crm/v1/projects/{project}"
SERVICES = "/su/v1/projects/{project}/services"


@route("POST", PROJECT + ":getIamPolicy")
def _get_policy(state: State, call: Call) -> Json:
    return state.policy(f"projects/{state.project(call.parts['project'])}")


@route("POST", PROJECT + ":setIamPolicy")
def _set_policy(state: State, call: Call) -> Json:
    project = state.project(call.parts["project"])
    return state.set_policy(f"projects/{project}", call.body.get("policy") or {})


@route("GET", PROJECT)
def _get_project(state: State, call: Call) -> Json:
    """A project by id or number."""
    project = state.project(call.parts["project"])
    return {
        "projectNumber": project_number(project),
        "projectId": project,
        "lifecycleState": "ACTIVE",
        "name": project,
    }


@route("GET", "/compute/v1/projects/{project}")
def _get_compute(state: State, call: Call) -> Json:
    """Compute's view of a project, by which the Pulumi provider finds a bucket's project."""
    project = state.project(call.parts["project"])
    return {"kind": "compute#project", "id": project_number(project), "name": project}


def _shown(state: State, project: str, service: str) -> Json:
    return {
        "name": f"projects/{project}/services/{service}",
        "config": {"name": service},
        "parent": f"projects/{project}",
        "state": state.services.get(project, {}).get(service, "DISABLED"),
    }


def _set(state: State, call: Call, services: list[str], wanted: str) -> list[Json]:
    project = state.project(call.parts["project"])
    for service in services:
        if not service.endswith(".googleapis.com"):
            raise Refused(400, f"Not a service: {service!r}; give a name such as bigquery.googleapis.com.")
        state.services.setdefault(project, {})[service] = wanted
    return [_shown(state, project, service) for service in services]


@route("POST", SERVICES + ":batchEnable")
def _batch_enable(state: State, call: Call) -> Json:
    services = _set(state, call, list(call.body.get("serviceIds") or []), "ENABLED")
    return state.finished({"services": services})


@route("GET", SERVICES)
def _list_services(state: State, call: Call) -> Json:
    """The services a project ever had enabled, or those in the state that the filter names."""
    project, wanted = state.project(call.parts["project"]), call.query.get("filter", "")
    shown = {service: _shown(state, project, service) for service in state.services.get(project, {})}
    in_state = {
        service: entry
        for service, entry in shown.items()
        if wanted.removeprefix("state:") in ("", entry["state"])
    }
    services, more = page(in_state, call.query, "pageSize")
    return {"services": services, **more}


@route("POST", SERVICES + "/{service}:enable")
def _enable(state: State, call: Call) -> Json:
    return state.finished({"service": _set(state, call, [call.parts["service"]], "ENABLED")[0]})


@route("POST", SERVICES + "/{service}:disable")
def _disable(state: State, call: Call) -> Json:
    return state.finished({"service": _set(state, call, [call.parts["service"]], "DISABLED")[0]})


@route("GET", SERVICES + "/{service}")
def _get_service(state: State, call: Call) -> Json:
    return _shown(state, state.project(call.parts["project"]), call.parts["service"])


@route("GET", "/su/v1/operations/{operation}")
def _get_operation(state: State, call: Call) -> Json:
    """An operation; all are done."""
    name = f"operations/{call.parts['operation']}"
    if name not in state.operations:
        raise Refused(404, f"Operation not found: {name}")
    return state.operations[name]
