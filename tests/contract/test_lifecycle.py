"""What `scripts/test --cloud` does, with commands that only answer; and the recorder, before fakes of Google.

On emulators the same steps run for real: `scripts/test --cloud emulators`.
"""

import http.client
import json
import os
import subprocess
import sys

import lifecycle
import pytest
import taxi
from fakes import Stack
from google_hosts import IAM, OAUTH, GoogleHosts
from lifecycle import Done, main
from recorder import Recorder, Replay

from elt import status

PREVIEW = "+ bucket p-taxiway-cloud-test\n12 changes\nin all 3.65\n"
ROW = {"dataset": "yellow", "period": "2024-01", "state": "loaded"}


class Commands:
    """The commands of a stack that lives; `broken` are those that end with 1."""

    def __init__(self, broken: str = "", row: dict[str, str] | None = None) -> None:
        self.broken, self.row = broken, row or ROW
        self.called: list[str] = []

    def __call__(self, command) -> Done:
        name, first = command[0], command[0] not in [one.split()[0] for one in self.called]
        self.called.append(" ".join(command))
        answers = {
            "preview": (PREVIEW, "Nothing would change.\n"),
            "up": ("done", "everything is loaded already; nothing to do"),
            "down": ("Nothing is left.", "There is no environment here: nothing to remove."),
            "drift": ("Nothing has drifted.",) * 2,
            "status": (json.dumps({"datasets": [self.row]}),) * 2,
        }
        if name == self.broken:
            return Done(1, "it does not work\n")
        return Done(0, answers[name][0 if first else 1])


def live(commands: Commands, *options: str, answer: str = "y") -> int:
    return main(["my-project", *options], commands, lambda _: answer)


def test_the_whole_life_is_lived_and_the_cost_said_before(capsys):
    commands = Commands()
    assert live(commands) == 0
    names = [one.split()[0] for one in commands.called]
    assert names == ["preview", "up", "status", "drift", "preview", "up", "down", "down"]
    assert all("--stack cloud-test" in one for one in commands.called)
    assert commands.called[1].endswith("--project my-project --months 2024-01 --source sample")
    shown = capsys.readouterr().out
    assert shown.index("3.65") < shown.index("less than 0.10 US dollars") < shown.index("it is up")
    assert "8 steps, all as they should be" in shown


@pytest.mark.parametrize("answer", ["", "n", "what?"])
def test_nothing_is_made_unless_somebody_says_yes(capsys, answer):
    commands = Commands()
    assert live(commands, answer=answer) == 0
    assert [one.split()[0] for one in commands.called] == ["preview"]
    assert "Nothing was made." in capsys.readouterr().out
    assert live(Commands(), "--yes", answer="n") == 0
    assert "all as they should be" in capsys.readouterr().out


@pytest.mark.parametrize("broken", ["up", "status", "drift"])
def test_whatever_fails_the_stack_is_taken_down(capsys, broken):
    commands = Commands(broken)
    assert live(commands) == 1
    assert [one.split()[0] for one in commands.called[-2:]] == ["down", "down"]
    shown = capsys.readouterr().out
    assert f"scripts/{broken} " in shown
    assert "it does not work" in shown


def test_a_month_that_is_not_everywhere_is_a_failure(capsys):
    assert live(Commands(row={**ROW, "state": "partial"})) == 1
    assert "the month is in every store" in capsys.readouterr().out


def test_it_reads_what_status_says_of_a_partition():
    stack = Stack()
    stack.publisher.publish("yellow", "2024-01", taxi.parquet(taxi.trips("2024-01", 5)))
    stack.run("download", "yellow", "2024-01")
    (row,) = status.status(stack.connections)
    assert {**row, **ROW, "state": row["state"]} == row
    assert live(Commands(row=row), "--yes") == 1, "it is in the lake alone"


def test_on_emulators_it_is_the_same_life_without_a_question(capsys):
    commands = Commands()
    assert main(["emulators"], commands, lambda _: pytest.fail("nobody is asked")) == 0
    assert len(commands.called) == 8
    assert not any("--project" in one for one in commands.called)


def test_the_command_hands_over_to_it():
    command = [sys.executable, "-m", "taxiway", "test", "--cloud", "my-project", "--no-such-option"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=lifecycle.REPOSITORY)
    assert done.returncode == 2
    assert "scripts/test --cloud: error: unrecognized arguments: --no-such-option" in done.stderr


# The recorder

CLIENT = """
import sys
from google.cloud.storage import Client
from google.cloud import bigquery
client = Client(project="p")
blob = client.bucket("b").blob("raw/x", chunk_size=3 << 20)
blob.upload_from_string(b"rows" * 2_200_000)
assert client.bucket("b").blob("raw/x").download_as_bytes() == b"rows" * 2_200_000
assert client.bucket("b").get_blob("raw/none") is None
found = bigquery.Client(project="p").query_and_wait("SELECT 1 AS n")
print([tuple(row) for row in found])
"""


@pytest.fixture
def google():
    with GoogleHosts() as google:
        google.storage.host = "https://storage.googleapis.com"
        yield google


@pytest.fixture
def recorded(google, tmp_path):
    """What Google's own clients say while an account is impersonated, through the recorder."""
    theirs, file = google.variables(tmp_path), tmp_path / "recording.jsonl"
    proxy = theirs["HTTPS_PROXY"].rpartition(":")

    def connect(host: str) -> http.client.HTTPSConnection:
        import ssl

        context = ssl.create_default_context(cafile=theirs["REQUESTS_CA_BUNDLE"])
        connection = http.client.HTTPSConnection("127.0.0.1", int(proxy[2]), context=context)
        connection.set_tunnel(host)
        return connection

    _, credentials = google.credentials("impersonation", tmp_path)
    with Recorder(file, {"pipelines@p.iam": "pipelines@p1.iam"}, connect) as recorder:
        environment = {**os.environ, **theirs, **recorder.variables(tmp_path), **credentials}
        command = [sys.executable, "-c", CLIENT]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)
        assert (done.returncode, done.stdout) == (0, "[(1,)]\n"), done.stderr[-2000:]
    return file


def test_what_is_recorded_has_no_secret_and_can_be_replayed(recorded, google):
    text = recorded.read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    assert recorded.stat().st_mode & 0o777 == 0o600
    assert google.minted >= 2
    for secret in ("token-0", "token-1", "refresh_token", "client_secret", "rowsrows", "Bearer"):
        assert secret not in text
    by_host = {line["path"].split("/")[1] for line in lines}
    assert {"gcs", "bq", OAUTH, IAM} <= by_host
    minted = [line for line in lines if line["path"].startswith((f"/{OAUTH}", f"/{IAM}"))]
    assert all(set(line) == {"method", "path", "status", "answered_by"} for line in minted)
    assert any("pipelines@p1.iam" in line["path"] for line in minted)
    uploads = [line["path"] for line in lines if "upload_id" in line["path"]]
    assert uploads
    assert all("upload_id=REDACTED" in path for path in uploads)
    replay = Replay(recorded)
    query = next(line for line in lines if line["method"] == "POST" and line["path"].startswith("/bq/"))
    status, answer = replay.answer("POST", query["path"])
    assert (status, answer["rows"]) == (200, [{"f": [{"v": "1"}]}])
    with pytest.raises(KeyError):
        replay.answer("DELETE", query["path"])


def test_a_recording_with_a_secret_in_it_is_not_kept(tmp_path):
    recorder = Recorder(tmp_path / "recording.jsonl")
    with pytest.raises(ValueError, match="had a secret in it, and is removed"), recorder:
        recorder.learn("ya29.a-token-of-somebody")
        body = json.dumps({"description": "ya29.a-token-of-somebody"}).encode()
        recorder.keep("storage.googleapis.com", "GET", "/storage/v1/b/x", b"", 200, body)
    assert not recorder.file.exists()


@pytest.mark.parametrize(
    ("body", "kept"),
    [
        ({"privateKeyData": "s3cret-value", "name": "k"}, {"privateKeyData": "REDACTED", "name": "k"}),
        ({"accessToken": "s3cret-value"}, {"accessToken": "REDACTED"}),
        ({"nextPageToken": "page-two-of-it"}, {"nextPageToken": "page-two-of-it"}),
        ({"a": [{"client_secret": "s3cret-value"}]}, {"a": [{"client_secret": "REDACTED"}]}),
        ({"labels": {"owner": "alice"}}, {"labels": {"owner": "alice"}}),
    ],
)
def test_fields_that_open_something_are_redacted_at_any_depth(tmp_path, body, kept):
    with Recorder(tmp_path / "recording.jsonl") as recorder:
        target = "/v1/x?X-Goog-Signature=s3cret-value&pageToken=p&alt=json"
        recorder.keep("iam.googleapis.com", "POST", target, json.dumps(body).encode(), 200, b"")
    line = json.loads(recorder.file.read_text())
    assert line["request"] == kept
    assert line["path"] == "/iam/v1/x?X-Goog-Signature=REDACTED&pageToken=p&alt=json"


def test_a_host_that_does_not_answer_is_as_silent_through_the_recorder(tmp_path):
    def connect(host: str) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", 9)

    with Recorder(tmp_path / "recording.jsonl", connect=connect) as recorder:
        program = "import requests; requests.get('https://storage.googleapis.com/x', timeout=20)"
        environment = {**os.environ, **recorder.variables(tmp_path)}
        command = [sys.executable, "-c", program]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment)
    assert "requests.exceptions.ProxyError" in done.stderr, "one of requests' connection errors"
    assert recorder.count == 0
