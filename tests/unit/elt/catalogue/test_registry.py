"""Finding entries: any number of packages, and a file of a user's that is wrong costs only itself."""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from repository import REPOSITORY

from elt.catalogue import registry
from elt.catalogue.checks import Packages
from elt.catalogue.model import GIVEN_TO_AUDITS
from elt.catalogue.registry import DATASETS, MARTS, PROBLEMS, Catalogue, read
from elt.errors import UnknownDatasetError
from elt.warehouse.sql import audit_statement

HEAD = "from elt.catalogue import *\nfrom dataclasses import replace\n"
_numbers = itertools.count()


def entry(variable: str, name: str, **how: str) -> str:
    """The text of an entry that is right, but for `how` (Python, as it is written)."""
    given = {
        "name": repr(name), "title": "'Own'", "path": f"'https://example.com/{name}.csv'",
        "table": repr(name), "key": "'id'",
        "columns": "(Column('id', 'int64', 'Key.'), Column('at', 'timestamp', 'When.'))", **how,
    }  # fmt: skip
    return f"{variable} = Dataset(\n    {', '.join(f'{key}={value}' for key, value in given.items())}\n)\n"


BY_MONTHS = {"path": "'https://example.com/{year}-{month}.csv'", "key": "'at'",
             "first": "__import__('elt.periods').periods.Month(2024, 1)"}  # fmt: skip
SUMS = "SUMS = Mart('sums', 'Sums', (Column('n', 'int64', 'Any.'),){})\n"
SUMS_SQL = {
    "sql/marts/sums.sql": "INSERT INTO ${mart} SELECT ${what} FROM ${source}",
    "sql/postgres/sums.sql": "SELECT '${dataset}', ${what} FROM ${source}",
    "sql/views/sums.sql": "SELECT * FROM ${mart}",
}


@pytest.fixture
def plugins(tmp_path, monkeypatch):
    """An empty plugins folder that Python imports from; call it with files to put into a package of it."""
    before = set(sys.modules)

    def package(files: dict[str, str], name: str = "") -> str:
        name = name or f"own{next(_numbers)}"
        for path, text in files.items():
            file = tmp_path / "plugins" / name / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        return name

    (tmp_path / "plugins").mkdir()
    monkeypatch.syspath_prepend(tmp_path / "plugins")
    package.folder = tmp_path / "plugins"
    yield package
    for module in set(sys.modules) - before:
        if module.startswith("own"):
            del sys.modules[module]


def catalogue(package) -> Catalogue:
    return read(Packages(package.folder))


def in_a_copy(folder: Path, code: str) -> subprocess.CompletedProcess[str]:
    """Run code as somebody does whose checkout has these plugins."""
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)


SHOW = """
import json
from elt.catalogue.registry import DATASETS, MARTS, PROBLEMS
from elt.warehouse.tables import all_tables
print(json.dumps([list(DATASETS), list(MARTS), list(map(str, PROBLEMS)), sorted(all_tables(str))]))
"""


def test_the_products_own_entries_have_no_problems():
    assert [problem for problem in PROBLEMS if "nyc_taxi" in problem.file] == []


def test_a_second_package_is_found_without_being_named_and_the_first_may_be_deleted(tmp_path):
    folder = tmp_path / "plugins"
    shutil.copytree(REPOSITORY / "plugins", folder, ignore=shutil.ignore_patterns("__pycache__"))
    second = folder / "second" / "datasets" / "trams.py"
    second.parent.mkdir(parents=True)
    second.write_text(HEAD + entry("TRAMS", "trams"))
    datasets, marts, problems, tables = json.loads(in_a_copy(folder, SHOW).stdout)
    assert {"trams", "yellow"} <= set(datasets)
    assert {"trams", "yellow_trips", "mart_hourly_demand"} <= set(tables)
    assert [problem for problem in problems if "second" in problem] == []
    for package in Packages(folder).names:
        if package != "second":
            shutil.rmtree(folder / package)
    datasets, marts, problems, tables = json.loads(in_a_copy(folder, SHOW).stdout)
    assert (datasets, marts, problems) == (["trams"], [], [])
    assert tables == ["audit_results", "load_log", "trams"]
    shutil.rmtree(folder / "second")
    assert json.loads(in_a_copy(folder, SHOW).stdout) == [[], [], [], ["audit_results", "load_log"]]


def test_no_package_is_named_by_the_library():
    words = re.compile(r"yellow|green_|fhv|\bzones\b|\btlc\b|nyc|new york|cloudfront|borough", re.IGNORECASE)
    named = {
        f"{file.relative_to(REPOSITORY)}:{number}: {line.strip()}"
        for file in (REPOSITORY / "plugins" / "elt").rglob("*")
        if file.suffix in (".py", ".sql")
        for number, line in enumerate(file.read_text().splitlines(), 1)
        if words.search(re.sub(r"#.*|`[^`]*`", "", line))
    }
    assert named == set(), "say it in the entry: plugins/nyc_taxi"
    project = tomllib.loads((REPOSITORY / "plugins" / "pyproject.toml").read_text())
    assert project["tool"]["uv"]["build-backend"]["module-name"] == ["elt"], "a build fails if one is deleted"


WRONG_FILES = {
    "a syntax error": ("X = (\n\ndef", "SyntaxError: ", 1),
    "a name that is not there": (
        "from elt.catalogue import Datset",
        "ImportError: cannot import name 'Datset'",
        1,
    ),
    "a module that is not there": ("\nimport no_such_module", "ModuleNotFoundError: No module named", 2),
    "an exception": ("A = 1\nB = A / 0\n", "ZeroDivisionError: division by zero", 2),
    "an end": ("import sys\n\nsys.exit('bye')", "SystemExit: bye", 3),
    "a contradiction": (
        HEAD + entry("X", "x", key="'nr'"),
        "dataset x: its key nr is not a required column",
        3,
    ),
    "no text": ("\0", "SyntaxError: ", None),
    "a forgotten comma": (HEAD + entry("X", "x", columns="Column('id', 'int64', 'Key.')"), "TypeError: ", 3),
    "a month that is none": (
        HEAD + "from elt.periods import Month\nMonth(2024, 13)",
        "month 2024-13 does not",
        4,
    ),
}


@pytest.mark.parametrize(("text", "reason", "line"), WRONG_FILES.values(), ids=WRONG_FILES)
def test_a_file_that_is_wrong_is_left_out_and_named_and_the_others_go_on(plugins, text, reason, line):
    name = plugins({"datasets/wrong.py": text, "datasets/good.py": HEAD + entry("GOOD", "good")})
    found = catalogue(plugins)
    assert list(found.datasets) == ["good"]
    [problem] = found.problems
    assert problem.file == f"plugins/{name}/datasets/wrong.py"
    assert problem.reason.startswith(reason)
    assert "\n" not in problem.reason
    assert line is None or problem.line == line
    assert (
        str(problem) == f"{problem.file}{f', line {problem.line}' if problem.line else ''}: {problem.reason}"
    )


@pytest.mark.parametrize("file", ["datasets/__init__.py", "__init__.py", "marts.py", "common.py"])
def test_a_file_that_others_import_takes_them_along_and_is_named_with_its_line(plugins, file):
    imports = "from {}.common import X\n" if file == "common.py" else ""
    wrong = plugins({file: "\n1 / 0\n"})
    plugins({"datasets/own.py": HEAD + imports.format(wrong) + entry("OWN", "own")}, wrong)
    plugins({"datasets/other.py": HEAD + entry("OTHER", "other")})
    found = catalogue(plugins)
    assert "other" in found.datasets
    [problem] = found.problems
    assert "ZeroDivisionError: division by zero" in problem.reason
    text = str(problem)
    assert f"plugins/{wrong}/{file}, line 2" in text
    assert ("own" in found.datasets) == (file == "marts.py")


def test_a_file_in_another_encoding_is_read_as_python_reads_it(plugins):
    name = plugins({"datasets/own.py": ""})
    text = "# coding: latin-1\n" + HEAD + entry("OWN", "own", title="'Fähren'", audits="(Audit('no'),)")
    (plugins.folder / name / "datasets" / "own.py").write_bytes(text.encode("latin-1"))
    [problem] = catalogue(plugins).problems
    assert (problem.line, "no file sql/audits/no.sql" in problem.reason) == (4, True)


def test_an_entry_made_of_another_that_is_imported_is_one_more_and_the_other_stays_where_it_is(plugins):
    first = plugins({"datasets/b.py": HEAD + entry("FIRST", "first")}, "own_z")
    text = (
        HEAD
        + f"from {first}.datasets.b import FIRST\nSECOND = replace(FIRST, name='second', table='second')\n"
    )
    second = plugins({"datasets/a.py": text}, "own_a")
    found = catalogue(plugins)
    assert found.problems == ()
    assert {name: ds.package for name, ds in found.datasets.items()} == {"second": second, "first": first}


@pytest.mark.parametrize(
    ("one", "other", "reason"),
    [
        (entry("A", "own"), entry("B", "own", table="'another'"), "dataset own: the name own is also in "),
        (entry("A", "own"), entry("B", "other", table="'own'"), "dataset other: the table own is also in "),
        (entry("A", "own"), SUMS.format("").replace("sums", "own"), "mart own: the table own is also in "),
        (entry("A", "own"), entry("B", "own_lake"), "dataset own_lake: the table own_lake is also in "),
        (
            entry("A", "own", **BY_MONTHS),
            entry("B", "own_2024_01"),
            "dataset own_2024_01: the table own_2024_01",
        ),
        (
            entry("A", "own_2024_01"),
            entry("B", "own", **BY_MONTHS),
            "dataset own: the table own_2024_01 is also",
        ),
        (SUMS.format(""), SUMS.format(""), "mart sums: the table mart_sums is also in "),
    ],
)
def test_of_two_entries_with_one_name_the_first_stays_and_the_problem_names_both_files(
    plugins, one, other, reason
):
    first = plugins(
        {"datasets/a.py": HEAD + one, **SUMS_SQL, "sql/marts/own.sql": "", "sql/views/own.sql": ""}
    )
    second = plugins({"datasets/b.py": HEAD + other})
    found = catalogue(plugins)
    assert len(found.datasets) + len(found.marts) == 1
    [problem] = found.problems
    assert problem.reason.startswith(reason)
    assert problem.reason.endswith(f"plugins/{first}/datasets/a.py. Give one of them another.")
    assert (problem.file, problem.line) == (f"plugins/{second}/datasets/b.py", 3)


def test_datasets_are_listed_as_their_package_says_and_then_by_name(plugins):
    files = {f"datasets/{name}.py": HEAD + entry("X", name) for name in ("a", "b", "c", "d")}
    plugins(files | {"datasets/__init__.py": "ORDER = ('c', 'b', 'no_such')"})
    assert list(catalogue(plugins).datasets) == ["c", "b", "a", "d"]


FED = {**BY_MONTHS, "feeds": "(Feed('sums', {'what': 'id'}),)"}
BROKEN = [
    ({"sql/audits/a.sql": "SELECT ${limit}"}, {"audits": "(Audit('a'),)"},
     "sql/audits/a.sql has ${limit}, which is not given. Give it, or correct the file."),
    ({}, {"audits": "(Audit('key_prezent'),)"},
     "there is no file sql/audits/key_prezent.sql. Write it, or correct the name."),
    ({"sql/audits/a.sql": "SELECT '^a$'"}, {"audits": "(Audit('a'),)"},
     "has a $ that begins no template variable. Write $$ for a dollar sign."),
    ({"sql/audits/a.sql": "SELECT ${key}"}, {"audits": "(Audit('a', variables={'key': 'id'}),)"},
     "is given key in any case. Call the variable otherwise."),
    ({"sql/audits/a.sql": "SELECT ${what}"}, {"audits": "(Audit('a', variables={'what': 'nr'}),)"},
     "is given what='nr', which is no column. Use id, at."),
    ({}, {**FED, "feeds": "(Feed('summs', {}),)"}, "it feeds the mart 'summs', which is not there. Use "),
    ({}, {**FED, "feeds": "(Feed('sums', {}),)"}, "sql/marts/sums.sql has ${what}, which is not given."),
    ({}, {**FED, "feeds": "(Feed('sums', {'what': 'nr'}),)"}, "is given what='nr', which is no column."),
    ({"sql/audits/a.sql": ""}, {"audits": "(Audit('a', variables={'n': 5}),)"}, "TypeError: "),
    ({}, {"path": "'/own.csv'"}, "its path '/own.csv' is no URL. Write the whole URL, or set source"),
]  # fmt: skip


@pytest.mark.parametrize(("files", "how", "reason"), BROKEN, ids=[reason[-60:] for *_, reason in BROKEN])
def test_an_entry_whose_sql_cannot_be_filled_in_is_left_out(plugins, files, how, reason):
    own = HEAD + "\n" + entry("OWN", "own", **how) + entry("GOOD", "good")
    name = plugins({"datasets/own.py": own, "marts.py": HEAD + SUMS.format(""), **SUMS_SQL, **files})
    found = catalogue(plugins)
    assert list(found.datasets) == ["good"]
    [problem] = found.problems
    assert (problem.file, problem.line) == (f"plugins/{name}/datasets/own.py", 4)
    assert problem.reason.startswith("dataset own: ")
    assert reason in problem.reason


def test_what_is_no_bare_column_is_left_to_the_database(plugins):
    audit = "(Audit('a', variables={'what': 'COALESCE(nr, 0)', 'unit': 'dollars', 'none': 'null'}),)"
    sql = "SELECT ${what}, ${none}, '${unit}' AS found, '${key_name}'"
    plugins({"datasets/own.py": HEAD + entry("OWN", "own", audits=audit), "sql/audits/a.sql": sql})
    assert catalogue(plugins).problems == ()


BROKEN_MARTS = [
    ({"sql/views/sums.sql": "SELECT ${typo}"}, "", "sql/views/sums.sql has ${typo}, which is not given."),
    ({"sql/postgres/sums.sql": None}, "", "there is no file sql/postgres/sums.sql. Write it"),
    ({"sql/marts/sums.sql": None}, "", "there is no file sql/marts/sums.sql. Write it"),
    ({}, ", lookups=('places',)", "its lookup 'places' is no dataset with a table. Correct lookups."),
    ({}, ", lookups=('good',)", "its lookup good is not in Postgres, where the mart is."),
]  # fmt: skip


@pytest.mark.parametrize(
    ("files", "how", "reason"), BROKEN_MARTS, ids=[reason for *_, reason in BROKEN_MARTS]
)
def test_a_mart_that_is_wrong_is_left_out_and_the_datasets_that_feed_it_go_on_without(
    plugins, files, how, reason
):
    own = HEAD + entry("OWN", "own", **FED) + entry("GOOD", "good", postgres="False")
    sql = {name: text for name, text in {**SUMS_SQL, **files}.items() if text is not None}
    plugins({"datasets/own.py": own, "marts.py": HEAD + SUMS.format(how), **sql})
    found = catalogue(plugins)
    assert (list(found.datasets), list(found.marts)) == (["own", "good"], [])
    assert found.datasets["own"].feeds == ()
    [problem] = found.problems
    assert problem.reason.startswith("mart sums: ")
    assert reason in problem.reason


def test_a_mart_joins_datasets_of_any_package(plugins):
    plugins({"datasets/places.py": HEAD + entry("PLACES", "places")})
    own = HEAD + entry("OWN", "own", **FED) + SUMS.format(", lookups=('places',)")
    view = "SELECT * FROM ${mart} JOIN ${places}"
    plugins({"datasets/own.py": own, **SUMS_SQL, "sql/views/sums.sql": view})
    found = catalogue(plugins)
    assert found.problems == ()
    assert [feed.mart for feed in found.datasets["own"].feeds] == ["sums"]


def test_two_packages_may_have_audits_of_one_name_and_each_gets_its_own(plugins):
    packages = [
        plugins({"datasets/x.py": HEAD + entry("X", name, audits="(Audit('row_count'),)"),
                 "sql/audits/row_count.sql": f"SELECT '{name}'"})
        for name in ("one", "two")
    ]  # fmt: skip
    assert catalogue(plugins).problems == ()
    places = Packages(plugins.folder)
    for package, name in zip(packages, ("one", "two"), strict=True):
        [file] = places.sql("audits/row_count", package)
        assert file.read_text() == f"SELECT '{name}'"
    [file] = places.sql("audits/row_count")
    assert "elt/warehouse/sql" in str(file), "what the library runs is the library's"


def test_an_audit_of_another_package_may_be_used_if_it_is_clear_whose_it_is(plugins):
    first = plugins({"datasets/__init__.py": "", "sql/audits/fair.sql": "SELECT TRUE"})
    plugins({"datasets/own.py": HEAD + entry("OWN", "own", audits="(Audit('fair'),)")})
    assert catalogue(plugins).problems == ()
    second = plugins({"datasets/__init__.py": "", "sql/audits/fair.sql": "SELECT FALSE"})
    [problem] = catalogue(plugins).problems
    both = " and ".join(sorted(f"plugins/{name}/sql/audits/fair.sql" for name in (first, second)))
    assert f"there are {both}. Rename one of them." in problem.reason


@pytest.mark.parametrize("ds", DATASETS.values(), ids=DATASETS)
def test_every_audit_of_every_dataset_can_be_filled_in(ds):
    given = dict.fromkeys(GIVEN_TO_AUDITS, "x")
    for audit in ds.audits:
        assert "AS passed" in audit_statement(audit, ds.package, **given)


def test_an_unknown_dataset_is_answered_with_the_known_ones():
    known = ", ".join(sorted(DATASETS))
    with pytest.raises(UnknownDatasetError, match=rf"'yelow' is unknown. Choose one of: {known}\.$"):
        registry.dataset("yelow")


def test_a_dataset_that_was_left_out_is_answered_with_the_reason(tmp_path):
    folder = tmp_path / "plugins"
    shutil.copytree(REPOSITORY / "plugins", folder, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "nyc_taxi" / "datasets" / "trams.py").write_text(HEAD + entry("TRAMS", "trams", key="'nr'"))
    done = in_a_copy(folder, "from elt.catalogue import registry; registry.dataset('trams')")
    assert "dataset 'trams' is unknown" in done.stderr
    assert "Left out: plugins/nyc_taxi/datasets/trams.py, line 3: dataset trams: its key nr" in done.stderr


def test_every_mart_is_fed_and_every_feed_is_of_a_mart():
    fed = {feed.mart for ds in DATASETS.values() for feed in ds.feeds}
    assert fed <= set(MARTS)
