"""docs/seed.md: every test that it names exists, and every test of the seed is in it."""

from __future__ import annotations

import ast
import re
from pathlib import Path

SEED = Path(__file__).parent
ROOT = SEED.parent.parent
ROWS = [
    line.split("|")[1:-1]
    for line in (ROOT / "docs/seed.md").read_text().splitlines()
    if line.startswith("| ")
]
NAMED = [name for row in ROWS for name in re.findall(r"`([\w/.:]*test_\w+)`", row[2])]


def functions_of(path: Path) -> set[str]:
    return {
        node.name
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name.startswith("test_")
    }


def own_tests() -> set[str]:
    files = [path for path in SEED.glob("test_*.py") if path != Path(__file__)]
    return {name for path in files for name in functions_of(path)}


def test_each_test_that_the_table_names_exists() -> None:
    own = own_tests()
    for name in NAMED:
        path, _, test = name.rpartition("::")
        assert test in (functions_of(ROOT / path) if path else own), name


def test_each_test_of_the_seed_is_in_the_table() -> None:
    assert own_tests() <= set(NAMED)


def test_each_row_says_where_a_promise_is_kept_and_how_that_is_known() -> None:
    assert len(ROWS) > 60
    for row in ROWS:
        promise, where, test, differs = (cell.strip() for cell in row)
        assert promise
        assert where or differs, promise
        assert test or differs, promise


def test_each_file_that_the_table_names_exists() -> None:
    for row in ROWS:
        for name in re.findall(r"`((?:docs|streams|projections|mcp_api|bench)/[\w./-]*)`", row[1]):
            assert (ROOT / name).exists(), name
