"""Entries as Open Data Contracts: valid by the standard's own schema, and the same entry when read again."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest
import yaml
from repository import REPOSITORY

from elt.catalogue import (
    STANDARD_AUDITS,
    Api,
    Audit,
    Column,
    Cursor,
    Database,
    Dataset,
    NextLink,
    Offset,
    PageNumber,
    Publisher,
)
from elt.catalogue.registry import DATASETS
from elt.periods import Hour, Month
from taxiway.entries import contract
from taxiway.errors import UsageError

SCHEMA = json.loads((REPOSITORY / "tests/data/odcs/odcs-json-schema-v3.0.2.json").read_text())
FULL = Dataset(
    "bikes", 'Bikes "at" stations', "/bikes_{year}-{month}.txt", "bike_counts", "counted_at",
    (
        Column("station_id", "int32", "Number.", aliases=("Station ID", "nr"), codes={"none": None, "a": 1}),
        Column("counted_at", "timestamp", "When.", "UTC"),
        Column("bikes", "int16", "Bikes.", required=False, since=Month(2024, 3), until=Month(2024, 9)),
        Column("price", "numeric", "Price.", instead="fare"),
        Column("fare", "float64", "Fare."),
        Column("open", "bool", "Open."),
        Column("day", "date", "Day."),
        Column("local", "datetime", "Local."),
        Column("note", "string", "Note."),
        Column("big", "int64", "Big."),
    ),
    format="csv", file="b_{year}{month}.txt", delimiter=";", first=Month(2024, 1), lag=2,
    cluster=("station_id",), postgres=False,
    audits=(*STANDARD_AUDITS, Audit("few", "warn", {"bikes": "bikes"})),
    source=Publisher("bikes_source", "https://example.com"), starter=True, longest_row=2**21,
)  # fmt: skip
STATIONS = Dataset(
    "stations", "Stations", "https://example.com/stations.csv", "stations", "nr",
    (Column("nr", "string", "Number."), Column("name", "string", "Name.", required=False)),
    audits=(Audit("row_count"), Audit("key_unique")),
)  # fmt: skip
HOURS = replace(FULL, name="hours", first=Hour(2024, 1, 5, 6), file="b_{year}{month}{day}{hour}.txt", lag=30)
PLAN = Dataset("plan", "Plan", "https://example.com/plan-of-2024.svg")
SHARDS = replace(
    STATIONS, name="shards", path="s3://bucket/{year}-{month}/part-*.csv", first=Month(2024, 1), key="at",
    columns=(Column("at", "timestamp", "When."),), marker="_SUCCESS", audits=(),
)  # fmt: skip
PAGINGS = [None, NextLink(), NextLink("links.next"), Cursor("meta.next", "at"), PageNumber("p", 0, "total")]
API = Api("rides_api", "https://example.com/v1", "data.items", {"from": "{start}", "to": "{end}"}, Offset())
APIS = [
    replace(
        SHARDS, name=f"api_{number}", path="/rides", marker="", reread=2, source=replace(API, paging=paging)
    )
    for number, paging in enumerate([*PAGINGS, Offset()])
]
DATABASES = [
    replace(APIS[0], name="table", path="", source=Database("shop", "public.rides", cursor="at")),
    replace(
        APIS[0],
        name="query",
        path="",
        source=Database("shop", query="SELECT at FROM r\nWHERE at >= '{start}'"),
    ),
]


def saved(text: str, folder: Path) -> Path:
    file = folder / "contract.yaml"
    file.write_text(text)
    return file


def entries() -> list[Dataset]:
    return [FULL, STATIONS, HOURS, PLAN, SHARDS, *APIS, *DATABASES, *DATASETS.values()]


@pytest.mark.parametrize("entry", entries(), ids=lambda entry: entry.name)
def test_a_contract_is_valid_and_read_as_the_same_entry(entry: Dataset, tmp_path: Path) -> None:
    text = contract.write(entry)
    jsonschema.validate(yaml.safe_load(text), SCHEMA)
    assert "&id" not in text
    assert contract.read(saved(text, tmp_path)).dataset == entry


def test_what_the_standard_has_words_for_is_said_in_them() -> None:
    written = yaml.safe_load(contract.write(FULL))
    (table,) = written["schema"]
    by_name = {each["name"]: each for each in table["properties"]}
    assert (table["physicalName"], table["businessName"]) == ("bike_counts", 'Bikes "at" stations')
    assert by_name["counted_at"]["required"]
    assert by_name["counted_at"]["partitioned"]
    assert by_name["bikes"]["logicalType"] == "integer"
    assert by_name["bikes"]["logicalTypeOptions"] == {"format": "i16"}
    assert {"property": "frequency", "value": 1, "unit": "month"} in written["slaProperties"]
    assert [each["name"] for each in table["quality"]][-1] == "few"
    (stations,) = yaml.safe_load(contract.write(STATIONS))["schema"]
    assert stations["properties"][0]["primaryKey"]


def test_an_api_is_one_of_the_standard_and_a_source_that_is_none_is_refused(tmp_path: Path) -> None:
    text = contract.write(APIS[0])
    (server,) = yaml.safe_load(text)["servers"]
    assert (server["type"], server["location"]) == ("api", "https://example.com/v1")
    with pytest.raises(UsageError, match="under taxiway is no source"):
        contract.read(saved(text.replace("records:", "lines:"), tmp_path))


FOREIGN = """
apiVersion: v3.0.2
kind: DataContract
id: 53581432
name: Seller Payments
version: 1.1.0
status: active
servers:
- {server: files, type: custom, location: 'https://example.com/payments_2024-01.csv', format: csv}
schema:
- name: tbl
  physicalName: tbl_1
  businessName: Core payments
  properties:
  - {name: Transaction Date, physicalName: txn_ref_dt, physicalType: timestamp, partitioned: true}
  - {name: rcvr_id, primaryKey: true, logicalType: string, physicalType: varchar(18), required: true}
  - {name: amount, logicalType: number, physicalType: 'decimal(10, 2)', description: What was paid.}
  - {name: tags, logicalType: array, items: {logicalType: string}}
  - {name: count, logicalType: integer}
  - name: at
    logicalType: date
    logicalTypeOptions: {format: "yyyy-MM-dd'T'HH:mm:ssX"}
  quality:
  - {name: rows, type: library, rule: rowCount, mustBeGreaterThan: 0}
"""


def test_a_contract_of_others_is_taken_as_far_as_it_goes(tmp_path: Path) -> None:
    found = contract.read(saved(FOREIGN, tmp_path))
    entry = found.dataset
    assert (entry.name, entry.table, entry.title) == ("seller_payments", "tbl_1", "Core payments")
    assert (entry.path, entry.first) == (
        "https://example.com/payments_{year}-{month}.csv",
        Month(2024, 1),
    )
    assert entry.key == "transaction_date"
    assert [(column.name, column.type, column.required) for column in entry.columns] == [
        ("transaction_date", "datetime", True),
        ("rcvr_id", "string", True),
        ("amount", "numeric", False),
        ("count", "int64", False),
        ("at", "timestamp", False),
    ]
    assert entry.columns[0].aliases == ("Transaction Date", "txn_ref_dt")
    assert entry.audits == STANDARD_AUDITS
    assert list(found.notes) == [
        "Left out: tags (array).",
        "Quality checks that are not taken over: rows. Write audits for them.",
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [", "cannot be read"),
        ("kind: Other", "is no Open Data Contract"),
        ("kind: DataContract\napiVersion: v2.2.2", "apiVersion v2.2.2"),
        ("kind: DataContract\napiVersion: v3.0.0\nid: a", "describes several tables, or none: none"),
        (FOREIGN.replace("https://example.com/payments_2024-01.csv", "ftp://bucket/a"), "names no address"),
        (FOREIGN.replace("example.com", "me:word@example.com"), "no secrets"),
        (FOREIGN.replace("physicalName: tbl_1", "physicalName: load_log"), "library's own"),
    ],
)
def test_a_contract_that_is_none_or_says_too_little_is_refused(text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=said):
        contract.read(saved(text, tmp_path))


def test_an_address_and_a_name_may_be_given_beside_a_contract(tmp_path: Path) -> None:
    text = FOREIGN.replace("https://example.com/payments_2024-01.csv", "ftp://bucket/a")
    found = contract.read(saved(text, tmp_path), "payments", "https://example.com/p_2024-02.csv")
    assert (found.dataset.name, found.dataset.first) == ("payments", Month(2024, 2))


def test_the_key_is_never_optional(tmp_path: Path) -> None:
    entry = replace(STATIONS, audits=())
    assert contract.read(saved(contract.write(entry), tmp_path)).dataset.columns[0].required
