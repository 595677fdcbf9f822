"""Files of text lines: every line comes out, as a row or as it is with the reason."""

import csv
import gzip
import io
import json
from collections.abc import Iterable, Iterator
from itertools import product

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pieces import Pieces

from elt.catalogue import Column, Dataset
from elt.catalogue.registry import DATASETS
from elt.conforming.stream import Split, portions
from elt.errors import PermanentError
from elt.formats.batches import BEGINNING, BLOCK, LINE, lines, read_blocks
from elt.formats.csv_reader import CsvReader
from elt.formats.csv_records import CsvRecords, Record
from elt.periods import Month

# Bytes; the entries say so, to be quick.
LONGEST = 2 * BLOCK
COLUMNS = (
    Column("id", "int64", "Key.", aliases=("ID", "Nr")),
    Column("amount", "float64", "Any."),
    Column("note", "string", "Text.", required=False),
)


def dataset(ending: str, **how: object) -> Dataset:
    return Dataset("own", "Own", f"/own.{ending}", "own", "id", COLUMNS, longest_row=LONGEST, **how)


def read(content: bytes | io.BytesIO, ending: str, **how: object) -> tuple[Split, list[dict], list[dict]]:
    """The counts, the typed rows and the quarantined ones."""
    file = io.BytesIO(content) if isinstance(content, bytes) else content
    with Split(file, dataset(ending, **how), None) as parts:
        found = list(parts)
    typed = [row for part in found for row in part.typed.to_pylist()]
    rejected = [row for part in found if part.quarantined for row in part.quarantined.to_pylist()]
    assert (len(typed), len(rejected)) == (parts.rows, parts.quarantined)
    return parts, typed, rejected


def refusal(content: bytes | io.BytesIO, ending: str) -> str:
    with pytest.raises(PermanentError) as refused:
        read(content, ending)
    assert "\n" not in str(refused.value)
    return str(refused.value)


CSV = b'id,amount,note\n1,2.5,"a, b"\n2,,\n'


def test_csv_has_a_row_for_each_line():
    parts, typed, _ = read(CSV, "csv")
    assert typed == [{"id": 1, "amount": 2.5, "note": "a, b"}, {"id": 2, "amount": None, "note": None}]
    assert parts.drift == ()


@pytest.mark.parametrize(
    "content",
    [CSV.replace(b"\n", b"\r\n"), b"\xef\xbb\xbf" + CSV, CSV[:-1], CSV.replace(b"\n", b"\n\n"), b"\n" + CSV,
     CSV.replace(b"2,,", b"2,, ").replace(b", \n", b",\n"), CSV.replace(b"id,", b" ID ,"), CSV + b"\n\r\n\n"],
)  # fmt: skip
def test_line_ends_blank_lines_and_marks_do_not_matter(content):
    assert read(content, "csv")[1] == read(CSV, "csv")[1]


def test_another_delimiter_is_said_in_the_entry():
    assert read(b"id;amount\n1;2.5\n", "csv", delimiter=";")[1] == [{"id": 1, "amount": 2.5, "note": None}]


BROKEN = {
    b"3": "the line has 1 values for 3 columns",
    b"3,4,5,6": "the line has 4 values for 3 columns",
    b"  ": "the line has 1 values for 3 columns",
    b"\f": "the line has 1 values for 3 columns",
    b'3,4,"a"b': "the line is not CSV: a quote ends inside the value",
    b'3,4,"say \\"hi\\" now"': "the line is not CSV: a quote ends inside the value",
}


def test_what_becomes_of_a_line_does_not_depend_on_its_neighbours():
    odd = [b'4,5,c"d', b'5,6,"e""f"', b"6,7, g ", b'7,8, "h"', b"8,\x0b9,i", b'9,1,"two\nlines"']
    alone = [row for line in odd for row in read(b"id,amount,note\n" + line + b"\n", "csv")[1]]
    beside = read(b"id,amount,note\n" + b"\n".join([*odd, b"broken", b""]), "csv")[1]
    assert beside == alone
    assert [row["note"] for row in alone] == ['c"d', 'e"f', " g ", ' "h"', "i", "two\nlines"]


@pytest.mark.parametrize("line", BROKEN)
def test_a_malformed_csv_line_goes_to_quarantine_as_it_is(line):
    content = CSV + line + b"\n" + b"".join(b"%d,1.5,x\n" % n for n in range(10, 20))
    _, typed, rejected = read(content, "csv")
    assert [row["id"] for row in typed] == [1, 2, *range(10, 20)]
    nothing = dict.fromkeys(("id", "amount", "note"))
    assert rejected == [{**nothing, LINE: line.decode(), "reason": BROKEN[line]}]


def test_a_value_that_does_not_fit_is_quarantined_by_columns():
    _, typed, rejected = read(CSV + b"x,1,y\n", "csv")
    assert len(typed) == 2
    assert rejected == [{"id": "x", "amount": "1", "note": "y", LINE: None, "reason": "id x is not int64"}]


def test_a_bad_letter_is_the_matter_of_its_row():
    for more in (b"", b"broken\n"):
        _, typed, rejected = read(CSV + b"3,1,\xff\n" + more, "csv")
        assert [row["id"] for row in typed] == [1, 2]
        assert rejected[0]["note"] == "\\xff"


@pytest.mark.parametrize(
    ("text", "number"), [(b"1.0", 1), (b" 7 ", 7), (b"-3.00", -3), (b"9007199254740993.0", 9007199254740993)]
)
def test_a_whole_number_may_be_written_with_spaces_and_noughts(text, number):
    assert read(b"id,amount\n%s,1\n" % text, "csv")[1][0]["id"] == number


def test_a_column_nobody_knows_is_drift_and_a_lost_one_stops_the_load():
    assert read(b"id,amount,extra\n1,2,3\n", "csv")[0].drift == ("extra",)
    assert refusal(b"id,note\n1,2\n", "csv").startswith(
        "own.csv: column amount is lost (the file has id, note). If it has another name now, add that to "
    )
    assert "column id is lost (the file has none)" in refusal(b"", "csv")


def test_a_header_that_is_no_text_is_refused():
    said = refusal("Größe,amount\n1,2\n".encode("cp1252"), "csv")
    assert said.startswith("own.csv: it is not UTF-8 (byte 0xf6 in b'Gr")
    assert said.endswith("iconv -f windows-1252 -t utf-8.")
    assert "is not UTF-8" in refusal(b"\xff\xfe,amount\n1,2\n", "csv")


values = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=6)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.lists(values, min_size=1, max_size=4), max_size=20), st.integers(1, 64))
def test_typed_and_quarantined_are_the_lines_whatever_they_are(rows, block):
    text = io.StringIO()
    csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL).writerows([["id", "amount", "note"], *rows])
    content = text.getvalue().encode() + b'"1","1","end"\n'
    parts, _, rejected = read(Pieces(content, block), "csv")
    assert parts.rows + parts.quarantined == len(rows) + 1
    malformed = [row for row in rejected if row[LINE] is not None]
    assert len(malformed) == sum(len(row) != 3 for row in rows)


@settings(max_examples=150, deadline=None)
@given(st.lists(values, max_size=20), st.sampled_from(["\n", "\r\n"]), st.integers(1, 64))
def test_a_quoted_value_is_what_was_written_whatever_is_in_it(notes, end, block):
    text = io.StringIO()
    rows = [["id", "amount", "note"], *([n, 0.5, note] for n, note in enumerate(notes)), [-1, 0.5, "end"]]
    csv.writer(text, lineterminator=end, quoting=csv.QUOTE_NONNUMERIC).writerows(rows)
    _, typed, rejected = read(Pieces(text.getvalue().encode(), block), "csv")
    assert not rejected
    assert [row["note"] or "" for row in typed] == [*notes, "end"]


@settings(max_examples=300, deadline=None)
@given(st.text('1,"\n\ra', max_size=40), st.integers(1, 64))
def test_where_a_record_ends_is_told_by_the_text_before_it_alone(body, block):
    """In blocks of any size, and whatever comes behind it."""
    content = b"id,amount,note\n" + body.encode()
    first = CsvRecords(",", LONGEST)
    whole = list(every(first.chunks([content]), first))
    in_pieces = CsvRecords(",", LONGEST)
    assert list(every(in_pieces.chunks(read_blocks(Pieces(content, block), LONGEST)), in_pieces)) == whole


@settings(max_examples=400, deadline=None)
@given(st.sampled_from([["a"], ["a", "b"]]), st.text('1,"\n\ra', max_size=14))
@example(["a"], "\rb\n")
@example(["a", "b"], "\r,a\n")
def test_a_block_is_read_as_its_records_are_whoever_reads_it(names, body):
    """Arrow's parser, where it does, or ours."""
    header = ",".join(names).encode() + b"\n"
    records = CsvRecords(",", LONGEST)
    found = list(records.chunks(read_blocks(io.BytesIO(header + body.encode()), LONGEST)))
    split = [records.split(chunk)[0] if isinstance(chunk, bytes) else chunk for chunk in found]
    kept = [one.values for part in split for one in part if len(one.values) == len(names) and one.text]
    batches = list(CsvReader(io.BytesIO(header + body.encode()), ",", {}))
    tables = [batch for batch in batches if isinstance(batch, pa.RecordBatch)]
    rows = [list(row.values())[:-1] for table in tables for row in table.to_pylist()]
    assert rows == [[value.decode() or None for value in values] for values in kept[1:]]


def test_no_quote_that_encloses_no_value_is_taken_for_one_that_does():
    """All texts of seven letters, of which some are several rows."""
    records = CsvRecords(",", LONGEST)
    for letters in product(b'a,"\n', repeat=7):
        for chunk in records.chunks([bytes(letters) + b"\n"]):
            if isinstance(chunk, bytes):
                found, rest = records.split(chunk)
                assert not rest
                assert not any(record.reason for record in found), letters


def every(
    chunks: Iterable[bytes | list[Record]], records: CsvRecords
) -> Iterator[tuple[list[bytes], str, bytes]]:
    """Records, however they are cut into chunks; of malformed ones their lines."""
    for chunk in chunks:
        found, rest = records.split(chunk) if isinstance(chunk, bytes) else (chunk, b"")
        assert not rest
        for record in found:
            for line in lines(record.text) if record.reason else [b""]:
                yield record.values, record.reason, line


@settings(max_examples=150, deadline=None)
@given(st.lists(st.binary(max_size=12), max_size=20))
def test_no_bytes_make_a_line_vanish(given_lines):
    body = b"".join(line.replace(b"\n", b"") + b"\n" for line in given_lines)
    for ending, content in (("csv", b"id,amount,note\n1,1,end\n"), ("jsonl", b'{"id": 1, "amount": 1}\n')):
        # Within quotes a line of CSV is none.
        body = body.replace(b'"', b"'") if ending == "csv" else body
        parts, *_ = read(content + body, ending)
        blank = b" \t" if ending == "jsonl" else b""
        assert parts.rows + parts.quarantined == 1 + sum(bool(line.strip(blank)) for line in lines(body))


def jsonl(*rows: object) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def test_json_lines_have_a_row_for_each_line_in_the_catalogues_columns():
    content = jsonl(
        {"id": 1, "amount": 2.5, "note": "a"}, {"amount": 3, "Nr": "2"}, {"id": 3.0, "amount": None}
    )
    _, typed, rejected = read(content, "jsonl")
    assert typed == [
        {"id": 1, "amount": 2.5, "note": "a"},
        {"id": 2, "amount": 3.0, "note": None},
        {"id": 3, "amount": None, "note": None},
    ]
    assert rejected == []


@pytest.mark.parametrize(
    "value",
    ["true", "1.5", "1.10", "1E2", "0.1000000000000000055", "9" * 30, "-0.0",
     '[1, {"a":  null}]', '{"b":"ü", "b": 1.10}', "[1,2]", "[]", "{}"],
)  # fmt: skip
def test_in_a_column_of_texts_other_values_are_as_they_were_written(value):
    content = f'{{"id": 1, "amount": 1, "note" : {value} }}\n'.encode()
    assert [row["note"] for row in read(content, "jsonl")[1]] == [value]


@pytest.mark.parametrize(
    "value", ["1", "-1e2", "0.1", "123456789.123456789", "1.7976931348623157e308", "5e-324"]
)
def test_a_number_of_json_is_the_nearest_float64_to_what_is_written(value):
    assert [row["amount"] for row in read(f'{{"id":1,"amount":{value}}}\n'.encode(), "jsonl")[1]] == [
        float(value)
    ]


@pytest.mark.parametrize(
    "number", ["18446744073709551616", "9223372036854775808", "1.5", "1e400", "true", '"x"']
)
def test_a_number_of_json_that_does_not_fit_is_quarantined_as_it_was_written(number):
    good = jsonl({"id": 1, "amount": 1})
    _, typed, rejected = read(good + f'{{"id": {number}, "amount": 1}}\n'.encode(), "jsonl")
    assert [row["id"] for row in typed] == [1]
    assert number in rejected[0][LINE]


def test_a_json_array_is_refused_instead_of_its_last_line():
    content = b"[\n" + b",\n".join(jsonl({"id": n, "amount": n}).strip() for n in range(9)) + b"\n]\n"
    assert refusal(content, "jsonl") == (
        "own.jsonl: corrupt JSON lines (a JSON array instead of an object on each line)"
    )


BROKEN_JSON = {
    b"{": "the line is not a JSON object: ",
    b"[1, 2]": "the line is not a JSON object: it is none",
    b"7": "the line is not a JSON object: it is none",
    b'{"id": NaN, "amount": 1}': "the line is not a JSON object: ",
    b'{"id": 5, "ID": 6, "amount": 1}': "the line is not a JSON object: it has id twice",
    b'{"id": 5, "id": 6, "amount": 1}': "the line is not a JSON object: it has id twice",
    b'{"id" : 5, "id": 6, "amount": 1}': "the line is not a JSON object: it has id twice",
    b'{"\\u0069d": 5, "id": 6, "amount": 1}': "the line is not a JSON object: it has id twice",
    b'{"id": 5, "note": {"a": 1}, "note": "b"}': "the line is not a JSON object: it has note twice",
    b'{"note": "\xff"}': "the line is not a JSON object: ",
    b'{"id": 1, "amount": 1, "note": %s}' % (b"[" * 1000 + b"]" * 1000): "the line is not a JSON object: ",
    b'{"id": 1, "amount": 1, "note": %s}' % (b"[" * 9000 + b"]" * 9000): "the line is not a JSON object: ",
}


@pytest.mark.parametrize("line", BROKEN_JSON)
def test_a_malformed_json_line_goes_to_quarantine_as_it_is(line):
    good = jsonl({"id": 1, "amount": 1})
    _, typed, rejected = read(good + line + b"\n" + good, "jsonl")
    assert len(typed) == 2
    assert rejected[0][LINE] == line.decode(errors="backslashreplace")
    assert rejected[0]["reason"].startswith(BROKEN_JSON[line])
    assert rejected[0]["id"] is None


def test_a_quarantined_row_of_json_keeps_its_whole_line():
    _, _, rejected = read(jsonl({"id": 1, "amount": 1}, {"id": "x", "amount": 1, "unknown": [1]}), "jsonl")
    assert rejected[0]["reason"] == "id x is not int64"
    assert json.loads(rejected[0][LINE])["unknown"] == [1]


def test_fields_nobody_knows_are_drift_wherever_they_appear():
    content = jsonl({"id": 1, "amount": 1}, *({"id": 1, "amount": 1, name: 1} for name in "abab"))
    assert read(content, "jsonl")[0].drift == ("a", "b")


def test_names_that_are_data_do_not_fill_the_memory():
    content = jsonl({"id": 1}, *({f"key {n}": 1, "id": n} for n in range(1000)), {"id": 2, "amount": 7})
    parts, typed, _ = read(content, "jsonl")
    assert len(parts.drift) == 100
    assert typed[-1]["amount"] == 7.0, "a column that comes late is not taken for one of them"


def test_a_required_field_that_no_line_has_is_a_lost_column():
    assert refusal(jsonl({"note": "a", "other": 1, "id": 1}), "jsonl").startswith(
        "own.jsonl: column amount is lost (the file has note, id, other)"
    )


@pytest.mark.parametrize("ending", ["csv", "jsonl", "ndjson"])
def test_gzipped_lines_are_the_same_lines_in_one_member_or_several(ending):
    content = CSV if ending == "csv" else jsonl({"id": 1, "amount": 1}, {"id": 2, "amount": 2})
    plain = read(content, ending)[1:]
    half = content.index(b"\n") + 3
    assert read(gzip.compress(content), f"{ending}.gz")[1:] == plain
    assert read(gzip.compress(content[:half]) + gzip.compress(content[half:]), f"{ending}.gz")[1:] == plain


@pytest.mark.parametrize(
    "spoil", [lambda c: c[:-9], lambda c: c[:-8] + bytes(8), lambda c: c[:20] + b"\xff" * 9 + c[29:]]
)
def test_a_damaged_gzip_is_corrupt(spoil):
    content = b"id,amount\n" + b"".join(b"%d,%d\n" % (n, n * 7 % 1001) for n in range(5000))
    assert refusal(spoil(gzip.compress(content)), "csv.gz").startswith("own.csv.gz: corrupt CSV (")


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
@pytest.mark.parametrize("last", [b"", b"\n"])
@pytest.mark.parametrize("more_than_longest", [1, 3 * BLOCK])
def test_a_line_that_is_too_long_is_quarantined_by_its_beginning(ending, last, more_than_longest):
    good = b"id,amount,note\n1,1,a\n" if ending == "csv" else jsonl({"id": 1, "amount": 1})
    more = b"2,1,b\n" if ending == "csv" else jsonl({"id": 2, "amount": 1})
    size = LONGEST + more_than_longest
    content = good + b"x" * size + (b"\n" + more if last else b"")
    _, typed, rejected = read(content, ending)
    assert [row["id"] for row in typed] == ([1, 2] if last else [1])
    assert [row["reason"] for row in rejected] == [
        f"the line has {size:,} bytes, and {LONGEST:,} at most are read: this is its beginning"
    ]
    assert rejected[0][LINE] == "x" * BEGINNING


def test_a_quote_that_is_never_closed_costs_the_lines_behind_it_and_not_the_memory():
    line = b"3,1,%s\n" % (b"x" * 1000)
    _, typed, rejected = read(CSV + b'9,1,"open\n' + line * (2 * LONGEST // len(line)), "csv")
    assert [row["id"] for row in typed] == [1, 2]
    assert len(rejected) == 1 + 2 * LONGEST // len(line)
    (reason,) = {row["reason"] for row in rejected}
    assert (
        reason == "the line is not CSV: a quoted value of more than 2,097,152 bytes, or a quote never closed"
    )


def test_rows_behind_a_value_that_is_too_long_are_read_again():
    text = b"x" * 999 + b"\n"
    content = CSV + b'9,1,"' + text * (LONGEST // 500) + b'"\n5,1,"good, again"\n'
    _, typed, _ = read(content, "csv")
    assert [row["id"] for row in typed] == [1, 2, 5]


YELLOW = DATASETS["yellow"]
COMMON = "4.5,0.5,0.5,1.0,0.0,"
# What TLC's CSV files had: the header of the years, and a row.
TIMES = "{month}-04 02:52:00,{month}-04 03:02:00,1{nought},2.63,"
PLACES = "-73.99,40.72,{code},-73.99,40.69,"
METER = (
    "passenger_count,trip_distance,pickup_longitude,pickup_latitude,{rate},store_and_fwd_flag,"
    "dropoff_longitude,dropoff_latitude,payment_type,fare_amount,{extra},mta_tax,tip_amount,tolls_amount,"
)
ZONED = (
    "VendorID,tpep_pickup_datetime,tpep_dropoff_datetime,passenger_count,trip_distance,RatecodeID,"
    "store_and_fwd_flag,PULocationID,DOLocationID,payment_type,fare_amount,extra,mta_tax,tip_amount,"
    "tolls_amount,improvement_surcharge,total_amount"
)
ERAS = {
    "2009-01": (
        "vendor_name,Trip_Pickup_DateTime,Trip_Dropoff_DateTime,Passenger_Count,Trip_Distance,Start_Lon,"
        "Start_Lat,Rate_Code,store_and_forward,End_Lon,End_Lat,Payment_Type,Fare_Amt,surcharge,mta_tax,"
        "Tip_Amt,Tolls_Amt,Total_Amt",
        f"VTS,{TIMES}{PLACES}CASH,{COMMON}6.5".format(month="2009-01", nought="", code=","),
    ),
    "2012-05": (
        "vendor_id, pickup_datetime, dropoff_datetime, "
        + METER.format(rate="rate_code", extra="surcharge").replace(",", ", ")
        + "total_amount",
        f"VTS,{TIMES}{PLACES}CSH,{COMMON}6.5".format(month="2012-05", nought="", code="1,N"),
    ),
    "2016-01": (
        "VendorID,tpep_pickup_datetime,tpep_dropoff_datetime,"
        + METER.format(rate="RatecodeID", extra="extra")
        + "improvement_surcharge,total_amount",
        f"2,{TIMES}{PLACES}2,{COMMON}0.3,6.8".format(month="2016-01", nought="", code="1,N"),
    ),
    "2018-06": (ZONED, f"2,{TIMES}1,N,230,48,2,{COMMON}0.3,6.8".format(month="2018-06", nought="")),
    "2021-01": (
        f"{ZONED},congestion_surcharge",
        f"2,{TIMES}1.0,N,230,48,2,{COMMON}0.3,6.8,2.5".format(month="2021-01", nought=".0"),
    ),
}


@pytest.mark.parametrize("month", ERAS)
def test_the_csv_of_before_parquet_conforms_to_the_same_schema(month):
    content = "\n".join(ERAS[month]).encode()
    ds = Dataset(**{**vars(YELLOW), "path": "/trip-data/yellow_tripdata_{year}-{month}.csv.gz"})
    parts = Split(io.BytesIO(gzip.compress(content)), ds, Month.parse(month))
    [row] = pa.Table.from_batches([part.typed for part in parts]).to_pylist()
    assert (row["vendor_id"], row["payment_type"], row["fare_amount"], row["extra"]) == (2, 2, 4.5, 0.5)
    assert str(row["tpep_pickup_datetime"]) == f"{month}-04 02:52:00"
    assert (row["pickup_longitude"] is None) == (row["pu_location_id"] is not None) == (month > "2016-06")
    assert parts.drift == ()


@pytest.mark.parametrize("value", [b"1", b"x"])
def test_whatever_becomes_of_the_rows_a_few_are_in_memory_at_once(value):
    """Also where all of them go into quarantine."""
    parts = Split(Pieces(b"id,amount\n1,1\n" + (value + b",1\n") * 999, 100), dataset("csv"), None)
    sizes = [sum(part.typed.num_rows + part.rejected for part in group) for group in portions(parts, 50)]
    assert sum(sizes) == 1000
    assert max(sizes) < 100


ALONE = "a carriage return without a line feed; lines must end with LF or CRLF"


@pytest.mark.parametrize("line", [b"3,4\r,x", b"3,\r4,x", b"3\r4,5,x"])
def test_a_lone_carriage_return_is_explained_to_whoever_publishes_the_file(line):
    _, typed, rejected = read(CSV + line + b"\n", "csv")
    assert [row["id"] for row in typed] == [1, 2]
    assert [(row[LINE], row["reason"]) for row in rejected] == [
        (line.decode(), f"the line is not CSV: {ALONE}")
    ]


def test_a_file_whose_lines_end_with_carriage_returns_is_refused_with_the_remedy():
    assert refusal(CSV.replace(b"\n", b"\r"), "csv") == f"own.csv: corrupt CSV ({ALONE})"


def test_a_carriage_return_within_quotes_is_a_letter_of_its_value():
    assert read(CSV + b'3,4,"a\rb"\n', "csv")[1][-1]["note"] == "a\rb"


def test_a_lone_carriage_return_beside_a_blank_line_makes_no_row():
    """Arrow ends a line there, so that its rows and the line ends come out as many."""
    content = b'a,b\n\n,\rx",\n'
    columns = (Column("a", "string", "Key."), Column("b", "string", "Any.", required=False))
    ds = Dataset("own", "Own", "/own.csv", "own", "a", columns)
    parts = Split(io.BytesIO(content + b"k,v\n"), ds, None)
    found = list(parts)
    assert [row for part in found for row in part.typed.to_pylist()] == [{"a": "k", "b": "v"}]
    assert [row[LINE] for part in found if part.quarantined for row in part.quarantined.to_pylist()] == [
        ',\rx",'
    ]


def test_a_file_that_is_cut_inside_quotes_keeps_its_last_lines_in_quarantine():
    _, typed, rejected = read(CSV + b'3,4,"open\n5,6,x\n', "csv")
    assert [row["id"] for row in typed] == [1, 2]
    assert [(row[LINE], row["reason"]) for row in rejected] == [
        ('3,4,"open', "the line is not CSV: unexpected end of data"),
        ("5,6,x", "the line is not CSV: unexpected end of data"),
    ]


def test_a_line_within_quotes_is_no_row():
    _, typed, rejected = read(CSV + b'3,4,"first\n99,9,second" oh\n5,6,x\n', "csv")
    assert [row["id"] for row in typed] == [1, 2, 5]
    assert [row[LINE] for row in rejected] == ['3,4,"first', '99,9,second" oh']


def test_a_header_of_more_columns_than_any_store_has_is_refused():
    content = b",".join(b"c%d" % n for n in range(10_001)) + b"\n"
    assert refusal(content, "csv") == "own.csv: corrupt CSV (10,001 columns, and 10,000 at most are read)"
