"""Arguments are checked strictly, and an error says what to send instead."""

from __future__ import annotations

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_api.tools.arguments import check_arguments
from mcp_api.tools.specs import EXPORT, QUERY, SPECS
from streams.errors import InputError

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=6,
)
_LIKELY = st.sampled_from(
    [
        "query",
        "describe",
        "avg",
        "p95",
        "p99.9",
        "p100",
        "p101",
        "pp",
        "-1h",
        "a",
        "csv",
        "",
        1,
        10,
        60,
        501,
        0,
        2.0,
        True,
        None,
        ["host"],
        ["*"],
        [1],
        ["a"] * 17,
        {"host": "a"},
        {"host": 1},
    ]
)


@given(st.sampled_from(SPECS), st.data())
def test_what_is_refused_is_what_json_schema_refuses(spec, data) -> None:
    names = st.sampled_from([*spec.input_schema["properties"], "sourc", "x"])
    arguments = data.draw(st.dictionaries(names, _LIKELY | _JSON, max_size=4))
    valid = jsonschema.Draft202012Validator(spec.input_schema).is_valid(arguments)
    if valid:
        check_arguments(spec.name, spec.input_schema, arguments)
        return
    with pytest.raises(InputError) as caught:
        check_arguments(spec.name, spec.input_schema, arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "field", "sentence"),
    [
        (
            {"metric": "cpu"},
            "metric",
            "query_metrics has no argument 'metric'; did you mean 'metric_name'?",
        ),
        ({"limit": "10"}, "limit", "limit is '10'; expected a whole number"),
        ({"limit": 0}, "limit", "limit is 0; expected 1 to 100"),
        ({"chart": 1}, "chart", "chart is 1; expected true or false"),
        ({"metric_name": None}, "metric_name", "metric_name is null; expected a string"),
        ({"tags": {"host": 1}}, "tags", "tags.host is 1; expected a string"),
        ({"tags": ["host"]}, "tags", "tags is an array; expected an object"),
        ({"group_by": "host"}, "group_by", "group_by is 'host'; expected an array"),
        ({"group_by": ["a", 2]}, "group_by", "group_by[1] is 2; expected a string"),
        ({"aggregation": "mean"}, "aggregation", "aggregation is 'mean'; expected a string (avg"),
        (
            {"operation": "list_metric"},
            "operation",
            "operation is 'list_metric'; did you mean 'list_metrics'?",
        ),
    ],
)
def test_the_sentence_says_the_field_what_was_got_and_what_is_valid(
    arguments, field, sentence
) -> None:
    with pytest.raises(InputError) as caught:
        check_arguments(QUERY.name, QUERY.input_schema, arguments)
    assert str(caught.value).startswith(sentence)
    assert caught.value.field == field


def test_a_missing_argument_is_named() -> None:
    spec = SPECS[0]
    with pytest.raises(InputError, match="collect_metrics needs 'metrics': an array"):
        check_arguments(spec.name, spec.input_schema, {"source": "a"})


def test_a_tool_without_arguments_says_so() -> None:
    with pytest.raises(InputError, match="has no argument 'x'; it takes none"):
        check_arguments(SPECS[-1].name, SPECS[-1].input_schema, {"x": 1})


def test_absurd_values_are_shown_short() -> None:
    for value in ("x" * 100_000, 10**10_000, {"a": "b" * 10_000}, ["c"] * 10_000):
        with pytest.raises(InputError) as caught:
            check_arguments(EXPORT.name, EXPORT.input_schema, {"format": value})
        assert len(str(caught.value)) < 300
    with pytest.raises(InputError) as caught:
        check_arguments(EXPORT.name, EXPORT.input_schema, {"y" * 10_000: 1})
    assert len(str(caught.value)) < 300
