"""Paths into a body."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from streams.errors import InputError
from streams.probes.json_path import find, parse_path
from tests.effort import examples

BODY = {"status": "ok", "checks": [{"name": "db", "up": True}, {"name": "it's"}], "": None}

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=20,
)


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("$", [BODY]),
        ("$.status", ["ok"]),
        ("$['status']", ["ok"]),
        ('$["checks"][0].up', [True]),
        ("$.checks[-1].name", ["it's"]),
        ("$.checks[*].name", ["db", "it's"]),
        ("$.checks.*.up", [True]),
        ("$['']", [None]),
        ("$.checks[2]", []),
        ("$.status.deeper", []),
        ("$.checks.name", []),
    ],
)
def test_a_path_finds_what_rfc_9535_says(path: str, found: list[Any]) -> None:
    assert find(parse_path(path), BODY) == found


@pytest.mark.parametrize(
    "path", ["", "status", "$.", "$..name", "$[?@.up]", "$[0:2]", "$[01]", "$.a b", "$" + ".a" * 21]
)
def test_a_path_beyond_the_subset_is_refused(path: str) -> None:
    with pytest.raises(InputError) as refused:
        parse_path(path)
    assert refused.value.field == "body_path"


@hypothesis_settings(max_examples=examples(200))
@given(values)
def test_every_value_is_found_by_its_own_path(document: Any) -> None:
    def walk(path: str, value: Any, depth: int) -> None:
        assert find(parse_path(path), document) == [value]
        if depth == 0:
            return
        if isinstance(value, dict):
            for name, child in value.items():
                walk(f"{path}[{json.dumps(name)}]", child, depth - 1)
        if isinstance(value, list):
            for index, child in enumerate(value):
                walk(f"{path}[{index}]", child, depth - 1)

    walk("$", document, 10)


@hypothesis_settings(max_examples=examples(300))
@given(st.text(alphabet="$.[]*'\"ab0-1\\ ", max_size=20))
def test_any_text_is_a_path_or_refused(text: str) -> None:
    with contextlib.suppress(InputError):
        find(parse_path(text), BODY)
