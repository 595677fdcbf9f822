"""docker-compose.yaml and the images' files keep to what was decided about them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import yaml
from packaging.markers import Marker
from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import parse_wheel_filename
from repository import REPOSITORY

from elt.connection_fields import ConnectionFields, postgres_parameters
from lakehouse.names import Names
from lakehouse.outputs import CONNECTION, CREDENTIAL_FILE, CREDENTIALS_PATH, VARIABLES
from taxiway.compose import infrastructure, packages, prepare, target, variables
from taxiway.compose.hosts import gateway, invitation
from taxiway.infrastructure import LOCAL_CONFIG, Endpoints
from taxiway.infrastructure.plan import plan

TEXT = (REPOSITORY / "docker-compose.yaml").read_text()
FILE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, Any] = FILE["services"]
EMULATED = {"gcs", "bigquery", "sample-source", "infrastructure"}
AIRFLOW = {
    "airflow-init", "airflow-api-server", "airflow-scheduler", "airflow-dag-processor", "airflow-triggerer",
    "airflow-worker", "flower", "loader", "janitor",
}  # fmt: skip
BUILDS = {"prepare": "airflow/Dockerfile", "infrastructure": "scripts/taxiway/emulators/Dockerfile"}
SERVE = {*SERVICES} - {*target.ONCE, "janitor"}


def test_the_services_are_exactly_these() -> None:
    others = {"prepare", "postgres", "redis", "taxi-postgres", "google-tokens", "gateway"}
    assert set(SERVICES) == EMULATED | AIRFLOW | others


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_is_confined(name: str) -> None:
    service = SERVICES[name]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["read_only"] is True
    assert service["user"].endswith(":0")
    assert service["logging"]["options"]["max-size"]
    assert "privileged" not in service
    if name != "prepare":
        assert "cap_add" not in service
        assert not service["user"].startswith("0")


@pytest.mark.parametrize("name", SERVICES)
def test_ports_are_published_on_the_loopback_alone(name: str) -> None:
    # But for one, which asks for a certificate, and wherever its user says.
    address = "${TAXIWAY_ADDRESS:-127.0.0.1}:${" if name == "gateway" else "127.0.0.1:${"
    assert all(port.startswith(address) for port in SERVICES[name].get("ports", []))


@pytest.mark.parametrize("name", sorted(SERVE))
def test_every_service_that_serves_has_a_cheap_probe(name: str) -> None:
    probe = SERVICES[name]["healthcheck"]["test"]
    assert probe[0] == "CMD"
    assert probe[1] in ("probe", "/run/taxiway/settings/probe")
    assert probe[2] in ("http-ok", "pg_isready", "grep", "sh"), "no Python, and not Airflow's command line"


def test_no_secret_is_a_variable_and_no_password_a_default() -> None:
    secret = re.compile(r"PASSWORD|SECRET|FERNET|BASIC_AUTH|BROKER_URL|RESULT_BACKEND|SQL_ALCHEMY_CONN")
    given = {(n, v): str(t) for n, s in SERVICES.items() for v, t in s.get("environment", {}).items()}
    found = {key: text for key, text in given.items() if secret.search(key[1])}
    assert len(found) > 10
    kept = ("cat /run/taxiway/", "/run/taxiway/", "sqlite:////tmp/none")
    assert {key: text for key, text in found.items() if not text.startswith(kept)} == {}
    assert not re.search(r"password\s*[:=]\s*\w", TEXT, re.IGNORECASE)


def test_every_secret_that_a_service_names_is_in_a_volume_that_it_has() -> None:
    for name, service in SERVICES.items():
        mounted = {v.split(":")[1] for v in service["volumes"]}
        named = re.findall(r"/run/taxiway/\w+", json.dumps(service.get("environment", {})))
        assert set(named) <= mounted, name


def test_every_audience_of_secrets_is_a_volume_of_the_service_that_writes_them() -> None:
    audiences = {*prepare.forms(dict.fromkeys(prepare.GENERATORS, "x")), prepare.VAULT}
    written = {
        v.split(":")[1] for v in SERVICES["prepare"]["volumes"] if v.split(":")[1].startswith("/secrets/")
    }
    assert written == {f"/secrets/{audience}" for audience in audiences}
    having = [n for n, s in SERVICES.items() if any(v.startswith("vault:") for v in s["volumes"])]
    assert having == ["prepare"]


def test_every_emulator_asks_for_the_token_and_only_its_clients_have_it() -> None:
    file = "/run/taxiway/emulator/token"
    asking = {name for name, service in SERVICES.items() if file in service.get("command", [])}
    assert asking == EMULATED - {"infrastructure", "sample-source"}
    for name in asking:
        command = SERVICES[name]["command"]
        assert command[command.index(file) - 1] == "--token-file"
    having = {n for n, s in SERVICES.items() if "emulator-secrets:/run/taxiway/emulator:ro" in s["volumes"]}
    assert having == asking | {
        "infrastructure", "airflow-api-server", "airflow-worker", "airflow-triggerer", "loader",
        "gateway",
    }  # fmt: skip
    made = prepare.forms({name: f"<{name}>" for name in prepare.GENERATORS})["emulator"]
    assert made["token"] == "<emulator_token>"
    assert json.loads(made["credentials.json"])["token"] == "<emulator_token>"
    names = {str(infrastructure.TOKEN): "token", file: "token", variables.CREDENTIALS: "credentials.json"}
    assert {Path(path).name for path in names} == set(names.values()) == set(made)


def test_only_what_runs_tasks_has_the_credential_file() -> None:
    having = {
        name for name, service in SERVICES.items() if "google_credentials" in service.get("secrets", [])
    }
    assert having == {"airflow-worker", "airflow-triggerer"}
    variable = "GOOGLE_APPLICATION_CREDENTIALS"
    told = {
        n: s["environment"][variable] for n, s in SERVICES.items() if variable in s.get("environment", {})
    }
    reads = told.pop("airflow-api-server")
    assert set(told) == having
    assert set(told.values()) == {f"${{GOOGLE_CREDENTIALS_FILE:+{CREDENTIALS_PATH}}}"}
    assert reads == "${GOOGLE_READER_CREDENTIALS_FILE:+/run/secrets/google_reader_credentials}"


def test_only_the_api_server_has_what_reads_and_it_has_nothing_that_writes() -> None:
    """It has Airflow's database and the signing keys, and serves browsers; tasks run what people write."""
    having = {n for n, s in SERVICES.items() if "google_reader_credentials" in s.get("secrets", [])}
    volume = "reader-secrets:/run/taxiway/reader:ro"
    assert having == {n for n, s in SERVICES.items() if volume in s["volumes"]}
    assert having == {"airflow-api-server", "google-tokens"}
    assert SERVICES["airflow-api-server"]["secrets"] == ["google_reader_credentials"]


def test_only_the_token_server_has_the_developers_credentials_and_only_its_clients_reach_it() -> None:
    served, server = {"airflow-worker", "airflow-triggerer"}, SERVICES["google-tokens"]
    having = {n for n, s in SERVICES.items() if "google_own_credentials" in s.get("secrets", [])}
    assert having == {"google-tokens"}
    assert server["networks"] == ["google"]
    assert "ports" not in server
    inside = {n for n, s in SERVICES.items() if "google" in s.get("networks", [])}
    assert inside == served | {"google-tokens", "gateway", "airflow-api-server"}
    volume = "google-secrets:/run/taxiway/google:ro"
    assert {n for n, s in SERVICES.items() if volume in s["volumes"]} == inside - {"airflow-api-server"}
    assert server["profiles"] == ["${GOOGLE_TOKENS_OFF-1}"]
    needed = {"condition": "service_healthy", "required": False}
    assert all(SERVICES[name]["depends_on"]["google-tokens"] == needed for name in served)


def test_the_token_server_is_where_tasks_ask_and_asks_for_the_secret_that_they_have() -> None:
    command = SERVICES["google-tokens"]["command"]
    options = dict(zip(command[::2], command[1::2], strict=True))
    assert f"http://{options['--allow-host']}:{options['--port']}" == variables.TOKENS
    assert options["--token-file"] == variables.TOKEN_SECRET
    assert options["--credentials"] == "/run/secrets/google_own_credentials"
    assert options["--reader-token-file"] == variables.READER_SECRET
    assert options["--reader-credentials"] == "/run/secrets/google_reader_credentials"
    made = prepare.forms({name: f"<{name}>" for name in prepare.GENERATORS})
    assert made["google"] == {Path(variables.TOKEN_SECRET).name: "<google_tokens_secret>"}
    assert made["reader"] == {Path(variables.READER_SECRET).name: "<google_reader_secret>"}


def test_only_who_has_a_credential_has_the_folder_of_the_platforms_token_read_only_as_the_host_has_it() -> (
    None
):
    mounts = {name: [v for v in s["volumes"] if "GOOGLE_TOKEN_FOLDER" in v] for name, s in SERVICES.items()}
    having = {"airflow-worker", "airflow-triggerer", "airflow-api-server"}
    assert {name for name, found in mounts.items() if found} == having
    place = "${GOOGLE_TOKEN_FOLDER:-%s}"
    assert mounts["airflow-worker"] == [f"{place % '/dev/null'}:{place % '/run/taxiway/no-token'}:ro"]


def test_workers_are_not_in_the_network_of_airflows_database() -> None:
    assert SERVICES["postgres"]["networks"] == ["metadata"]
    outside = {"airflow-worker", "flower", "loader", "redis", "taxi-postgres", *EMULATED}
    assert [name for name in outside if "metadata" in SERVICES[name].get("networks", [])] == []


def test_only_who_needs_the_broker_is_in_its_network_and_neither_it_nor_the_database_has_a_way_out() -> None:
    assert {name for name, network in FILE["networks"].items() if network} == {"metadata", "broker"}
    assert all(FILE["networks"][name] == {"internal": True} for name in ("metadata", "broker"))
    assert SERVICES["redis"]["networks"] == ["broker"]
    inside = {name for name, service in SERVICES.items() if "broker" in service.get("networks", [])}
    given = {
        n for n, s in SERVICES.items() if any(str(v).startswith("broker-secrets:") for v in s["volumes"])
    }
    assert inside == given - {"prepare"}
    # A port of a service that has no way out is not published.
    published = {name for name, service in SERVICES.items() if service.get("ports")}
    assert [n for n in published if "default" not in SERVICES[n].get("networks", ["default"])] == []


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_that_grows_without_end_takes_nothing_else_of_the_machine(name: str) -> None:
    assert re.fullmatch(r"(\$\{TAXIWAY_\w+_MEMORY:-)?[13]g\}?", SERVICES[name]["mem_limit"])
    assert 256 <= SERVICES[name]["pids_limit"] <= 1024


def test_the_emulators_have_the_profile_that_env_takes_away() -> None:
    profiled = {
        name for name, service in SERVICES.items() if service.get("profiles") == ["${EMULATORS_OFF-}"]
    }
    assert profiled == EMULATED
    for name, service in SERVICES.items():
        for needed, how in service.get("depends_on", {}).items():
            if needed in EMULATED and name not in EMULATED:
                assert how["required"] is False, f"{name} needs {needed}, which is not always there"


def test_the_defaults_of_the_stack_are_what_the_program_exports_for_the_emulators() -> None:
    endpoints = Endpoints("http://gcs:9023", "http://bigquery:9050")
    outputs = plan("local", {**endpoints.config(), **LOCAL_CONFIG}).outputs
    given = SERVICES["airflow-worker"]["environment"]
    defaults = {name: re.fullmatch(r"\$\{" + name + r"-(.*)\}", given[name]) for name in outputs}
    found = {name: default[1] for name, default in defaults.items() if default}
    # Its JSON has braces, which would end the default; a connection has a URI form as well.
    connections = [ConnectionFields.parse(values.pop(CONNECTION), CONNECTION) for values in (found, outputs)]
    # Nor has the program the containers' token.
    ours, exported = (dict(one.extra) for one in connections)
    assert exported.pop("is_anonymous") is True
    assert ours.pop("credential_config_file") == variables.CREDENTIALS
    assert ours == exported
    assert connections[0].conn_type == connections[1].conn_type
    assert found == outputs
    assert {*outputs, CONNECTION} == set(VARIABLES) - {CREDENTIAL_FILE}


def test_the_source_and_the_taxi_database_are_connections_that_the_library_reads() -> None:
    given = SERVICES["airflow-worker"]["environment"]
    default = given[variables.SOURCE].removeprefix(f"${{{variables.SOURCE}-").removesuffix("}")
    assert ConnectionFields.parse(default, variables.SOURCE).url() == "http://sample-source:9080"
    taxi = ConnectionFields.parse(given[variables.POSTGRES], variables.POSTGRES)
    assert postgres_parameters(taxi) == {"service": "taxi"}
    assert SERVICES["loader"]["environment"][variables.POSTGRES] == given[variables.POSTGRES]


def test_no_path_is_patched_in_the_containers() -> None:
    """Python finds the mounted packages by a file that each image holds."""
    for dockerfile in BUILDS.values():
        text = (REPOSITORY / dockerfile).read_text()
        assert "PYTHONPATH" not in text
        places = re.search(r"^RUN printf '%s\\n' (.+) \\$", text, re.MULTILINE)
        assert places
        image = next(
            s["image"] for s in SERVICES.values() if s.get("build", {}).get("dockerfile") == dockerfile
        )
        volumes = [v for s in SERVICES.values() if s["image"] == image for v in s["volumes"]]
        mounted = {volume.split(":")[1] for volume in volumes if isinstance(volume, str)}
        assert {place for place in places[1].split() if not place.endswith("left_out")} <= mounted
    assert "PYTHONPATH" not in TEXT


def test_what_forks_imports_first_what_its_forks_need() -> None:
    preloading = {n: s["environment"].get("TAXIWAY_PRELOAD") for n, s in SERVICES.items() if n in AIRFLOW}
    assert {name: what for name, what in preloading.items() if what} == {
        "airflow-dag-processor": "dags",
        "airflow-triggerer": "tasks",
        "airflow-worker": "tasks",
    }


@pytest.mark.parametrize(
    ("image", "absent", "modules"),
    [
        (
            "airflow",
            "pulumi lakehouse bqemulator duckdb",
            "taxiway.compose.prepare taxiway.compose.loader taxiway.token_server",
        ),
        ("emulators", "airflow elt nyc_taxi supervisor", "taxiway.compose.infrastructure"),
    ],
)
def test_what_runs_in_an_image_imports_nothing_that_it_lacks(image: str, absent: str, modules: str) -> None:
    code = (
        f"import importlib, sys; sys.modules.update(dict.fromkeys('{absent}'.split())); "
        f"[importlib.import_module(name) for name in '{modules}'.split()]"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize("name", ["gcs", "bigquery", "sample-source"])
def test_an_emulator_answers_to_the_name_that_the_services_call_it_by(name: str) -> None:
    command = SERVICES[name]["command"]
    assert command[command.index("--allow-host") + 1] == name
    assert f"http://{name}:" in json.dumps(SERVICES["airflow-worker"]["environment"])


def test_a_stack_of_another_name_gets_its_own_names() -> None:
    written = variables.emulated("alice")
    names = Names.of(written["GCP_PROJECT_ID"], "alice")
    assert (written["GCP_GCS_BUCKET"], written["BIGQUERY_DATASET"]) == (names.bucket, names.dataset)
    assert written["TAXIWAY_STACK"] == "alice"


def test_every_port_that_the_commands_choose_is_one_that_the_file_publishes() -> None:
    published = {
        name: str(port)
        for service in SERVICES.values()
        for port in service.get("ports", [])
        for name in re.findall(r"\$\{(\w+)", port)
    }
    assert set(published) == {*variables.PORTS.values(), "TAXIWAY_ADDRESS", "GATEWAY_PORT"}


def test_a_worker_on_another_host_finds_what_it_calls_by_the_names_and_ports_that_it_has_here() -> None:
    text = (REPOSITORY / "airflow" / "compose.worker.yaml").read_text()
    there = yaml.safe_load(re.sub("!(override|reset)", "", text))["services"]
    assert set(there["gateway"]["networks"]["platform"]["aliases"]) == {*gateway.SERVICES} <= {*SERVICES}
    called = re.findall(r"http://([-a-z]+):(\d+)", json.dumps(SERVICES["airflow-worker"]["environment"]))
    assert {(name, gateway.SERVICES[name]) for name, _ in called} == {(n, int(port)) for n, port in called}
    assert "postgres" not in gateway.SERVICES
    # Each folder of the invitation stands in for a volume, and there is no other.
    here = {v.split(":")[1] for v in SERVICES["airflow-worker"]["volumes"] if not v.startswith((".", "$"))}
    assert {v["target"] for v in there["airflow-worker"]["volumes"]} == here
    given = {file.partition("/")[0] for file in invitation.FILES}
    assert {Path(v["target"]).name for s in there.values() for v in s["volumes"] if "target" in v} == given


def test_every_variable_that_the_commands_write_is_read_by_the_file() -> None:
    outputs = {name: "x" for name in VARIABLES if "EMULATOR" not in name}
    written = {*variables.emulated("alice"), *variables.of_stack("alice", outputs, {})}
    written -= {"COMPOSE_PROJECT_NAME"}
    assert [name for name in sorted(written) if f"${{{name}" not in TEXT] == []


@pytest.mark.parametrize(("service", "dockerfile"), BUILDS.items())
def test_each_image_is_built_once_and_never_pulled(service: str, dockerfile: str) -> None:
    image = SERVICES[service]["image"]
    assert SERVICES[service]["build"]["dockerfile"] == dockerfile
    sharing = [s for n, s in SERVICES.items() if s["image"] == image and n != service]
    assert len(sharing) >= 3
    assert all(s["pull_policy"] == "never" and "build" not in s for s in sharing)


def test_an_image_of_others_is_named_by_digest_in_one_way_and_may_be_replaced() -> None:
    """A registry can send nothing else than what was looked at, and services share one name of it."""
    named = re.findall(r"^\s+image: (.+)$", (REPOSITORY / "docker-compose.yaml").read_text(), re.MULTILINE)
    for file in BUILDS.values():
        named += re.findall(r"^ARG .+$", (REPOSITORY / file).read_text(), re.MULTILINE)
    others = sorted({name for name in named if not name.startswith("taxiway-")})
    form = re.compile(r"(ARG |\$\{)(\w+)_IMAGE(=|:-)[a-z]+:[\w.-]+@sha256:[0-9a-f]{64}\}?")
    assert all(map(form.fullmatch, others)), others
    assert [form.sub(r"\2", name) for name in others] == ["POSTGRES", "REDIS", "PYTHON"]
    assert all(SERVICES[service]["build"]["args"] == ["PYTHON_IMAGE"] for service in BUILDS)


@pytest.mark.parametrize("dockerfile", BUILDS.values())
def test_a_dockerfile_builds_with_the_classic_builder_and_gives_a_reason_for_each_variable(
    dockerfile: str,
) -> None:
    text = (REPOSITORY / dockerfile).read_text()
    assert "\nFROM $PYTHON_IMAGE\n" in text
    assert not re.search(r"^# syntax|--mount=|<<|COPY --chmod|COPY --link", text, re.MULTILINE)
    lines = text.splitlines()
    variables = [number for number, line in enumerate(lines) if line.startswith("ENV ")]
    assert variables
    assert all(lines[number - 1].startswith("#") for number in variables), "each ENV has its reason above it"
    assert re.search(r"^USER 50000:0$", text, re.MULTILINE)
    assert not re.search(r"gcc|build-essential|apt-get", text)


@pytest.mark.parametrize("file", packages.EXPORTS)
def test_what_the_images_install_is_what_the_lock_says(file: str) -> None:
    exported = packages.export(packages.EXPORTS[file])
    assert (REPOSITORY / file).read_text() == exported, "run: scripts/docs"
    assert "--hash=sha256:" in exported


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
@pytest.mark.parametrize("file", packages.EXPORTS)
def test_every_package_of_the_images_has_a_wheel_for(machine: str, file: str) -> None:
    """Nothing is compiled in the images: `--only-binary :all:`."""
    there = {"platform_machine": machine, "sys_platform": "linux", "platform_system": "Linux"}
    there |= {
        "python_version": "3.13",
        "python_full_version": "3.13.0",
        "platform_python_implementation": "CPython",
    }
    platforms = [f"manylinux_2_{minor}_{machine}" for minor in range(41, 4, -1)]
    platforms += [f"manylinux2014_{machine}", f"linux_{machine}"]
    tags = {*cpython_tags((3, 13), platforms=platforms), *compatible_tags((3, 13), "cp313", platforms)}
    lock = tomllib.loads((REPOSITORY / "uv.lock").read_text())["package"]
    wheels = {(p["name"], p["version"]): p.get("wheels", []) for p in lock}
    lines = re.findall(r"^([\w.-]+)==(\S+)(?: ; (.+?))? \\$", (REPOSITORY / file).read_text(), re.MULTILINE)
    wanted = [(n, v) for n, v, marker in lines if not marker or Marker(marker).evaluate(there)]
    assert len(wanted) > len(lines) / 2
    fits = {package: any(_tags(wheel) & tags for wheel in wheels[package]) for package in wanted}
    assert [package for package, fit in fits.items() if not fit] == []


def _tags(wheel: dict[str, str]) -> frozenset[Tag]:
    return parse_wheel_filename(unquote(wheel["url"].rsplit("/", 1)[1]))[3]


def test_a_checkout_on_windows_has_unix_line_ends_in_what_containers_run(tmp_path: Path) -> None:
    def git(*arguments: str) -> str:
        command = ["git", "-c", "core.autocrlf=true", *arguments]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout

    git("init", "-q")
    for name in (".gitattributes", "airflow/entrypoint", "docker-compose.yaml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy2(REPOSITORY / name, tmp_path / name)
    git("add", ".")
    shutil.rmtree(tmp_path / "airflow")
    git("checkout", "--", "airflow")
    assert b"\r" not in (tmp_path / "airflow" / "entrypoint").read_bytes()


def test_the_images_get_no_more_than_they_need_to_be_built() -> None:
    listed = (REPOSITORY / ".dockerignore").read_text().split("\n")
    assert listed[1] == "*"
    allowed = {line[1:] for line in listed if line.startswith("!")}
    copied = set()
    for dockerfile in BUILDS.values():
        found = re.findall(r"^COPY (.+) \S+$", (REPOSITORY / dockerfile).read_text(), re.MULTILINE)
        copied |= {word for line in found for word in line.split()}
    assert copied
    assert [path for path in copied if not any(path.startswith(prefix) for prefix in allowed)] == []


def test_the_airflow_folder_holds_no_python_module() -> None:
    assert list((REPOSITORY / "airflow").rglob("*.py")) == []


@pytest.mark.parametrize("script", ["entrypoint", "probe", "http-ok", "cleanup"])
def test_a_script_of_the_images_is_executable_bash(script: str) -> None:
    file = REPOSITORY / "airflow" / script
    assert file.stat().st_mode & 0o111
    assert file.read_text().startswith("#!/usr/bin/env bash\n")
    subprocess.run([shutil.which("bash") or "bash", "-n", file], check=True)
