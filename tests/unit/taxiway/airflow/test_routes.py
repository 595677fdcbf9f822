"""FastAPI's routes are analysed at their first request, and answer as they did."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest
from repository import REPOSITORY

CODE = """
import json
import airflow_local_settings
from fastapi import APIRouter, Depends, FastAPI
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient
from pydantic import BaseModel

class Zone(BaseModel):
    name: str
    number: int = 7

def doubled(number: int) -> int:
    return 2 * number

def strict(token: str) -> None:
    pass

inner = APIRouter(prefix="/zones", dependencies=[Depends(strict)])

@inner.post("/{number}", responses={404: {"model": Zone}})
def change(zone: Zone, twice: int = Depends(doubled)) -> list[Zone]:
    return [zone, Zone(name="twice", number=twice)]

@inner.get("/")
async def everything(limit: int = 3):
    for number in range(limit):
        yield Zone(name="one", number=number)

outer = APIRouter()
outer.include_router(inner)
app = FastAPI()
app.include_router(outer, prefix="/api")
routes = [one for part in (inner, outer, app) for one in part.routes if isinstance(one, APIRoute)]
analysed = ["dependant" in vars(route) for route in routes]
routes[-2].operation_id = "renamed"
client = TestClient(app)
asked = [
    client.post("/api/zones/21?token=a", json={"name": "JFK"}),
    client.post("/api/zones/21", json={}),
    client.get("/api/zones/?token=a&limit=2"),
    client.get("/openapi.json"),
]
answers = [[answer.status_code, answer.text] for answer in asked]
print(json.dumps({"analysed": analysed, "answers": answers, "missing": hasattr(routes[0], "nothing")}))
"""


def found(**variables: str) -> Any:
    done = subprocess.run(
        [sys.executable, "-c", CODE],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(REPOSITORY / "plugins"), **variables},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def ours() -> Any:
    return found(TAXIWAY_SAME_RELEASE="1")


def test_no_route_is_analysed_before_it_is_asked_for(ours: Any) -> None:
    assert ours["analysed"] == [False] * 6


def test_routes_answer_as_they_did(ours: Any) -> None:
    usual = found()
    assert usual["analysed"] == [True] * 6
    assert ours["answers"] == usual["answers"]
    assert [status for status, _ in usual["answers"]] == [200, 422, 200, 200]
    assert "renamed" in usual["answers"][-1][1]


def test_an_attribute_that_no_route_has_is_still_missing(ours: Any) -> None:
    assert ours["missing"] is False
