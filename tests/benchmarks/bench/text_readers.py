"""What could read CSV and JSON lines: right or wrong case by case, then memory and speed.

`python tests/benchmarks bench.text_readers [--polars PYTHON]` prints the table of
docs/decisions/0009-readers-of-text-files.md. polars takes part where PYTHON has it: the platform does not.
"""

from __future__ import annotations

import argparse
import gzip
import json
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

import pyarrow as pa
import pyarrow.csv

from bench import data
from bench.measure import CommandFailedError, run
from bench.section import PEERS

Form: TypeAlias = Literal["csv", "json"]
Row: TypeAlias = tuple[Any, ...]
SCRIPT = PEERS / "text_readers.py"
READERS = ("ours", "DuckDB", "pyarrow", "polars")
COLUMNS = {"id": "int64", "amount": "float64", "note": "string"}
# The first five are the columns of the CSV file.
TRIPS = {
    "VendorID": "int64", "tpep_pickup_datetime": "datetime", "passenger_count": "int64",
    "trip_distance": "float64", "total_amount": "float64", "PULocationID": "int64",
    "store_and_fwd_flag": "string", "fare_amount": "float64",
}  # fmt: skip
FIELDS = {name.lower(): kind for name, kind in TRIPS.items()}
CSV_ROWS, JSON_ROWS, WIDE_ROWS, MIXED_ROWS = 1_000_000, 300_000, 3_000, 1_000_000
RUNS = 3


class Outcome(NamedTuple):
    """Rows and malformed lines, in the order of the file."""

    rows: Sequence[Row]
    malformed: Sequence[bytes] = ()


class Case(NamedTuple):
    """A small file and each of its right outcomes (None: it is refused).

    An empty value is null; a number that stands here as a number is right in any spelling.
    """

    name: str
    content: bytes
    right: Sequence[Outcome | None]


_C: Row = ("2", "3", "c")
_HEAD = b"id,amount,note\n"
_REST = b"2,3,c\n"


def _case(name: str, content: bytes, *right: Outcome | None) -> Case:
    return Case(name, content, right)


def _csv(name: str, lines: bytes, *right: Outcome | None) -> Case:
    return _case(name, _HEAD + lines, *right)


def _one(name: str, line: bytes, *values: Row) -> Case:
    """One line before a sound one: it becomes one of these rows; where there are none, it is malformed."""
    rows = [Outcome([row, _C]) for row in values]
    return _csv(name, line + b"\n" + _REST, *rows, *([] if rows else [Outcome([_C], [line])]))


def _doubtful(name: str, line: bytes, *values: Row) -> Case:
    """The same, and malformed is right as well: no value is changed either way."""
    case = _one(name, line, *values)
    return case._replace(right=[*case.right, Outcome([_C], [line])])


_MANY = ",".join(f"column_{number}" for number in range(20_000)).encode() + b"\n" + b"7," * 19_999 + b"7\n"
CSV = (
    _one("backslash before a quote", rb'1,2,"say \"hi\" now"'),
    _csv("cut inside quotes", b'2,3,c\n2,3,"cut in the mid', Outcome([_C], [b'2,3,"cut in the mid'])),
    _case("hexadecimal text", b"id,amount\n0xFFFF,1\n0x10,2\n", Outcome([("0xFFFF", "1"), ("0x10", "2")])),
    _csv(
        "quotes left open, a lone CR", b'1,2,"a\n3,4,b"\n5,6,c\r7,8,d\n',
        Outcome([("1", "2", "a\n3,4,b")], [b"5,6,c\r7,8,d"]),
        Outcome([], [b'1,2,"a', b'3,4,b"', b"5,6,c\r7,8,d"]),
    ),
    _csv(
        "quoted line break", b'1,2,"first line\n99,9,second line"\n' + _REST,
        Outcome([("1", "2", "first line\n99,9,second line"), _C]),
    ),
    _case("a column named reason", b"id,amount,reason\nx,1,broken\n", Outcome([("x", "1", "broken")])),
    _case("dates of no known form", b"id,at\n1,2/1/24 10:00 AM\n", Outcome([("1", "2/1/24 10:00 AM")])),
    _case("20,000 columns", _MANY, None, Outcome([("7",) * 20_000])),
    _one("text after a closing quote", b'1,2,"a" b'),
    _doubtful("space after a closing quote", b'1,2,"a" ', ("1", "2", "a")),
    _doubtful("space before a quote", b'1,2, "a"', ("1", "2", ' "a"')),
    _doubtful("stray quote in a plain value", b'1,2,x"y', ("1", "2", 'x"y')),
    _csv("blank lines", b"\n1,2,a\n\n\r\n2,3,c\n\n", Outcome([("1", "2", "a"), _C])),
    _case("blank lines, one column", b"id\n1\n\n2\n", Outcome([("1",), ("2",)])),
    _doubtful("lone CR in a value", b"1,2,a\rb", ("1", "2", "a\rb")),
    _one("bytes not UTF-8", b"1,2,caf\xe9"),
    _csv("too few, too many values", b"1,2\n" + _REST + b"7,8,9,10\n", Outcome([_C], [b"1,2", b"7,8,9,10"])),
    _csv(
        "ragged beside blank lines", b"\n7,8,9,10\n\n" + _REST, Outcome([_C], [b"7,8,9,10"]),
    ),
    _one("ragged with a quoted break", b'1,2,"a\nb",9'),
    _doubtful("NUL", b"1,2,a\0b", ("1", "2", "a\0b")),
    _case("BOM, quoted names", b'\xef\xbb\xbf"id","amount","note"\n2,3,c\n', Outcome([_C])),
    _case("CRLF, quoted", b'id,amount\r\n1,"a\r\nb"\r\n2,3\r\n', Outcome([("1", "a\r\nb"), ("2", "3")])),
    _csv("lines ending in LF and in CRLF", b"1,2,a\r\n2,3,c\n", Outcome([("1", "2", "a"), _C])),
    _one("quoted CRLF among LF", b'1,2,"a\r\nb"', ("1", "2", "a\r\nb")),
    _one("doubled quotes", b'1,2,"say ""hi"""', ("1", "2", 'say "hi"')),
    _one("empty values, spaces kept", b'"",, x ', (None, None, " x ")),
    _csv(
        "quote left open, sound rows after it", b'1,2,a\n2,3,"open\n3,4,c\n4,5,d\n',
        Outcome([("1", "2", "a")], [b'2,3,"open\n3,4,c\n4,5,d']),
        Outcome([("1", "2", "a"), ("3", "4", "c"), ("4", "5", "d")], [b'2,3,"open']),
        Outcome([("1", "2", "a")], [b'2,3,"open', b"3,4,c", b"4,5,d"]),
    ),
)  # fmt: skip


def _object(identity: int) -> bytes:
    return b'{"id":%d,"amount":1,"note":"n"}' % identity


def _spoilt(name: str, *lines: bytes) -> Case:
    """Malformed lines between two sound ones."""
    content = b"\n".join((_object(1), *lines, _object(2)))
    return _case(name, content + b"\n", Outcome([_N1, _N2], lines))


_N1, _N2 = (1, 1, "n"), (2, 1, "n")
_DEEP = b"[" * 300 + b"]" * 300
_NESTED: Any = json.loads(_DEEP)
JSON = (
    _case("array of lines", b"[\n" + b",\n".join(map(_object, range(10))) + b"\n]\n", None),
    _case(
        "nested 300 deep", b'{"id":1,"note":%b}\n' % _DEEP + _object(2),
        Outcome([_N2], [b'{"id":1,"note":%b}' % _DEEP]), Outcome([(1, None, _NESTED), _N2]),
    ),
    _spoilt("open 100,000 deep", b'{"id":3,"note":' + b"[" * 100_000),
    _spoilt("keys twice", b'{"id":5,"id":6}', b'{"id":5,"ID":6}'),
    _case(
        "20 digits, exact fractions",
        b'{"id":12345678901234567890,"amount":0.10,"note":9007199254740993}\n'
        b'{"id":-1e2,"amount":0.1000000000000000055511151231257827}\n',
        Outcome([
            (Decimal(12345678901234567890), Decimal("0.1"), Decimal(9007199254740993)),
            (Decimal(-100), Decimal("0.1000000000000000055511151231257827"), None),
        ]),
    ),
    _case(
        "beyond a float64", b'{"id":3,"amount":1e400}\n' + _object(2),
        Outcome([(3, Decimal("1e400"), None), _N2]), Outcome([_N2], [b'{"id":3,"amount":1e400}']),
    ),
    _spoilt("trailing comma, NaN, '…'", b'{"id":3,}', b'{"id":NaN}', b"{'id':3}"),
    _case("cut in its last line", _object(1) + b'\n{"id":2,"no', Outcome([_N1], [b'{"id":2,"no'])),
    _spoilt("bytes not UTF-8", b'{"id":3,"note":"caf\xe9"}'),
    _case("blank lines, CRLF", _object(1) + b"\r\n\r\n \n" + _object(2) + b"\r\n", Outcome([_N1, _N2])),
    _case("BOM", b"\xef\xbb\xbf" + _object(1) + b"\n", Outcome([_N1])),
    _spoilt("raw NUL, half a surrogate", b'{"id":3,"note":"a\0b"}', rb'{"id":3,"note":"\ud800"}'),
    _case(
        "any order, unknown keys", b'{"note":"x","zz":[1],"id":1}\n{"amount":2,"id":null}\n{}\n',
        Outcome([(1, None, "x"), (None, 2, None), (None, None, None)]),
    ),
    _case(
        "types differ by line", b'{"id":1,"note":"x"}\n{"id":"a","note":5}\n{"id":true,"note":1.5}\n',
        Outcome([(1, None, "x"), ("a", None, 5), ("true", None, Decimal("1.5"))]),
    ),
    _case("nested values", b'{"id":1,"note":{"a":[1,"x"]}}\n', Outcome([(1, None, {"a": [1, "x"]})])),
    _spoilt("no objects", b"[1]", b'"x"', b"null", b"5"),
    _spoilt("two objects in a line", b'{"id":3}{"id":4}'),
    _spoilt("an object over two lines", b'{"id":3,', b'"note":"x"}'),
)  # fmt: skip


def is_right(case: Case, found: dict[str, Any], columns: Sequence[str]) -> bool:
    """Whether what a reader made of the case is one of its right outcomes."""
    if "rows" not in found:
        return None in case.right
    rows = [[row.get(name) for name in columns] for row in found["rows"]]
    return any(
        right is not None
        and len(rows) == len(right.rows)
        and all(
            _same(one, other)
            for row, wanted in zip(rows, right.rows, strict=False)
            for one, other in zip(row, wanted, strict=False)
        )
        and _are_lines(found["malformed"], right.malformed)
        for right in case.right
    )


def _same(text: str | None, wanted: Any) -> bool:
    if text is None or wanted is None or isinstance(wanted, str):
        return bool(text == wanted)
    try:
        return bool(json.loads(text, parse_float=Decimal) == wanted)
    except ValueError:
        return False


def _are_lines(found: Sequence[str], wanted: Sequence[bytes]) -> bool:
    """A byte that is not UTF-8 may be shown as something else."""
    shown = [{line.decode(errors=how) for how in ("backslashreplace", "replace")} for line in wanted]
    given = [line.rstrip("\r\n").replace("?", "\ufffd") for line in found]
    shown = [{text.replace("?", "\ufffd") for text in texts} for texts in shown]
    return len(given) == len(shown) and all(line in texts for line, texts in zip(given, shown, strict=False))


def write_csv(path: Path, folder: Path) -> None:
    """Trips in five columns."""
    names = list(TRIPS)[:5]
    with path.open("wb") as file:
        for number, table in enumerate(data.blocks(CSV_ROWS, folder)):
            options = pa.csv.WriteOptions(include_header=not number, quoting_style="needed")
            pa.csv.write_csv(table.select(names), file, options)


def write_json(path: Path, folder: Path) -> None:
    """Trips with eight fields."""
    with path.open("w") as file:
        for table in data.blocks(JSON_ROWS, folder):
            for row in table.select(list(TRIPS)).to_pylist():
                file.write(json.dumps({name.lower(): row[name] for name in TRIPS}, default=str) + "\n")


def write_mixed(path: Path, _: Path) -> None:
    """Quoted line breaks in every seventh row; every thousandth row is malformed, in one of three ways."""
    broken = (b"%d,1\n", b'%d,1,"a" b\n', b"%d,1,caf\xe9\n")
    with path.open("wb") as file:
        file.write(_HEAD)
        for number in range(MIXED_ROWS):
            if number % 1000 == 500:
                file.write(broken[number // 1000 % 3] % number)
            else:
                note = b'"two\n9,9,""lines""\nand one"' if number % 7 == 0 else b"a plain note"
                file.write(b"%d,0.25,%b\n" % (number, note))


def write_wide(path: Path, _: Path) -> None:
    """Rows of 1 MB."""
    csv = path.name.endswith(".csv.gz")
    with gzip.open(path, "wb", 1) as file:
        file.write(_HEAD if csv else b"")
        for number in range(WIDE_ROWS):
            line = b"%d,1,%b\n" if csv else b'{"id":%d,"amount":1,"note":"%b"}\n'
            file.write(line % (number, b"a" * 1_000_000))


class Load(NamedTuple):
    """A large file: what it has, and the rows, malformed lines that must come of it."""

    title: str
    file: str
    write: Callable[[Path, Path], None]
    columns: Mapping[str, str]
    rows: int
    malformed: int = 0
    runs: int = 1

    @property
    def form(self) -> Form:
        """Its format."""
        return "csv" if ".csv" in self.file else "json"


LOADS = (
    Load("1,000,000 rows of CSV, five columns", "trips.csv", write_csv, {}, CSV_ROWS, runs=RUNS),
    Load("300,000 JSON lines, eight fields", "trips.jsonl", write_json, FIELDS, JSON_ROWS, runs=RUNS),
    Load(
        "1,000,000 of CSV with line breaks, 1,000 malformed", "mixed.csv", write_mixed, {},
        MIXED_ROWS - MIXED_ROWS // 1000, MIXED_ROWS // 1000,
    ),
    Load("3,000 CSV rows of 1 MB", "wide.csv.gz", write_wide, {}, WIDE_ROWS),
    Load("3,000 JSON lines of 1 MB", "wide.jsonl.gz", write_wide, COLUMNS, WIDE_ROWS),
)  # fmt: skip


def judge(name: str, python: str, folder: Path) -> Iterator[tuple[str, str]]:
    """Each case by its title: right, or what is wrong about it."""
    forms: tuple[tuple[Form, Sequence[Case]], ...] = (("csv", CSV), ("json", JSON))
    for form, cases in forms:
        place = folder / form
        place.mkdir(exist_ok=True)
        for number, case in enumerate(cases):
            (place / f"{number:02}").write_bytes(case.content)
        found = run([python, SCRIPT, "cases", name, form, place, *_typed(COLUMNS)]).report
        for number, case in enumerate(cases):
            made = found[f"{number:02}"]
            header = case.content.removeprefix(b"\xef\xbb\xbf").splitlines()[0].decode().replace('"', "")
            columns = header.split(",") if form == "csv" else list(COLUMNS)
            yield f"{form}: {case.name}", "right" if is_right(case, made, columns) else _shown(made)


def _shown(made: dict[str, Any]) -> str:
    if "refused" in made:
        return f"refused: {made['refused']!r}"
    rows = [tuple(row.values()) for row in made["rows"]]
    return f"rows {rows}, malformed {made['malformed']}"


def _typed(columns: Mapping[str, str]) -> list[str]:
    return [f"{name}={kind}" for name, kind in columns.items()]


def measure(load: Load, name: str, python: str, folder: Path) -> str:
    """Rows a second, CPU seconds (the process as a whole) and peak memory, or why there are none."""
    path = folder / load.file
    if not path.exists():
        load.write(path, folder)
    try:
        command: list[str | Path] = [python, SCRIPT, "read", name, load.form, path, *_typed(load.columns)]
        runs = [run(command) for _ in range(load.runs)]
    except CommandFailedError as error:
        return f"failed: {error}"
    found = runs[0].report
    wrong = ""
    if (found["rows"], found["malformed"]) != (load.rows, load.malformed):
        wrong = f", WRONG: {found['rows']:,} rows, {found['malformed']:,} malformed"
    rate = load.rows / statistics.median(one.seconds for one in runs)
    cpu, peak = statistics.median(one.cpu_s for one in runs), max(one.peak_rss_mb for one in runs)
    return f"{rate:,.0f} rows/s, {cpu:.1f} CPU seconds, {peak:,.0f} MB{wrong}"


def main(arguments: Sequence[str]) -> None:
    """Print a section for each reader: its cases, its loads."""
    parser = argparse.ArgumentParser(prog="python tests/benchmarks bench.text_readers", description=__doc__)
    parser.add_argument("--polars", metavar="PYTHON", help="a Python that has polars and pyarrow")
    parser.add_argument("--only", metavar="READER", choices=READERS)
    parser.add_argument("--quick", action="store_true", help="the cases alone")
    chosen, say = parser.parse_args(arguments), partial(print, flush=True)
    with tempfile.TemporaryDirectory() as temporary:
        for name in READERS:
            python = chosen.polars if name == "polars" else sys.executable
            if not python or chosen.only not in (None, name):
                continue
            found = dict(judge(name, python, Path(temporary)))
            right = sum(verdict == "right" for verdict in found.values())
            say(f"\n{name}: {right} of {len(found)} cases right")
            for title, verdict in found.items():
                say(f"  right  {title}" if verdict == "right" else f"  WRONG  {title}: {verdict[:200]}")
            for load in () if chosen.quick else LOADS:
                say(f"  {load.title}: {measure(load, name, python, Path(temporary))}")


if __name__ == "__main__":
    main(sys.argv[1:])
