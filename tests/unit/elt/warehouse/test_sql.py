"""Statements as their users write them."""

import pytest

from elt.warehouse.sql import bare


@pytest.mark.parametrize(
    ("written", "found"),
    [
        ("SELECT 1;\n", "SELECT 1"),
        ("-- Why.\nSELECT 1", "-- Why.\nSELECT 1"),
        ("SELECT 1 -- one\n", "SELECT 1 -- one\n"),
        ("SELECT 1\n-- Later: more", "SELECT 1\n-- Later: more\n"),
    ],
)
def test_what_follows_a_statement_is_no_part_of_its_last_comment(written: str, found: str) -> None:
    assert bare(written) == found
