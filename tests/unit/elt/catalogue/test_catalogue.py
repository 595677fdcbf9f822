import re
from dataclasses import replace

import pytest

from elt import layout
from elt.catalogue import Column, Dataset
from elt.catalogue import registry as catalogue
from elt.catalogue.registry import DATASETS, MARTS
from elt.conforming import schema as conform
from elt.errors import InvalidDatasetError, InvalidMonthError, UnknownDatasetError
from elt.months import Month
from elt.stores import postgres
from elt.warehouse import audits, tables
from elt.warehouse.sql import statement

every_dataset = pytest.mark.parametrize("ds", DATASETS.values(), ids=DATASETS)
TABULAR = {name: ds for name, ds in DATASETS.items() if ds.tabular}
every_table = pytest.mark.parametrize("ds", TABULAR.values(), ids=TABULAR)


def test_the_datasets_are_these():
    assert list(DATASETS) == ["yellow", "green", "fhv", "fhvhv", "zones"]


@every_table
def test_names_are_safe_in_sql_and_match_their_entry(ds):
    assert DATASETS[ds.name] is ds
    for name in (ds.table, *(column.name for column in ds.columns)):
        assert layout.identifier(name) == name


@every_table
def test_key_and_cluster_columns_are_columns_and_the_key_is_required(ds):
    assert ds.column(ds.key).required
    assert all(ds.column(name) for name in ds.cluster)
    assert len(ds.cluster) <= 4, "BigQuery clusters by four columns at most"


@every_table
def test_a_monthly_datasets_key_says_the_month(ds):
    assert not ds.monthly or ds.column(ds.key).type == "datetime"
    assert ds.monthly == ("{month}" in ds.path)
    assert ds.monthly == (ds.first_month is not None)


@every_dataset
def test_every_column_is_described_and_its_type_known_everywhere(ds):
    for column in ds.columns:
        assert column.description.endswith(".")
        assert {column.type} <= conform.ARROW.keys() & postgres.TYPES.keys() & tables.TYPES.keys()


@every_dataset
def test_no_name_in_a_file_can_mean_two_columns(ds):
    names = [name for column in ds.columns for name in column.known_names]
    assert len(names) == len(set(names))


@every_table
def test_audits_and_marts_have_their_sql(ds):
    assert ds.audits
    assert audits.rules(ds, "s", "t").count("AS passed") == len(ds.audits)
    for feed in ds.feeds:
        assert feed.mart in MARTS
        assert "INSERT INTO m" in statement(f"marts/{feed.mart}", mart="m", source="s", **feed.words)
        assert "FROM s" in statement(f"postgres/{feed.mart}", dataset="d", source="s", **feed.words)


@every_dataset
def test_the_words_of_audits_and_marts_are_columns_or_sums_of_columns(ds):
    for words in [entry.words for entry in (*ds.audits, *ds.feeds)]:
        named = set(re.findall(r"[a-z]\w*", " ".join(words.values())))
        assert named <= {column.name for column in ds.columns}


def test_an_unknown_dataset_is_answered_with_the_known_ones():
    with pytest.raises(
        UnknownDatasetError, match=r"'yelow' is unknown. Choose one of: fhv, fhvhv, green, yellow, zones"
    ):
        catalogue.dataset("yelow")


def test_yellow_is_where_tlc_has_it():
    assert DATASETS["yellow"].source_path(Month(2024, 1)) == "/trip-data/yellow_tripdata_2024-01.parquet"
    assert DATASETS["zones"].source_path(None) == "/misc/taxi_zone_lookup.csv"


@pytest.mark.parametrize(
    ("name", "month", "words"),
    [
        ("yellow", None, "by month"),
        ("zones", Month(2024, 1), "without months"),
        ("yellow", Month(1999, 1), "begins with"),
    ],
)
def test_a_month_that_a_dataset_cannot_have_is_refused(name, month, words):
    with pytest.raises(InvalidMonthError, match=words):
        DATASETS[name].source_path(month)


@every_dataset
def test_what_stands_in_for_a_column_is_a_column_and_codes_are_of_its_type(ds):
    for column in ds.columns:
        assert not column.instead or ds.column(column.instead)
        assert all(word == word.strip().lower() for word in column.codes)
        kind = str if column.type == "string" else int
        assert all(code is None or isinstance(code, kind) for code in column.codes.values())
        assert not (column.since and column.until and column.until < column.since)


def test_no_two_datasets_share_a_table_with_each_other_or_with_a_mart_or_a_log():
    owned = [ds.table for ds in TABULAR.values()]
    names = list(tables.all_tables(str))
    assert len(names) == len(set(names))
    assert len(owned) == len(set(owned))
    assert not {name for table in owned for name in names if name != table and name.startswith(f"{table}_2")}


def own(**how):
    entry = {"name": "own", "title": "Own", "path": "/own.csv", "table": "own", "key": "id", "monthly": False}
    return Dataset(**{**entry, "columns": (Column("id", "int64", "Key."),), **how})


@pytest.mark.parametrize(
    ("path", "form"),
    [("/a.parquet", "parquet"), ("/a.CSV", "csv"), ("/a.csv.gz", "csv.gz"), ("/a.jsonl", "jsonl"),
     ("/a.ndjson.gz", "jsonl.gz"), ("https://example.com/b/a.csv?key=x.parquet", "csv")],
)  # fmt: skip
def test_a_files_ending_says_its_format(path, form):
    assert own(path=path).file_format == form


def test_what_has_no_columns_is_no_table_and_its_files_may_be_anything():
    plan = Dataset(name="plan", title="Plan", path="/plans/{year}-{month}.pdf", first_month=Month(2020, 1))
    assert not plan.tabular
    assert not plan.in_postgres
    assert plan.file_format == "any"
    assert layout.raw_object(plan, Month(2024, 3)) == "raw/plan/2024-03.pdf"


def test_a_url_of_its_own_may_have_anything_in_it():
    url = "https://example.com/export?from={year}-{month}-01&as=csv"
    ds = own(path=url, file="own_{year}-{month}.csv", monthly=True, first_month=Month(2020, 1), key="at",
             columns=(Column("at", "datetime", "Key."),))  # fmt: skip
    assert ds.source_path(Month(2024, 3)) == "https://example.com/export?from=2024-03-01&as=csv"
    assert layout.raw_object(ds, Month(2024, 3)) == "raw/own/own_2024-03.csv"
    assert ds.file_format == "csv"


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"path": "/own"}, "its format is not clear. Set format to one of parquet, csv, csv.gz"),
        ({"columns": ()}, "it has no columns. Describe its columns, or leave table, key"),
        ({"format": "any"}, "its format is not clear. Set format to one of parquet, csv, csv.gz"),
        ({"key": "nr"}, "its key nr is not a required column"),
        (
            {"columns": (Column("id", "int64", "Key.", required=False),)},
            "its key id is not a required column",
        ),
        ({"monthly": True, "first_month": Month(2020, 1)}, "its file names do not tell months apart"),
        ({"path": "/{year}-{month}.csv"}, "its file names do not tell months apart"),
        ({"first_month": Month(2020, 1)}, "its first month is not clear"),
        (
            {"monthly": True, "path": "/{year}-{month}.csv", "first_month": Month(2020, 1)},
            "its key id does not say which month",
        ),
    ],
)
def test_an_entry_that_contradicts_itself_is_refused_in_one_sentence(how, words):
    with pytest.raises(InvalidDatasetError) as refused:
        own(**how)
    assert str(refused.value).startswith(f"dataset own: {words}")


def test_the_schema_version_follows_the_rules_but_not_the_prose():
    ds = DATASETS["yellow"]
    column, *others = ds.columns
    prose = replace(ds, columns=(replace(column, description="Other words."), *others))
    assert prose.schema_version == ds.schema_version
    for rule in (
        {"aliases": ("Vendor",)}, {"codes": {"cmt": 1}}, {"required": False}, {"since": Month(2011, 1)},
        {"until": Month(2030, 1)}, {"instead": "extra"}, {"type": "int64"},
    ):  # fmt: skip
        other = replace(ds, columns=(replace(column, **rule), *others))
        assert other.schema_version != ds.schema_version, rule
    assert replace(ds, format="csv").schema_version != ds.schema_version
