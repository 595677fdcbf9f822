"""What forks and bots run: the workflow calls README's commands, Renovate finds every version there is."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from google.auth.identity_pool import Credentials
from repository import REPOSITORY

from taxiway.cli.main import group

DEPLOY = yaml.safe_load((REPOSITORY / ".github" / "workflows" / "deploy.yml").read_text())
TRIAL = yaml.safe_load((REPOSITORY / ".github" / "workflows" / "pull-request.yml").read_text())
GITLAB = yaml.safe_load((REPOSITORY / ".gitlab-ci.yml").read_text())
JOBS = {**DEPLOY["jobs"], **TRIAL["jobs"]}
WORKFLOW = yaml.safe_load((REPOSITORY / ".github" / "workflows" / "ci.yml").read_text())
RENOVATE = json.loads((REPOSITORY / "renovate.json").read_text())


def test_a_fork_runs_what_ci_runs() -> None:
    job = WORKFLOW["jobs"]["run"]
    of_the_fork = {f"scripts/{command}" for command in job["strategy"]["matrix"]["command"]}
    parts = re.findall(r"^part (.+)$", (REPOSITORY / ".ci" / "run").read_text(), re.MULTILINE)
    assert of_the_fork == {part for part in parts if part.startswith("scripts/")}
    assert job["steps"][-1]["run"] == "scripts/${{ matrix.command }}"
    assert WORKFLOW["permissions"] == {"contents": "read"}


def test_a_fork_on_gitlab_runs_check_and_tests() -> None:
    assert GITLAB["check"]["script"] + GITLAB["test"]["script"] == ["scripts/check", "scripts/test --all"]
    assert GITLAB["variables"]["UV_CACHE_DIR"].endswith(GITLAB["default"]["cache"]["paths"][0])


def test_gitlab_runs_what_github_runs() -> None:
    def of_github(job: str, *, closed: bool = False) -> list[str]:
        left_out = f"github.event.action {'!=' if closed else '=='} 'closed'"
        steps = [step for step in JOBS[job]["steps"] if "run" in step and step.get("if") != left_out]
        return [step["run"].partition(" | ")[0].replace("$OWNER", "$ACCOUNT") for step in steps]

    def of_gitlab(job: str) -> list[str]:
        lines = GITLAB[".google"]["before_script"][2:] + GITLAB[job]["script"]
        return [line.replace("$GCP_TRIAL_PROJECT", "$PROJECT") for line in lines]

    assert of_gitlab("preview") == of_github("preview")
    assert of_gitlab("deploy") == of_github("deploy")
    assert of_gitlab("trial") == of_github("stack")
    assert of_gitlab("trial-ends") == of_github("stack", closed=True)
    assert GITLAB["trial"]["environment"]["on_stop"] == "trial-ends"
    for job in ("preview", ".trial", "trial-ends"):
        assert "$CI_MERGE_REQUEST_SOURCE_PROJECT_ID == $CI_PROJECT_ID" in GITLAB[job]["rules"][0]["if"]


def test_gitlabs_credential_file_is_one_of_googles_and_nobody_elses_to_read(tmp_path: Path) -> None:
    checkout, account = tmp_path / "x", "deploy@acme-data.iam.gserviceaccount.com"
    provider = "projects/1/locations/global/workloadIdentityPools/ci/providers/gitlab"
    file = tmp_path / "x.tmp" / "google.json"
    variables = {"CI_PROJECT_DIR": str(checkout), "TOKEN_OF_THE_JOB": "a-token", "ACCOUNT": account}
    variables |= {"GCP_WORKLOAD_IDENTITY_PROVIDER": provider, "GOOGLE_APPLICATION_CREDENTIALS": str(file)}
    script = "\n".join(GITLAB[".google"]["before_script"][:2])
    subprocess.run(["bash", "-euc", script], env={**os.environ, **variables}, check=True, timeout=30)
    # As google.auth reads such a file, without its question for a project.
    found = Credentials.from_file(file, scopes=["x"])  # type: ignore[no-untyped-call]
    assert found.service_account_email == account
    assert found.retrieve_subject_token(None) == "a-token"
    assert {path.stat().st_mode & 0o77 for path in (file, file.with_name("token"))} == {0}


@pytest.mark.parametrize("job", JOBS)
def test_what_is_deployed_by_exists_and_takes_these_options(job: str) -> None:
    ran = [shlex.split(step["run"].split("|")[0]) for step in JOBS[job]["steps"] if "run" in step]
    assert {line[0] for line in ran} <= {"python", "pulumi", "scripts/preview", "scripts/down"}
    for line in ran:
        assert all((REPOSITORY / word).exists() for word in line[1:] if "/" in word)
        if line[0].startswith("scripts/"):
            name = line[0].removeprefix("scripts/")
            group().commands[name].make_context(name, ["alice" if w == "$STACK" else w for w in line[1:]])


def test_no_workflow_of_somebody_else_gets_a_token() -> None:
    assert DEPLOY["permissions"] == {"contents": "read"}
    # `pull_request_target` would run a fork's code with this repository's rights.
    assert set(DEPLOY[True]) == {"pull_request", "workflow_run"}  # YAML 1.1 reads `on` as true
    preview, deploy = DEPLOY["jobs"]["preview"], DEPLOY["jobs"]["deploy"]
    assert "head.repo.full_name == github.repository" in preview["if"]
    assert "workflow_run.event == 'push'" in deploy["if"]
    assert "workflow_run.conclusion == 'success'" in deploy["if"]
    assert DEPLOY[True]["workflow_run"]["workflows"] == [WORKFLOW["name"]]
    assert deploy["environment"] == "production"
    for job in (preview, deploy):
        assert job["permissions"] == {"contents": "read", "id-token": "write"}
        assert job["steps"][0]["with"]["persist-credentials"] is False


def test_a_pull_requests_stack_is_its_own_and_goes_with_it() -> None:
    job = TRIAL["jobs"]["stack"]
    assert TRIAL["permissions"] == {"contents": "read"}
    # An environment's own values are unknown outside its job.
    assert "env" not in TRIAL
    assert set(TRIAL[True]) == {"pull_request"}
    assert "closed" in TRIAL[True]["pull_request"]["types"]
    assert "head.repo.full_name == github.repository" in job["if"]
    assert job["environment"] == "trial" != DEPLOY["jobs"]["deploy"]["environment"]
    assert job["env"]["STACK"] == job["concurrency"] == "pr-${{ github.event.number }}"
    ends = {step["if"]: step["run"].split()[0] for step in job["steps"] if "if" in step}
    assert ends == {
        "github.event.action != 'closed'": "pulumi",
        "github.event.action == 'closed'": "scripts/down",
    }


def test_the_page_names_each_variable_that_the_workflow_reads() -> None:
    page = (REPOSITORY / "docs" / "ci.md").read_text()
    files = (REPOSITORY / ".github" / "workflows" / name for name in ("deploy.yml", "pull-request.yml"))
    read = set(re.findall(r"\b(?:vars|secrets)\.(\w+)", "".join(file.read_text() for file in files)))
    of_gitlab = set(
        re.findall(r"\$((?:GCP|TAXIWAY|PULUMI)_\w+)", (REPOSITORY / ".gitlab-ci.yml").read_text())
    )
    assert of_gitlab <= read
    assert set(re.findall(r"^\| `([A-Z_]+)` \|", page, re.MULTILINE)) == read
    assert "environment:production" in page
    # Values are variables of the shell: what is in them is never a command.
    for job in JOBS.values():
        assert not any("${{" in step.get("run", "") for step in job["steps"])


@pytest.mark.parametrize(
    "file", ["scripts/_bootstrap.py", "airflow/Dockerfile", "scripts/taxiway/emulators/Dockerfile"]
)
def test_uv_is_installed_by_the_hashes_of_the_lock(file: str) -> None:
    text = (REPOSITORY / file).read_text()
    assert "uv.txt" in text
    # Whatever is installed: uv itself, and by it the packages of an image.
    assert text.count("--require-hashes") == len(re.findall(r"pip[ \",]+install", text)) > 0
    assert "uv==" not in text
    locked = (REPOSITORY / "scripts" / "uv.txt").read_text()
    assert re.fullmatch(r"uv==[\d.]+( \\\n    --hash=sha256:[0-9a-f]{64})+\n", locked)


def test_renovate_leaves_the_bounds_of_what_is_patched_to_people() -> None:
    page = (REPOSITORY / "docs" / "decisions" / "0006-patches-of-foreign-code.md").read_text()
    patched = set(re.findall(r"^\| ([a-z-]+) \| `", page, re.MULTILINE)) - {"apache-airflow"}
    assert {*RENOVATE["packageRules"][0]["matchPackageNames"]} == patched


def test_what_is_built_here_is_built_by_the_uv_that_installs_it() -> None:
    version = re.match(r"uv==(\d+\.\d+)", (REPOSITORY / "scripts" / "uv.txt").read_text())
    assert version
    for file in REPOSITORY.glob("*/pyproject.toml"):
        requires = tomllib.loads(file.read_text())["build-system"]["requires"]
        assert all(text.startswith(f"uv_build>={version[1]}") for text in requires), file
