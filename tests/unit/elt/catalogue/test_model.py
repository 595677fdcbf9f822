"""What an entry refuses when it is made, each in a sentence with the value and the remedy."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elt import layout
from elt.catalogue import Audit, Column, Dataset, Feed, Mart, Publisher
from elt.catalogue.model import ROOM_FOR_NAME, ROOM_FOR_TABLE
from elt.errors import InvalidDatasetError, InvalidPeriodError
from elt.periods import Day, Hour, Month

KEY = Column("id", "int64", "Key.")
TIME = Column("at", "datetime", "When.")
MONTHS = {"path": "/{year}-{month}.csv", "first": Month(2020, 1)}


def own(**how) -> Dataset:
    """An entry that is right, but for `how`."""
    entry = {"name": "own", "title": "Own", "path": "/own.csv", "table": "own", "key": "id"}
    return Dataset(**{**entry, "columns": (KEY,), **how})


def monthly(*columns: Column, **how) -> Dataset:
    """An entry by months that is right, but for what is given."""
    return own(**{**MONTHS, "key": "at", "columns": (TIME, *columns), **how})


def column(name: str, **how) -> dict[str, tuple[Column, ...]]:
    """The columns of an entry that has this one besides its key."""
    return {"columns": (KEY, Column(**{"name": name, "type": "int64", "description": "Any.", **how}))}


@pytest.mark.parametrize(
    ("path", "form"),
    [("/a.parquet", "parquet"), ("/a.CSV", "csv"), ("/a.csv.gz", "csv.gz"), ("/a.jsonl", "jsonl"),
     ("/a.ndjson.gz", "jsonl.gz"), ("https://example.com/b/a.csv?key=x.parquet", "csv")],
)  # fmt: skip
def test_a_files_extension_says_its_format(path, form):
    assert own(path=path).file_format == form


def test_what_has_no_columns_is_no_table_and_its_files_may_be_anything():
    plan = Dataset(name="plan", title="Plan", path="/plans/{year}-{month}.pdf", first=Month(2020, 1))
    assert not plan.tabular
    assert not plan.in_postgres
    assert plan.file_format == "any"
    assert layout.raw_object(plan, Month(2024, 3)) == "raw/plan/2024-03.pdf"


def test_a_url_of_its_own_may_have_anything_in_it():
    ds = monthly(path="https://example.com/export?{q}&from={year}-{month}-01", file="{year}-{month}.csv")
    assert ds.url(Month(2024, 3), "https://mirror") == "https://example.com/export?{q}&from=2024-03-01"
    assert layout.raw_object(ds, Month(2024, 3)) == "raw/own/2024-03.csv"
    assert ds.file_format == "csv"


def test_a_path_is_below_the_connections_host_and_else_below_the_publishers_own():
    ds = own(source=Publisher("own_source", "https://example.com/data/"))
    assert ds.url(None) == "https://example.com/data/own.csv"
    assert ds.url(None, "http://127.0.0.1:8000") == "http://127.0.0.1:8000/own.csv"


@pytest.mark.parametrize("how", [{}, {"path": "own.csv", "source": Publisher("own", "https://example.com")}])
def test_a_path_that_makes_no_url_is_refused_before_anything_is_asked(how):
    with pytest.raises(
        InvalidDatasetError, match="Write the whole URL, or set source and begin the path with /"
    ):
        own(**how).url(None)


@pytest.mark.parametrize(
    ("connection", "url"), [("my source", "https://example.com"), ("own", "example.com")]
)
def test_a_publisher_has_a_connections_id_and_a_url(connection, url):
    with pytest.raises(InvalidDatasetError, match=r"my source.*Use a-z|example.com.*Write it like https"):
        Publisher(connection, url)


REFUSED = [
    # What it is
    ({"path": "/own"}, "its format is not clear. Set format to one of parquet, csv, csv.gz"),
    ({"columns": ()}, "it has no columns. Describe its columns, or leave table, key"),
    ({"format": "any"}, "its format is not clear. Set format to one of parquet, csv, csv.gz"),
    ({"delimiter": "||"}, "its delimiter '||' is not one character. Write it like"),
    ({"key": "nr"}, "its key nr is not a required column. Name one"),
    ({"columns": (replace(KEY, required=False),)}, "its key id is not a required column. Name one"),
    ({"first": Month(2020, 1)}, "its file names do not fit first=Month(2020, 1). Put {year} and"),
    ({"path": "/{year}-{month}.csv"}, "its file names do not fit first=None. Put none of {year}, {m"),
    ({**MONTHS, "path": "/{month}.csv"}, "its file names do not fit first=Month(2020, 1). Put {year}"),
    ({**MONTHS, "lag": -1}, "its lag is -1. Say how many periods after its start one is published"),
    ({"first": Hour(2020, 1, 1, 0), "path": "/{year}{month}{day}{hour}.csv", "key": "on",
      "columns": (Column("on", "date", "When."),)}, "its key on does not say which hour a row is of."),
    (MONTHS, "its key id does not say which month a row is of. It has to be"),
    ({"audits": (Audit("row_count", "error"),)}, "its audit row_count has the severity 'error'. Use"),
    ({"feeds": (Feed("sums", {}),)}, "it has no periods, by which marts are kept. Leave feeds out"),
    # Names
    ({"name": "My Bikes!"}, "its name 'My Bikes!' cannot be part of a DAG's. Use up to 44"),
    ({"name": "my-bikes"}, "its name 'my-bikes' cannot be part of a table's. Use up to 44"),
    ({"table": ""}, "its table '' is no name for one. Use up to 43"),
    ({"table": "oops; drop"}, "its table 'oops; drop' is no name for one. Use up to 43"),
    ({"table": "Own"}, "its table 'Own' is no name for one. Use up to 43"),
    ({"table": "load_log"}, "its table load_log is one of the library's own. Give"),
    (column("a b"), "column 'a b' is no name for a column. Use up to 63"),
    (column("ä"), "column 'ä' is no name for a column. Use up to 63"),
    (column("x" * 64), f"column '{'x' * 64}' is no name for a column. Use up to 63"),
    (column("_partitiontime"), "column '_partitiontime' has a name that BigQuery"),
    (column("ctid"), "column 'ctid' has a name that BigQuery or Postgres keeps for itself. Call it ctid_"),
    # Columns
    (column("id"), "'id' means two columns, id and id. Leave one out."),
    (column("other", aliases=("ID",)), "'id' means two columns, id and other. Leave one out."),
    (column("n", type="int"), "column 'n' has the unknown type 'int'. Use one of int16, int32"),
    (column("n", since=Month(2024, 1), until=Month(2023, 1)), "column 'n' ends in 2023-01, before 2024-01."),
    (column("n", codes={"Yes": 1}), "column 'n': no file's text is ever 'Yes'. Write codes in lower case"),
    (column("n", instead="m"), "column n has 'm' instead, which is no column. Name one."),
    ({"cluster": ("nr",)}, "it is clustered by 'nr', which is no column. Use some of id"),
    ({"cluster": ("id",) * 5}, "it is clustered by 5 columns. BigQuery takes 4 at most"),
    ({**column("n", type="float64"), "cluster": ("n",)}, "it is clustered by n, a float64. BigQuery"),
]  # fmt: skip


@pytest.mark.parametrize(("how", "sentence"), REFUSED, ids=[sentence[:45] for _, sentence in REFUSED])
def test_an_entry_that_contradicts_itself_is_refused_in_one_sentence(how, sentence):
    with pytest.raises(InvalidDatasetError) as refused:
        own(**how)
    assert str(refused.value).startswith(f"dataset {how.get('name', 'own')}: {sentence}")


@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        (
            {"columns": (TIME, Column("source_month", "date", "Any."))},
            "'source_month' is one that the library",
        ),
        ({"feeds": (Feed("sums", {}), Feed("sums", {}))}, r"it feeds a mart twice \(sums, sums\). Leave one"),
    ],
)
def test_an_entry_by_months_is_refused_what_only_it_cannot_have(how, sentence):
    with pytest.raises(InvalidDatasetError, match=sentence):
        monthly(**how)


@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        ({"name": "1st"}, "'1st' is no name for a table"),
        ({"name": "x" * 59}, "'x+' is no name for a table. Use up to 58"),
        ({"name": "audit_results"}, "audit_results is a table of the library's own"),
        (
            {"columns": (Column("dataset", "string", "Any."),)},
            "column 'dataset' is one that the library adds",
        ),
        ({"columns": (Column("n", "int", "Any."),)}, "column 'n' has the unknown type 'int'"),  # type: ignore[arg-type]
        ({"cluster": ("m",)}, "it is clustered by 'm', which is no column"),
        ({"lookups": ("mart",)}, r"its lookup 'mart' would be \$\{mart\}"),
    ],
)
def test_a_mart_is_checked_as_a_dataset_is(how, sentence):
    mart = {"name": "sums", "title": "Sums", "columns": (Column("n", "int64", "Any."),)}
    with pytest.raises(InvalidDatasetError, match=f"^mart .*: {sentence}"):
        Mart(**{**mart, **how})


@given(st.integers(1, 63))
def test_a_name_is_refused_exactly_if_a_table_that_the_layout_makes_of_it_would_be(length):
    month = Month(2020, 1)
    for what, room, made in (
        ("name", ROOM_FOR_NAME - len("_2020_01"), layout.staging_table),
        ("table", ROOM_FOR_TABLE - len("_2020_01"), layout.incoming_table),
    ):
        if length > room:
            with pytest.raises(InvalidDatasetError, match=f"Use up to {room} of"):
                monthly(**{what: "x" * length})
        else:
            ds = monthly(**{what: "x" * length})
            assert len(made(ds, month, "a run")) == 63 - room + length
            assert max(len(name) for name in (layout.partition_table(ds, month), layout.lake_table(ds))) <= 63


def test_a_file_whose_name_says_less_than_the_period_has_several_of_them():
    ds = monthly(path="/{year}-{month}.csv", first=Day(2020, 2, 27))
    assert ds.shares_files
    assert ds.file_period(Day(2020, 2, 29)) == Month(2020, 2)
    assert ds.file_name(Day(2020, 2, 29)) == "2020-02.csv"
    assert [str(day) for day in ds.periods_of(Month(2020, 2))] == ["2020-02-27", "2020-02-28", "2020-02-29"]
    assert not monthly().shares_files
    assert monthly().file_period(Month(2020, 2)) == Month(2020, 2)


def test_a_column_may_have_in_files_the_name_that_it_cannot_have_in_stores():
    renamed = own(**column("ctid_", aliases=("ctid", "source_month")))
    assert "ctid" in next(c for c in renamed.columns if c.name == "ctid_").known_names


@pytest.mark.parametrize(
    ("ds", "month", "words"),
    [
        (monthly(), None, "by month. Give one like 2020-01"),
        (own(), Month(2024, 1), "without periods. Leave 2024-01 out"),
        (monthly(), Month(1999, 1), "begins with 2020-01"),
        (monthly(), Day(2024, 1, 1), "by month, and 2024-01-01 is a day. Give one like 2020-01"),
    ],
)
def test_a_month_that_a_dataset_cannot_have_is_refused(ds, month, words):
    with pytest.raises(InvalidPeriodError, match=words):
        ds.file_name(month)


def test_the_schema_version_follows_the_rules_but_not_the_prose():
    ds = own(columns=(replace(KEY, aliases=("nr",)), Column("note", "string", "Any.", required=False)))
    first, *others = ds.columns

    def version(**how) -> str:
        return replace(ds, columns=(replace(first, **how), *others)).schema_version

    assert version(description="Other words.", unit="pieces") == ds.schema_version
    assert (
        replace(ds, title="Other", path="/b.csv", package="x", audits=()).schema_version == ds.schema_version
    )
    for rule in (
        {"aliases": ("number",)}, {"codes": {"one": 1}}, {"since": Month(2011, 1)}, {"until": Month(2030, 1)},
        {"instead": "note"}, {"type": "int32"},
    ):  # fmt: skip
        assert version(**rule) != ds.schema_version, rule
    assert replace(ds, format="parquet").schema_version != ds.schema_version
    assert replace(ds, delimiter=";").schema_version != ds.schema_version


# Places that list their files


@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        ({"path": "https://example.com/a*.csv"}, "an HTTP source cannot list its files"),
        (
            {"path": "/a*.csv", "source": Publisher("x", "https://example.com")},
            "an HTTP source cannot list its files",
        ),
        ({"path": "gs://b/*/a.csv"}, "holds a \\* in a folder's name. Only its last part, 'a.csv', may"),
        ({"path": "gs://b/a.csv", "marker": "_SUCCESS"}, "is of no use: its path has no \\*"),
        ({"path": "gs://b/a*.csv", "marker": "b/_SUCCESS"}, "is no file's name. Write it like _SUCCESS"),
        ({"path": "gs://b/a*.csv", "file": "a*.csv"}, "It names a folder in the lake"),
    ],
)
def test_a_pattern_that_cannot_be_followed_is_refused(how, sentence):
    with pytest.raises(InvalidDatasetError, match=sentence):
        own(**how)


def test_a_star_in_what_an_http_server_is_asked_for_is_none_of_a_pattern():
    assert not own(path="https://example.com/a.csv?q=*").sharded


def test_months_of_several_files_are_told_apart_by_their_path():
    how = {**MONTHS, "path": "gs://b/part-*.csv", "file": "{year}-{month}.csv"}
    with pytest.raises(InvalidDatasetError, match=r"Put {year} and {month} into the path, or"):
        monthly(**how)


def test_a_partition_of_several_files_is_a_folder_of_the_lake_with_a_list_of_them():
    ds = monthly(path="gs://b/{year}/{month}/part-*.csv.gz")
    month = Month(2024, 3)
    assert (ds.sharded, ds.file_format, ds.file_name(month)) == (True, "csv.gz", "own_2024-03.csv.gz")
    assert ds.url(month) == "gs://b/2024/03/part-*.csv.gz"
    assert layout.raw_object(ds, month) == "raw/own/own_2024-03.csv.gz/manifest.json"
    assert layout.raw_folder(ds, month, "state").startswith("raw/own/own_2024-03.csv.gz/")
    assert layout.typed_object(ds, month) == "typed/own/year=2024/month=03/own_2024-03.parquet"
    assert layout.raw_object(own(path="file:///data/part-*.csv"), None) == "raw/own/own.csv/manifest.json"
    daily = monthly(first=Day(2024, 1, 1), path="gs://b/{year}/{month}{day}-*.jsonl")
    assert daily.url(Day(2024, 3, 5)) == "gs://b/2024/0305-*.jsonl"
    assert daily.file_name(Day(2024, 3, 5)) == "own_2024-03-05.jsonl"


@pytest.mark.parametrize(
    ("base", "url"),
    [
        ("gs://b", "gs://b/own.csv"),
        ("s3://b/below", "s3://b/below/own.csv"),
        ("file:///", "file:///own.csv"),
        ("sftp://host:2222", "sftp://host:2222/own.csv"),
    ],
)
def test_a_publisher_may_be_a_bucket_a_folder_or_a_server(base, url):
    assert own(source=Publisher("x", base)).url(None) == url


@pytest.mark.parametrize(
    ("base", "sentence"),
    [
        ("ftp://host", "is not a URL"),
        ("gs:/b", "is not a URL"),
        ("", "is not a URL"),
        ("gs://b/part-*", r"holds a \*"),
        ("sftp://me:secret@host", "^publisher x: its URL holds a login"),
    ],
)
def test_a_publisher_that_cannot_be_reached_is_refused(base, sentence):
    with pytest.raises(InvalidDatasetError, match=sentence):
        Publisher("x", base)


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("sftp://host/own.csv", None),
        ("sftp://host/own.csv", Publisher("x", "sftp://other")),
        ("s3://b/own.csv", Publisher("x", "https://example.com")),
    ],
)
def test_a_whole_address_is_not_sent_another_hosts_secrets(path, source):
    with pytest.raises(InvalidDatasetError, match="no connection belongs to its path"):
        own(path=path, source=source).check_source()
