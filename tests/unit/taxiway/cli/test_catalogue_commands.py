"""`scripts/new` and `scripts/contract`: what is written, what is refused, and that nothing is overwritten."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from elt.catalogue.checks import Packages
from elt.catalogue.registry import read
from elt.periods import Month
from taxiway.cli.main import main
from taxiway.targets.target import Checkout

ROWS = "Station ID,counted at,bikes\n1,2024-01-01T08:00:00Z,12\n2,2024-01-31T08:00:00Z,\n"


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    (tmp_path / "plugins").mkdir()
    (tmp_path / "bikes_2024-01.csv").write_text(ROWS)
    return Checkout(tmp_path)


def new(checkout: Checkout, *arguments: str) -> int:
    return main(["new", *arguments], checkout)


def test_an_entry_is_written_that_the_catalogue_takes(
    checkout: Checkout, monkeypatch: Any, capsys: Any
) -> None:
    url = ("--url", "https://example.com/bikes_2024-01.csv")
    assert new(checkout, "own_bikes", str(checkout.folder / "bikes_2024-01.csv"), *url) == 0
    shown = capsys.readouterr()
    assert "written: plugins/own_bikes/datasets/own_bikes.py" in shown.err
    assert (
        "The platform does not run. Load it with: scripts/up, then scripts/run own_bikes 2024-01" in shown.err
    )
    assert (
        shown.out.rstrip()
        == (checkout.folder / "plugins/own_bikes/datasets/own_bikes.py").read_text().rstrip()
    )
    monkeypatch.syspath_prepend(checkout.folder / "plugins")
    found = read(Packages(checkout.folder / "plugins"))
    assert found.problems == ()
    entry = found.datasets["own_bikes"]
    assert (entry.path, entry.key, entry.first) == (
        "https://example.com/bikes_{year}-{month}.csv", "counted_at", Month(2024, 1),
    )  # fmt: skip
    assert [(column.name, column.type, column.required) for column in entry.columns] == [
        ("station_id", "int64", True), ("counted_at", "timestamp", True), ("bikes", "int64", False),
    ]  # fmt: skip


def test_the_second_dataset_goes_into_the_same_package(checkout: Checkout) -> None:
    file = str(checkout.folder / "bikes_2024-01.csv")
    assert (
        new(checkout, "bikes", file)
        == new(checkout, "stations", file, "--key", "station_id", "--every", "none")
        == 0
    )
    assert new(checkout, "trips", file, "--package", "other") == 0
    written = sorted(path.relative_to(checkout.folder) for path in checkout.folder.glob("plugins/*/*/*"))
    assert list(map(str, written)) == [
        "plugins/bikes/datasets/bikes.py",
        "plugins/bikes/datasets/stations.py",
        "plugins/other/datasets/trips.py",
    ]


def test_a_package_never_hides_a_module_of_python(checkout: Checkout, capsys: Any) -> None:
    file = str(checkout.folder / "bikes_2024-01.csv")
    assert new(checkout, "json", file) == 0
    assert (checkout.folder / "plugins/json_data/datasets/json.py").exists()
    assert new(checkout, "rows", file, "--package", "requests") == 2
    assert "Python has a module of that name" in capsys.readouterr().err


def test_a_file_is_replaced_only_by_force(checkout: Checkout, capsys: Any) -> None:
    file = str(checkout.folder / "bikes_2024-01.csv")
    assert new(checkout, "bikes", file) == 0
    written = checkout.folder / "plugins/bikes/datasets/bikes.py"
    written.write_text("# mine\n")
    assert new(checkout, "bikes", file) == 2
    assert "bikes.py is there already" in capsys.readouterr().err
    assert written.read_text() == "# mine\n"
    assert new(checkout, "bikes", file, "--force", "--type", "bikes=int16") == 0
    assert '"int16"' in written.read_text()


def test_without_a_terminal_nothing_is_asked_and_the_guess_is_told(checkout: Checkout, capsys: Any) -> None:
    file = checkout.folder / "times_2024-01.csv"
    file.write_text("begun,ended\n2024-01-01 08:00:00,2024-01-01 09:00:00\n")
    assert new(checkout, "times", str(file)) == 0
    asked = "Which column says which month a row is of? Taken: begun (of begun, ended)"
    assert asked in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "give the NAME of the dataset and the ADDRESS"),
        (["Bikes", "FILE"], "NAME 'Bikes' cannot be a dataset's"),
        (["yellow", "FILE"], "the name yellow is in the catalogue already"),
        (["bikes", "nothing.csv"], "nothing.csv is no file and no URL"),
        (["bikes", "https://me:word@example.com/a.csv"], "an entry holds no secrets"),
        (["bikes", "ftp://example.com/a.csv"], "ftp:// is nothing that can be looked at here"),
        (["bikes", "sftp://example.com/a.csv"], "Name the connection that has it: --connection ID"),
        (["bikes", "https://example.com/a_{year}.csv"], "is not the address of one file"),
        (["bikes", "FILE", "--type", "bikes"], "--type bikes is no column and type"),
        (["bikes", "FILE", "--connection", "nowhere"], "AIRFLOW_CONN_NOWHERE is not set"),
        (["bikes", "FILE", "--package", "no-name"], "--package 'no-name' cannot be"),
        (["bikes", "--from", "nothing.yaml"], "nothing.yaml cannot be read"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_written(
    arguments: list[str], said: str, checkout: Checkout, capsys: Any
) -> None:
    file = str(checkout.folder / "bikes_2024-01.csv")
    assert new(checkout, *(file if word == "FILE" else word for word in arguments)) == 2
    assert said in capsys.readouterr().err
    assert list((checkout.folder / "plugins").rglob("*.py")) == []


def test_a_contract_goes_out_and_comes_in(checkout: Checkout, capsys: Any) -> None:
    assert main(["contract", "zones"], checkout) == 0
    written = capsys.readouterr().out
    assert yaml.safe_load(written)["name"] == "zones"
    (checkout.folder / "zones.yaml").write_text(written)
    assert (
        new(
            checkout,
            "my_zones",
            "https://example.com/zones.csv",
            "--from",
            str(checkout.folder / "zones.yaml"),
        )
        == 2
    )
    assert "the table zones is in the catalogue already" in capsys.readouterr().err
    text = written.replace("physicalName: zones", "physicalName: my_zones")
    (checkout.folder / "zones.yaml").write_text(text)
    assert (
        new(
            checkout,
            "my_zones",
            "https://example.com/zones.csv",
            "--from",
            str(checkout.folder / "zones.yaml"),
        )
        == 0
    )
    assert (checkout.folder / "plugins/my_zones/datasets/my_zones.py").exists()
