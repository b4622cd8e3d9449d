"""docs/promql.md keeps what it promises: examples, paths, limits, and what is refused."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import fields

import pytest

from mcp_api.prometheus_api.endpoints import (
    QUERY_LIMITS,
    SAMPLES_MAX,
    SELECTORS_MAX,
    SERIES_MAX,
    SPOKEN_VERSION,
)
from mcp_api.prometheus_api.parameters import FIELDS_MAX
from mcp_api.prometheus_api.route import FORM_BYTES_MAX, PATHS, QUERIES_WAITING_MAX
from streams.errors import QuerySyntaxError
from streams.promql.engine import instant_query
from streams.promql.functions_labels import TEXT_CHARS_MAX
from streams.promql.limits import Limits
from streams.promql.source import MemorySource
from tests.api.processes import ROOT

PAGE = (ROOT / "docs" / "promql.md").read_text()
EXAMPLES = re.findall(r"^```python run\n(.+?)^```$.*?^```\n(.+?)^```$", PAGE, re.M | re.S)
ROWS = [line.strip("|").split("|") for line in PAGE.splitlines() if line.startswith("| `")]


@pytest.mark.parametrize(("code", "output"), EXAMPLES)
def test_an_example_prints_what_it_says(code: str, output: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert ran.stdout == output


def test_every_path_is_told() -> None:
    told = {path for row in ROWS for path in re.findall(r"`([^`]+)`", row[0])}
    assert told >= PATHS
    assert f"({SPOKEN_VERSION})" in PAGE


def test_every_limit_is_told() -> None:
    told = {
        row[0].strip(" `"): [int(number.strip().replace(",", "")) for number in row[1:3]]
        for row in ROWS
        if row[0].strip(" `") in {field.name for field in fields(Limits)}
    }
    assert told == {
        field.name: [getattr(limits, field.name) for limits in (Limits(), QUERY_LIMITS)]
        for field in fields(Limits)
    }
    for number in (SERIES_MAX, SAMPLES_MAX, FIELDS_MAX, SELECTORS_MAX, TEXT_CHARS_MAX):
        assert f"{number:,} " in PAGE.replace("\n", " ")
    assert f"{FORM_BYTES_MAX >> 10} kB of a form" in PAGE
    assert f"{QUERIES_WAITING_MAX} wait" in PAGE


def test_what_is_told_to_be_refused_is_refused() -> None:
    begin, end = PAGE.index("## What differs"), PAGE.index("- A raw string")
    rows = [line.split("|")[1] for line in PAGE[begin:end].splitlines() if line.startswith("| `")]
    expressions = [expression for row in rows for expression in re.findall(r"`([^`]+)`", row)]
    assert len(expressions) > 5
    for expression in expressions:
        with pytest.raises(QuerySyntaxError):
            instant_query(expression, MemorySource({}), 0)
