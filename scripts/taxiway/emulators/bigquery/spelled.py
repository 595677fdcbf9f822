"""What BigQuery's SQL may say, and DuckDB's may not.

Like `weeks`, these translate to BigQuery's SQL in other words.
"""

from __future__ import annotations

import re

from bqemulator.sql.rewriter import create_table_schema_ctas
from sqlglot import expressions as exp
from sqlglot.expressions import Expr

# Names of columns that DuckDB wants in quotes, besides those that its generator quotes.
WORDS = frozenset({
    "anti", "asof", "at", "authorization", "binary", "collation", "columns", "concurrently", "freeze",
    "generated", "glob", "ilike", "isnull", "map", "notnull", "overlaps", "positional", "semi", "similar",
    "try_cast", "unpack", "verbose",
})  # fmt: skip
_ONE_DIGIT = re.compile(r"(\d:\d\d(?::\d\d(?:\.\d+)?)?) ?([+-])(\d)$")
# Of a BIGNUMERIC's 38 decimals the library's own literals have ten, too.
_DECIMALS = {exp.DataType.Type.DECIMAL: 9, exp.DataType.Type.BIGDECIMAL: 10}
_KEYS = (exp.PrimaryKey, exp.ForeignKey, exp.Constraint)
_KEYS_OF_COLUMNS = (exp.PrimaryKeyColumnConstraint, exp.Reference)
_with_rows = create_table_schema_ctas._apply_schema_ctas_rewrite


def spelled(node: Expr) -> Expr:
    """The same node, changed so that DuckDB can read what becomes of it.

    BigQuery: the project in an unquoted name may have dashes; an offset from UTC may have one digit; keys are
    not enforced; a NUMERIC has nine decimals. Library: DuckDB gets them as they are, cannot read them, and
    rounds to three decimals, a BIGNUMERIC to five.
    """
    if isinstance(node, exp.DataType) and node.this in _DECIMALS and not node.expressions:
        parameters = (38, _DECIMALS[node.this])
        node.set("expressions", [exp.DataTypeParam(this=exp.Literal.number(n)) for n in parameters])
    elif isinstance(node, exp.Identifier) and "-" in node.name:
        node.set("quoted", True)
    elif isinstance(node, exp.Cast | exp.Timestamp) and isinstance(node.this, exp.Literal):
        node.this.set("this", _ONE_DIGIT.sub(r"\1\g<2>0\3", node.this.name))
    elif isinstance(node, exp.Schema):
        node.set("expressions", [one for one in node.expressions if not isinstance(one, _KEYS)])
    elif isinstance(node, exp.ColumnDef):
        kept = [] if isinstance(node.parent, exp.DataType) else node.args.get("constraints") or []
        node.set("constraints", [one for one in kept if not isinstance(one.kind, _KEYS_OF_COLUMNS)])
    return node


def with_rows(create: exp.Create) -> bool:
    """Whether this table is made with columns and rows at once; then it is changed to one made of a query.

    BigQuery: the query may stand in parentheses, and NULL is refused where a column is NOT NULL. Library: it
    leaves such a query, and loses NOT NULL.
    """
    required = required_in(create)
    if isinstance(create.expression, exp.Subquery):
        create.set("expression", create.expression.unnest())
    columns = [one.name for one in create.this.expressions] if isinstance(create.this, exp.Schema) else []
    if not _with_rows(create):
        return False
    if required:
        wanted = (_not_null(name) if name in required else exp.column(name, quoted=True) for name in columns)
        create.set("expression", exp.select(*wanted).from_(create.expression.subquery("made")))
    return True


def _not_null(name: str) -> Expr:
    said = exp.Literal.string(f"Required field {name} cannot be null")
    value = exp.func("COALESCE", exp.column(name, quoted=True), exp.func("ERROR", said))
    return exp.alias_(value, name, quoted=True)


def required_in(tree: Expr) -> list[str]:
    """The columns that take no NULL, of a table that is made with its rows."""
    if not isinstance(tree, exp.Create) or not isinstance(tree.expression, exp.Query):
        return []
    columns = tree.this.expressions if isinstance(tree.this, exp.Schema) else []
    return [column.name for column in columns if column.find(exp.NotNullColumnConstraint)]
