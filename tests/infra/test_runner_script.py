"""What the runner does at each start (infra/lakehouse/runner.sh), with programs that note their calls."""

import base64
import json
import subprocess

import pytest
import yaml

from taxiway.compose import prepare, variables
from taxiway.environment.home import REPOSITORY
from taxiway.infrastructure.plan import plan

SCRIPT = REPOSITORY / "infra" / "lakehouse" / "runner.sh"
CONFIG = {"taxiway:project": "acme-data", "taxiway:owner": "alice@example.com", "taxiway:runner": "true"}
TOKEN = "ya29.of-the-account"
CURL = """#!/bin/bash
echo "curl $*" >>"$CALLS"
for word in "$@"; do case $word in
    http*) url=$word ;;
    @*) grep -q "Authorization: Bearer %s" "${word#@}" || exit 22 ;;
esac; done
cat "$ANSWERS/${url##*/}"
"""
DOCKER = """#!/bin/bash
echo "docker $*" >>"$CALLS"
case $1 in
    login) [ "$(cat)" = %s ] ;;
    image) [ "$2" != inspect ] || cat "$ANSWERS/id" ;;
    create) echo made ;;
    cp) mkdir -p "$4" ;;
esac
"""


@pytest.fixture
def machine(tmp_path):
    """The second disk, what the metadata server answers, and the two programs; a function that starts it."""
    for name in ("bin", "answers", "srv", "run"):
        (tmp_path / name).mkdir()
    for name, text in (("curl", CURL), ("docker", DOCKER)):
        (tmp_path / "bin" / name).write_text(text % TOKEN)
        (tmp_path / "bin" / name).chmod(0o755)
    (instance,) = [one for one in plan("alice", CONFIG).resources if one.type.endswith("instance:Instance")]
    secret = json.dumps({"payload": {"data": base64.b64encode(b"hidden").decode()}})
    answers = {**instance.inputs["metadata"], "token": json.dumps({"access_token": TOKEN})}
    answers |= {"project-id": "acme-data", "latest:access": secret, "id": "sha256:1"}
    for name, text in answers.items():
        (tmp_path / "answers" / name).write_text(text)

    def start():
        variables = {"CALLS": tmp_path / "calls", "ANSWERS": tmp_path / "answers"}
        variables |= {"TAXIWAY_SRV": tmp_path / "srv", "TAXIWAY_RUN": tmp_path / "run"}
        path = f"{tmp_path / 'bin'}:/usr/bin:/bin"
        done = subprocess.run(
            ["bash", SCRIPT, "up"],
            env={"PATH": path, **{name: str(value) for name, value in variables.items()}},
            capture_output=True,
            text=True,
            timeout=60,
        )
        calls = (tmp_path / "calls").read_text().splitlines()
        (tmp_path / "calls").unlink()
        return done, [call.split() for call in calls if call.startswith("docker")], "\n".join(calls)

    return start


def test_it_runs_the_pushed_image_with_its_checkout_and_secrets(machine, tmp_path):
    done, calls, lines = machine()
    assert done.returncode == 0, done.stderr
    assert [call[1] for call in calls] == [
        "login", "pull", "image", "tag", "create", "cp", "rm", "compose", "image",
    ]  # fmt: skip
    assert calls[1][-1] == "us-central1-docker.pkg.dev/acme-data/taxiway-alice/taxiway:current"
    assert "up --detach --wait --no-build --remove-orphans --force-recreate" in " ".join(calls[7])
    assert "secrets/taxiway-alice--fernet-key/versions/latest:access" in lines
    vault = tmp_path / "srv" / "vault"
    assert {file.name: file.read_text() for file in vault.iterdir()} == {
        "admin_password": "hidden",
        "fernet_key": "hidden",
    }
    assert set(prepare.GENERATORS) > {file.name for file in vault.iterdir()}
    assert {file.stat().st_mode & 0o777 for file in vault.iterdir()} == {0o600}


def test_the_accounts_token_is_in_no_process_list_and_stays_nowhere(machine, tmp_path):
    _, _, lines = machine()
    assert TOKEN not in lines
    assert sorted(file.name for file in (tmp_path / "run").iterdir()) == ["environment"]


def test_a_start_without_a_new_image_leaves_containers_and_checkout_alone(machine, tmp_path):
    machine()
    done, calls, _ = machine()
    assert done.returncode == 0
    assert "cp" not in [call[1] for call in calls]
    assert not any("--force-recreate" in call for call in calls)
    (tmp_path / "answers" / "id").write_text("sha256:2")
    assert any("--force-recreate" in call for call in machine()[1])


def test_without_its_secrets_nothing_starts_and_it_is_tried_again(machine, tmp_path):
    """A grant takes minutes: the service fails, and systemd starts it anew."""
    (tmp_path / "answers" / "latest:access").unlink()
    done, calls, _ = machine()
    assert done.returncode
    assert "compose" not in [call[1] for call in calls]
    assert "Restart=on-failure" in SCRIPT.read_text()


def test_the_runner_is_told_what_a_stack_on_google_cloud_is_told():
    told = variables.read(REPOSITORY / "airflow" / "runner.env")
    stack = variables.of_stack("alice", plan("alice", CONFIG).outputs, {})
    given = {**variables.NO_EMULATORS, "GOOGLE_TOKENS_OFF": stack["GOOGLE_TOKENS_OFF"]}
    assert {name: told[name] for name in given} == given
    text = (REPOSITORY / "docker-compose.yaml").read_text()
    assert [name for name in told if f"${{{name}" not in text] == []


def test_nothing_is_built_on_the_runner_and_its_vault_is_on_the_disk():
    own = yaml.safe_load((REPOSITORY / "airflow" / "compose.runner.yaml").read_text())["services"]
    services = yaml.safe_load((REPOSITORY / "docker-compose.yaml").read_text())["services"]
    merged = {name: {**service, **own.get(name, {})} for name, service in services.items()}
    ours = {name: one for name, one in merged.items() if str(one["image"]).startswith("taxiway-airflow:")}
    assert {one["pull_policy"] for one in ours.values()} == {"never"}
    assert own["prepare"]["volumes"] == ["/srv/vault:/secrets/vault"]
