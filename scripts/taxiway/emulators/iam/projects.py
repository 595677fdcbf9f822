"""Projects: every well-formed id is one, and active."""

from taxiway.emulators.iam import policies
from taxiway.emulators.iam.api import Call, Json, State, route
from taxiway.emulators.serving import project_number


@route("GET", "/crm/v1/projects/{project}")
def get(state: State, call: Call) -> Json:
    """Answer with a project by id or number."""
    project = state.project(call.parameters["project"])
    return {
        "projectNumber": project_number(project),
        "projectId": project,
        "lifecycleState": "ACTIVE",
        "name": project,
    }


@route("POST", "/crm/v1/projects/{project}:getIamPolicy")
def get_policy(state: State, call: Call) -> Json:
    """Answer with a project's access policy."""
    return policies.read(state, f"projects/{state.project(call.parameters['project'])}")


@route("POST", "/crm/v1/projects/{project}:setIamPolicy")
def set_policy(state: State, call: Call) -> Json:
    """Replace a project's access policy."""
    resource = f"projects/{state.project(call.parameters['project'])}"
    return policies.write(state, resource, call.body.get("policy") or {})


@route("GET", "/compute/v1/projects/{project}")
def get_compute(state: State, call: Call) -> Json:
    """Answer with Compute's view of a project, by which the provider finds a bucket's project."""
    project = state.project(call.parameters["project"])
    return {"kind": "compute#project", "id": project_number(project), "name": project}
