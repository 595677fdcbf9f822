"""Which APIs a project has enabled."""

from taxiway.emulators.iam.api import Call, Json, Refused, State, finished, route

SERVICES = "/su/v1/projects/{project}/services"


def _shown(state: State, project: str, service: str) -> Json:
    present = state.services.get(project, {}).get(service, "DISABLED")
    return {
        "name": f"projects/{project}/services/{service}",
        "config": {"name": service},
        "parent": f"projects/{project}",
        "state": present,
    }


def _set(state: State, call: Call, services: list[str], wanted: str) -> list[Json]:
    project = state.project(call.parameters["project"])
    for service in services:
        if not service.endswith(".googleapis.com"):
            raise Refused(400, f"Not a service: {service!r}; give a name such as bigquery.googleapis.com.")
        state.services.setdefault(project, {})[service] = wanted
    return [_shown(state, project, service) for service in services]


@route("GET", SERVICES)
def list_services(state: State, call: Call) -> Json:
    """List the services a project ever had enabled, or those in the state the filter names."""
    project = state.project(call.parameters["project"])
    wanted = call.query.get("filter", "").removeprefix("state:")
    found = [_shown(state, project, service) for service in sorted(state.services.get(project, {}))]
    return {"services": [service for service in found if wanted in ("", service["state"])]}


@route("GET", SERVICES + "/{service}")
def get(state: State, call: Call) -> Json:
    """Answer with one service."""
    return _shown(state, state.project(call.parameters["project"]), call.parameters["service"])


@route("POST", SERVICES + "/{service}:enable")
def enable(state: State, call: Call) -> Json:
    """Enable one service."""
    return finished(state, {"service": _set(state, call, [call.parameters["service"]], "ENABLED")[0]})


@route("POST", SERVICES + "/{service}:disable")
def disable(state: State, call: Call) -> Json:
    """Disable one service."""
    return finished(state, {"service": _set(state, call, [call.parameters["service"]], "DISABLED")[0]})


@route("POST", SERVICES + ":batchEnable")
def batch_enable(state: State, call: Call) -> Json:
    """Enable several services."""
    return finished(
        state, {"services": _set(state, call, list(call.body.get("serviceIds") or []), "ENABLED")}
    )


@route("GET", "/su/v1/operations/{operation}")
def get_operation(state: State, call: Call) -> Json:
    """Answer with an operation; all are done."""
    name = f"operations/{call.parameters['operation']}"
    if name not in state.operations:
        raise Refused(404, f"Operation not found: {name}")
    return state.operations[name]
