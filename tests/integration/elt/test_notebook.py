"""The starter notebook on all three stores, and the server that lets in nobody without its token."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import requests
import taxi
from emulators import free_port
from repository import REPOSITORY

from taxiway.asking import notebook
from taxiway.waiting import Patience

pytestmark = pytest.mark.emulators
SOCKET = {
    "Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
}  # fmt: skip
RUN = """
import json, sys
sys.path.insert(0, sys.argv[1])
from first_look import app
_, found = app.run()
asked = {name: found[name].to_pylist() for name in ("by_hour", "by_vendor", "by_month")}
print(json.dumps(asked | {"chart": found["chart"].to_dict()}))
"""


@pytest.fixture(scope="session")
def installed() -> Path:
    """What scripts/notebook installs, where it does."""
    return notebook.NOTEBOOK.installed()


def test_the_starter_asks_each_store_and_draws_what_it_found(asked, installed):
    starter = notebook.starter(REPOSITORY)
    done = subprocess.run(
        [sys.executable, "-c", RUN, starter.parent],
        env=notebook.variables(asked.variables, installed),
        capture_output=True, text=True, timeout=180, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    trips = taxi.trips("2024-01", 40, strays=2).to_pylist()[2:]
    hours = Counter(trip["tpep_pickup_datetime"].hour for trip in trips)
    vendors = Counter(trip["VendorID"] for trip in trips)
    assert found["by_month"] == [{"year": 2024, "month": 1, "trips": len(trips)}]
    assert {row["hour"]: row["trips"] for row in found["by_hour"]} == hours
    assert {row["vendor_id"]: row["trips"] for row in found["by_vendor"]} == vendors
    (drawn,) = found["chart"]["datasets"].values()
    assert drawn == found["by_hour"]


def test_who_has_no_token_gets_nothing_of_the_notebook(installed, tmp_path):
    port = free_port()
    variables = {**notebook.variables({}, installed), "HOME": str(tmp_path), "PYTHONUNBUFFERED": "1"}
    log = tmp_path / "log"
    command = notebook.command_line(tmp_path / "mine.py", port)
    with (
        log.open("w") as output,
        subprocess.Popen(
            command, env=variables, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        ) as server,
    ):
        try:
            base = f"http://127.0.0.1:{port}"
            shown = re.compile(r"access_token=(\S+)")
            Patience(60).until(lambda: bool(shown.search(log.read_text())), log.read_text)
            token = shown.search(log.read_text())[1]
            Patience(60).until(lambda: answers(base), log.read_text)
            for path in ("/", "/api/status", "/ws?session_id=s"):
                for headers in ({}, SOCKET):
                    assert code(base + path, headers=headers) in (303, 401, 403, 404)
            assert code(f"{base}/?access_token=guess") == 303
            assert code(f"{base}/api/status?access_token={token}") == 200
        finally:
            server.terminate()
            server.wait(20)


def code(url: str, **how) -> int:
    return requests.get(url, timeout=10, allow_redirects=False, **how).status_code


def answers(base: str) -> bool:
    try:
        return requests.get(f"{base}/health", timeout=5).ok
    except requests.ConnectionError:
        return False
