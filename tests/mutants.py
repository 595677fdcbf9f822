#!/usr/bin/env python
"""How many one-line mutants of the library's core the unit tests kill: a sample, drawn by a seed.

    .venv/bin/python tests/mutants.py                   40 mutants, a quarter of an hour
    .venv/bin/python tests/mutants.py --count 10 --seed 7

A mutant is killed by tests/unit alone: first the file and folder that mirror its module, then the rest. It
lives in a copy of plugins/, never in this checkout. Exit code: 0 if nine of ten are killed.
"""

from __future__ import annotations

import argparse
import ast
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
ROOMS = ("stages", "stores", "warehouse", "conforming")
GOAL = 0.9
# A mutant may loop for ever; the tests of one folder take seconds.
SECONDS = 300
OPPOSITES: dict[type, type] = {
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
    ast.And: ast.Or, ast.Or: ast.And, ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add,
}  # fmt: skip


def mutants(source: str) -> Iterator[tuple[int, int, str, str]]:
    """Line, column, text before and after, of each mutant of a module; what spans lines has none."""
    tree = ast.parse(source)
    # An annotation runs nowhere, and a log line or an error's text is not what a rule decides.
    idle = {id(part) for node in ast.walk(tree) for top in _idle(node) for part in ast.walk(top)}
    for node in ast.walk(tree):
        if id(node) in idle or getattr(node, "end_lineno", None) != getattr(node, "lineno", 0):
            continue
        before = ast.get_source_segment(source, node) or ""
        for after in _mutations(node, before):
            yield node.lineno, node.col_offset, before, after


def _idle(node: ast.AST) -> Iterator[ast.AST]:
    yield from filter(None, (getattr(node, "annotation", None), getattr(node, "returns", None)))
    if isinstance(node, ast.Call) and ast.unparse(node.func).startswith(("log.", "_log.")):
        yield node
    if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
        yield from node.exc.args
    if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
        yield node


def _mutations(node: ast.AST, text: str) -> Iterator[str]:
    match node:
        case ast.Compare(ops=[operator]) if type(operator) in OPPOSITES:
            yield f"({ast.unparse(ast.Compare(node.left, [OPPOSITES[type(operator)]()], node.comparators))})"
        case ast.BoolOp():
            yield f"({ast.unparse(ast.BoolOp(OPPOSITES[type(node.op)](), node.values))})"
        case ast.BinOp() if type(node.op) in OPPOSITES:
            yield f"({ast.unparse(ast.BinOp(node.left, OPPOSITES[type(node.op)](), node.right))})"
        case ast.UnaryOp(op=ast.Not()):
            yield f"({ast.unparse(node.operand)})"
        case ast.Constant(value=bool()):
            yield str(not node.value)
        case ast.Constant(value=int()):
            yield str(node.value + 1)
        case ast.Return(value=ast.expr()) if text != "return None":
            yield "return None"
        case ast.Expr(value=ast.Call()) | ast.Raise() | ast.AugAssign():
            yield "pass"


def survives(module: Path, line: int, column: int, before: str, after: str) -> bool:
    """Whether all unit tests pass with this mutant of a module of plugins/."""
    lines = (REPOSITORY / "plugins" / module).read_bytes().splitlines(keepends=True)
    text, end = lines[line - 1], column + len(before.encode())  # columns of the syntax tree are bytes
    lines[line - 1] = text[:column] + after.encode() + text[end:]
    with tempfile.TemporaryDirectory(prefix="taxiway-mutant-") as temporary:
        copy = Path(temporary) / "plugins"
        shutil.copytree(REPOSITORY / "plugins", copy, ignore=shutil.ignore_patterns("__pycache__"))
        (copy / module).write_bytes(b"".join(lines))
        folder, file = f"tests/unit/{module.parent}", f"tests/unit/{module.parent}/test_{module.name}"
        # The nearest first: most mutants are dead within seconds.
        nearest = [[file]] if (REPOSITORY / file).exists() else []
        return all(
            _pass(copy, *chosen) for chosen in (*nearest, [folder], ["tests/unit", f"--ignore={folder}"])
        )


def _pass(plugins: Path, *chosen: str) -> bool:
    options = ["-x", "-q", "-p", "no:cacheprovider"]
    command = [sys.executable, "-m", "pytest", *options, *chosen]
    environment = {**os.environ, "PYTHONPATH": str(plugins), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def main() -> int:
    """Draw the sample, print each mutant's fate and the share that was killed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--count", type=int, default=40)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    modules = [path for room in ROOMS for path in sorted((REPOSITORY / "plugins/elt" / room).glob("*.py"))]
    known = [(path, *mutant) for path in modules for mutant in mutants(path.read_text())]
    chosen = random.Random(options.seed).sample(known, options.count)
    alive = 0
    for number, (path, line, column, before, after) in enumerate(sorted(chosen), 1):
        module = path.relative_to(REPOSITORY / "plugins")
        lives = survives(module, line, column, before, after)
        alive += lives
        fate = "SURVIVED" if lives else "killed"
        print(f"{number:>3} {fate:<9}{module}:{line}: {before}  ->  {after}", flush=True)  # noqa: T201
    share = 1 - alive / options.count
    print(f"\n{options.count - alive} of {options.count} killed ({share:.0%}), drawn from {len(known)}")  # noqa: T201
    return 0 if share >= GOAL else 1


if __name__ == "__main__":
    sys.exit(main())
