"""The header ``slices``: what is read back, and what is refused."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.errors import PoisonError
from streams.events.slices import (
    NUMBER_MAX,
    SLICES_HEADER,
    Slice,
    encode_slices,
    numbered,
    numbered_key,
    slices_of,
)


def read(text: str, rows: int = 100) -> tuple[Slice, ...]:
    return slices_of({SLICES_HEADER: text}, rows)


@given(st.lists(st.tuples(st.text(max_size=5), st.integers(0, 9), st.integers(0, 2**53))))
def test_what_is_written_is_read_back(made: list[tuple[str, int, int]]) -> None:
    slices: list[Slice] = []
    rows = 0
    for key, count, start in made:
        slices.append(Slice(key, rows, count, start))
        rows += count
    assert read(encode_slices(slices), rows) == tuple(slices)


def test_an_element_of_three_begins_with_the_requests_first_row() -> None:
    assert read('[["k",2,3]]') == (Slice("k", 2, 3, 0),)


def test_a_record_without_the_header_has_no_slices() -> None:
    assert slices_of({}, 5) == ()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nonsense",
        "{}",
        "[1]",
        '[["k"]]',
        '[["k",0]]',
        '[["k",0,1,2,3]]',
        '[[0,"k",1]]',
        '[["k",0.5,1]]',
        '[["k",true,1]]',
        '[["k",-1,1]]',
        '[["k",0,1,-1]]',
        f'[["k",0,1,{2**53 + 1}]]',
        '[["k",0,101]]',
        '[["k",0,5],["l",4,1]]',
        '[["k",5,1],["l",0,1]]',
        "[" * 10_000,
    ],
)
def test_anything_else_is_poison(text: str) -> None:
    with pytest.raises(PoisonError, match="slices"):
        read(text)


@given(st.recursive(st.none() | st.integers() | st.text(max_size=3), st.lists, max_leaves=8))
def test_no_json_raises_anything_else(value: object) -> None:
    with suppress(PoisonError):
        read(json.dumps(value))


@given(st.text(min_size=1, max_size=9), st.integers(0, NUMBER_MAX))
def test_a_numbered_key_says_its_stream_and_number(stream: str, number: int) -> None:
    assert numbered(numbered_key(stream, number)) == (stream, number)


@pytest.mark.parametrize(
    "key", ["", "@", "@x", "@/1", "@x/", "@x/-1", "@x/1a", "@x/²", f"@x/{NUMBER_MAX + 1}", "x/1"]
)
def test_any_other_key_is_not_of_a_stream(key: str) -> None:
    assert numbered(key) is None
