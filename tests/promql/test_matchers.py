"""Label patterns, however they are matched, match as RE2 does."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc
from hypothesis import given
from hypothesis import strategies as st

from streams.promql.matchers import Matcher, matches

PATTERNS = st.one_of(
    st.text("ab0_ :/,=@%-.|", max_size=12), st.sampled_from([".+", ".*", "a.*", "[ab]+", "(a|b)c?"])
)
VALUES = st.lists(st.one_of(st.text("ab0_ :/,=@%-\n", max_size=8), st.text(max_size=4)), max_size=8)


@given(PATTERNS, VALUES)
def test_a_pattern_takes_what_re2_takes(pattern: str, values: list[str]) -> None:
    values = [value.encode("utf-8", "replace").decode() for value in values]
    column = pa.array(values, type=pa.string())
    expected = pc.match_substring_regex(column, f"\\A(?s:{pattern})\\z").to_pylist()
    assert matches(Matcher("label", "=~", pattern), values).tolist() == expected
    assert matches(Matcher("label", "!~", pattern), values).tolist() == [not e for e in expected]
