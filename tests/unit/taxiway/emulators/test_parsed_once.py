"""The BigQuery emulator's parser remembers statements; what one caller does to its tree no other one sees."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import sqlglot
from sqlglot import exp
from sqlglot.dialects.dialect import Dialect
from sqlglot.parser import Parser

from taxiway.emulators.bigquery import parsed_once


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Statements that were really parsed, in order."""
    seen: list[str] = []
    really = Parser.parse

    def parse(parser: Parser, tokens: list[sqlglot.Token], sql: str | None = None) -> list[exp.Expr | None]:
        seen.append(sql or "")
        return really(parser, tokens, sql)

    monkeypatch.setattr(Parser, "parse", parse)
    monkeypatch.setattr(Dialect, "parse", Dialect.parse)
    parsed_once.correct_library()
    parsed_once._trees.cache_clear()
    yield seen
    parsed_once._trees.cache_clear()


def test_a_statement_is_parsed_once(parsed: list[str]) -> None:
    trees = [sqlglot.parse_one("SELECT a FROM t", read="bigquery") for _ in range(3)]
    assert parsed == ["SELECT a FROM t"]
    assert {tree.sql() for tree in trees} == {"SELECT a FROM t"}


def test_what_one_caller_rewrites_the_next_does_not_see(parsed: list[str]) -> None:
    first = sqlglot.parse_one("SELECT a FROM t", read="bigquery")
    first.find(exp.Table).replace(exp.to_table("other"))  # type: ignore[union-attr]
    assert sqlglot.parse_one("SELECT a FROM t", read="bigquery").sql() == "SELECT a FROM t"


def test_dialects_are_not_mixed_up(parsed: list[str]) -> None:
    assert isinstance(sqlglot.parse_one('SELECT "a"', read="bigquery").expressions[0], exp.Literal)
    assert isinstance(sqlglot.parse_one('SELECT "a"', read="duckdb").expressions[0], exp.Column)


def test_what_cannot_be_parsed_is_said_each_time(parsed: list[str]) -> None:
    for _ in range(2):
        with pytest.raises(sqlglot.ParseError):
            sqlglot.parse_one("SELECT FROM WHERE (", read="bigquery")
