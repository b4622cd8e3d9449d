"""Which rules are taken, and what is said of those that are not."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from streams.domain.default_rules import DEFAULT_RULES
from streams.domain.durations import UNITS_MS, duration_text, parse_duration_ms
from streams.domain.rules import identity, needs, problems, sentence
from streams.events.rules import Rule

DAY_MS = 86_400_000
GOOD = Rule(
    id="high-cpu",
    version=1,
    name="High CPU",
    condition='rate(cpu{host=~"a.*"}[10m]) > 80',
    for_ms=60_000,
    clear_condition="cpu offset 1h > 70",
    labels={"team": "core"},
    annotations={"summary": "{{ $labels.host }} at {{ $value | humanize }}"},
    notify=("mail",),
)


def of(**changes: Any) -> Rule:
    return structs.replace(GOOD, **changes)


def recording(**changes: Any) -> Rule:
    return Rule(
        **{"id": "r", "version": 1, "name": "r", "condition": "sum(cpu)", "record": "c:s"} | changes
    )


@pytest.mark.parametrize(
    "rule",
    [
        GOOD,
        of(condition="vector(1)", clear_condition=""),
        of(condition="absent(up)"),
        of(name="ünï ☂ " * 20),
        of(labels={"severity": "page", "with space": "{{ $value }}"}),
        recording(),
        recording(condition="1"),
        recording(record="ünï"),
        *DEFAULT_RULES,
    ],
    ids=lambda rule: rule.name[:20] + rule.condition[:20],
)
def test_a_good_rule_has_no_problems(rule: Rule) -> None:
    assert problems(rule) == ()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"id": "a b"}, "id is 'a b'; valid are 1 to 64 of the characters"),
        ({"id": ""}, "id is ''; valid are"),
        ({"name": " "}, "name is empty"),
        ({"name": "a\nb"}, "name holds a line break"),
        ({"name": "n" * 201}, "name has 201 characters; at most 200"),
        ({"name": "\ud800"}, "rule holds a lone surrogate"),
        ({"condition": ""}, "condition is empty: give a PromQL expression"),
        ({"condition": "cpu >"}, "condition cannot be evaluated: parse error: "),
        ({"condition": "cpu[5m]"}, "condition is a range of samples, not a value"),
        ({"condition": '"text"'}, "condition is a text: give"),
        ({"condition": "scalar(cpu)"}, "condition is a number, which would always be active"),
        ({"condition": "2 > bool 1"}, "condition is a number, which would always be active"),
        ({"condition": "cpu @ 1600000000 > 1"}, "condition is pinned to a fixed time by @"),
        ({"condition": "rate(cpu[32d]) > 1"}, "condition looks back over more than 31 days"),
        ({"condition": 'cpu{a=~"("} > 1'}, "condition cannot be evaluated: "),
        ({"condition": "x > " + "(" * 100}, "condition cannot be evaluated: more than 64 levels"),
        ({"clear_condition": "cpu["}, "clear_condition cannot be evaluated: parse error"),
        ({"for_ms": -1}, "for_ms is not valid: expected `int` >= 0"),
        ({"severity": "loud"}, "severity is not valid: invalid enum value 'loud'"),
        ({"series_max": 0}, "series_max is not valid: expected `int` >= 1"),
        ({"interval_ms": 999}, "interval_ms is 999; valid are 0 and 1000 or more"),
        ({"labels": {"alertname": "x"}}, "labels have 'alertname', which is the rule's name"),
        ({"labels": {"__x": "x"}}, "labels have '__x': names that begin with __ are reserved"),
        ({"labels": {"": "x"}}, "labels cannot be used: a tag has an empty name"),
        ({"labels": {"a": "{{ nope }}"}}, "labels have 'a', which cannot be expanded: the temp"),
        ({"annotations": {"a": "{{"}}, "annotations have 'a', which cannot be expanded: a temp"),
        ({"annotations": {"": "x"}}, "annotations have '': a name has 1 to 512 bytes"),
        ({"annotations": {"a": "ü" * 3_000}}, "annotations have 'a' with over 4096 bytes"),
        ({"annotations": {f"a{i}": "" for i in range(65)}}, "annotations are 65; at most 64"),
        ({"notify": ("a", "a")}, "notify names a receiver twice"),
        ({"notify": ("",)}, "notify names '', which no receiver can be called"),
        ({"notify": tuple(map(str, range(33)))}, "notify names 33 receivers; at most 32"),
        ({"description": "d" * 17_000}, "rule has 17"),
    ],
)
def test_a_bad_rule_is_told_what_is_wrong(changes: dict[str, Any], said: str) -> None:
    (problem, *_) = problems(of(**changes))
    assert sentence((problem,)).startswith(said)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"for_ms": 1_000}, "for_ms"),
        ({"keep_firing_for_ms": 1_000}, "keep_firing_for_ms"),
        ({"clear_condition": "up"}, "clear_condition"),
        ({"annotations": {"a": "b"}}, "annotations"),
        ({"notify": ("mail",)}, "notify"),
        ({"record": "a{b}"}, "record"),
    ],
)
def test_a_recording_rule_has_nothing_of_alerts(changes: dict[str, Any], field: str) -> None:
    assert [problem.field for problem in problems(recording(**changes))] == [field]


def test_all_problems_are_told_at_once() -> None:
    found = problems(of(name="", condition="", notify=("a", "a")))
    assert [problem.field for problem in found] == ["name", "condition", "notify"]


def test_a_rule_needs_what_both_of_its_conditions_read() -> None:
    needed = needs(GOOD)
    assert needed.lookback_ms == 65 * 60_000
    assert ["".join(map(str, matchers)) for matchers in needed.selectors] == [
        "__name__='cpu'host=~'a.*'",
        "__name__='cpu'",
    ]


def test_rules_whose_alerts_would_be_the_same_have_one_identity() -> None:
    assert identity(of(id="other", condition="x > 1")) == identity(GOOD)
    assert identity(of(severity="low")) != identity(GOOD)
    assert identity(of(labels={})) != identity(GOOD)
    assert identity(recording(id="other", name="n")) == identity(recording())
    assert identity(recording(condition="sum(x)")) != identity(recording())


@given(st.integers(0, 400 * DAY_MS))
def test_a_duration_is_read_back_as_it_was_written(duration_ms: int) -> None:
    assert parse_duration_ms(duration_text(duration_ms)) == duration_ms


@pytest.mark.parametrize("text", ["", "5", "m", "1m1h", "1h 1m", "-5m", "1.5h", "1x", "५m"])
def test_other_texts_are_no_durations(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration such as"):
        parse_duration_ms(text)


def test_a_duration_may_have_every_unit() -> None:
    assert parse_duration_ms("1y1w1d1h1m1s1ms") == sum(UNITS_MS.values())
