"""Rule files of Prometheus: what is taken over, what is named as not taken, what is written."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from streams.domain.default_rules import DEFAULT_RULES
from streams.domain.rule_files import FILE_CHARS_MAX, read_rules, write_rules
from streams.domain.rules import problems
from streams.errors import InputError, TooLarge
from streams.events.rules import Rule
from tests.effort import examples

SHOP = """\
# of a shop that does not exist
groups:
- name: checkout
  interval: 30s
  limit: 20
  labels: {team: shop, severity: page}
  rules:
  - record: checkout:errors:rate5m
    expr: |
      sum by (zone) (rate(checkout_errors_total[5m]))
    labels: {window: 5m}
  - alert: CheckoutFails
    expr: checkout:errors:rate5m > 1e3
    for: 5m
    keep_firing_for: 1h30m
    labels:
      severity: warning
      on: yes
    annotations:
      summary: '{{ $labels.zone }} fails {{ $value | humanize }} times a second'
      runbook:
  - {alert: CheckoutGone, expr: absent(checkout_requests_total)}
- name: empty
  rules:
"""

OPERATOR = """\
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: shop
spec:
  groups:
  - name: checkout
    rules:
    - alert: CheckoutSlow
      expr: checkout_seconds > 2
      labels: {severity: info}
---
"""


def test_alerts_and_recordings_are_read_with_what_their_group_says() -> None:
    found = read_rules(SHOP)
    assert found.not_taken == ()
    record, fails, gone = found.rules
    assert record == Rule(
        id=record.id,
        version=1,
        name="checkout:errors:rate5m",
        condition="sum by (zone) (rate(checkout_errors_total[5m]))",
        record="checkout:errors:rate5m",
        labels={"team": "shop", "severity": "page", "window": "5m"},
        interval_ms=30_000,
        series_max=20,
    )
    assert fails == Rule(
        id=fails.id,
        version=1,
        name="CheckoutFails",
        condition="checkout:errors:rate5m > 1e3",
        severity="medium",
        for_ms=300_000,
        keep_firing_for_ms=5_400_000,
        labels={"team": "shop", "severity": "warning", "on": "yes"},
        annotations={
            "summary": "{{ $labels.zone }} fails {{ $value | humanize }} times a second",
            "runbook": "",
        },
        interval_ms=30_000,
        series_max=20,
    )
    assert (gone.severity, gone.labels) == ("critical", {"team": "shop", "severity": "page"})


def test_a_rule_of_the_prometheus_operator_is_read() -> None:
    (rule,) = read_rules(OPERATOR).rules
    assert (rule.name, rule.severity, rule.labels) == ("CheckoutSlow", "info", {})


def test_the_same_file_gives_the_same_ids_and_no_two_rules_have_one() -> None:
    first, again = read_rules(SHOP).rules, read_rules(SHOP).rules
    assert [rule.id for rule in first] == [rule.id for rule in again]
    assert len({rule.id for rule in first}) == 3


def test_what_is_not_supported_is_named_with_its_line_and_the_rest_is_taken() -> None:
    text = """\
groups:
- name: g
  query_offset: 1m
  interval: soon
  rules:
  - alert: A
    expr: up == 0
    priority: 7
    annotations:
      good: '{{ $value }}'
      bad: '{{ query "up" | first | value }}'
  - alert: B
    expr: up ==
  - alert: C
    expr: up
    for: long
  - {expr: up}
  - {alert: D, record: d, expr: up}
  - {alert: E, expr: up, labels: {a: '{{ $externalLabels.a }}'}}
  - {alert: A, expr: up == 2}
  - [F]
"""
    found = read_rules(text)
    assert [(rule.name, rule.annotations) for rule in found.rules] == [
        ("A", {"good": "{{ $value }}"})
    ]
    said = [(each.line, each.rule, each.field, each.reason[:52]) for each in found.not_taken]
    assert said == [
        (3, "", "query_offset", "is not supported"),
        (4, "", "interval", "'soon' is not a duration such as 30s, 5m or 1h30m"),
        (11, "A", "annotations.bad", "the template function query is not supported"),
        (8, "A", "priority", "is not supported"),
        (12, "B", "", "condition cannot be evaluated: parse error: invalid "),
        (14, "C", "", "'long' is not a duration such as 30s, 5m or 1h30m"),
        (17, "", "", "a rule has either alert or record"),
        (18, "", "", "a rule has either alert or record"),
        (19, "E", "", "labels have 'a', which cannot be expanded: the templ"),
        (20, "A", "", "a rule before it in the file has the same name and l"),
        (21, "", "", "line 21: expected fields, not a list"),
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("groups: [", "the rule file cannot be read: while parsing a flow node"),
        ("- a", "the rule file cannot be read: line 1: expected fields, not a list"),
        ("rules: []", "the rule file cannot be read: it has no groups"),
        ("kind: Pod", "the rule file cannot be read: expected a PrometheusRule with a spec, not a"),
        ("groups: []\ngroups: []", "the rule file cannot be read: line 2: groups is there twice"),
        ("groups: " + "[" * 200_000, "the rule file cannot be read: line 1: it nests more than 32"),
        (
            "groups:\n- " + "- " * 200_000,
            "the rule file cannot be read: line 2: it nests more than",
        ),
        ("groups: &a [*a]", "the rule file cannot be read: line 1: expected fields, not a list"),
    ],
)
def test_what_is_no_rule_file_is_refused(text: str, said: str) -> None:
    with pytest.raises(InputError) as refused:
        read_rules(text)
    assert str(refused.value).startswith(said)


def test_a_file_that_is_too_large_is_refused() -> None:
    with pytest.raises(TooLarge):
        read_rules(" " * (FILE_CHARS_MAX + 1))
    many = "".join(f"\n  - {{alert: A{i}, expr: up}}" for i in range(10_001))
    with pytest.raises(TooLarge):
        read_rules("groups:\n- rules:" + many)


def test_what_prometheus_has_no_word_for_is_told_in_the_file() -> None:
    rule = Rule(id="a", version=3, name="A", condition="up == 0", description="{{ is told }}")
    text = write_rules(
        [
            structs.replace(rule, cooldown_ms=0, no_data="alert", notify=("mail", "chat")),
            structs.replace(rule, name="Off\nhere", enabled=False),
            structs.replace(rule, name="B", labels={"with space": "x"}),
        ]
    )
    assert text.splitlines()[:3] == [
        "# A: without cooldown 0s, no_data alert, notify mail chat",
        "# Off here: left out, it is disabled",
        "# B: left out, Prometheus before 3.0 takes no label or annotation called 'with space'",
    ]
    (written,) = read_rules(text).rules
    assert written.annotations == {"description": '{{ "{{" }} is told }}'}


TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=20)
NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,9}", fullmatch=True).filter(
    lambda name: not name.startswith("__") and name not in ("alertname", "severity")
)
CONDITIONS = st.sampled_from(["up == 0", "rate(a[5m]) > 1", 'absent(b{c="\\n"})', "vector(1)"])
SPANS_MS = st.integers(0, 10**10)


@st.composite
def rules(draw: st.DrawFn) -> Rule:
    """What a rule file can say."""
    rule = Rule(
        id="x",
        version=1,
        name=draw(TEXTS.filter(lambda name: bool(name.strip()))),
        condition=draw(CONDITIONS),
        labels=draw(st.dictionaries(NAMES, TEXTS, max_size=3)),
        interval_ms=draw(st.sampled_from([0, 0, 30_000, 90_500])),
        series_max=draw(st.sampled_from([1_000, 1_000, 7])),
    )
    if draw(st.booleans()):
        record = draw(NAMES)
        return structs.replace(rule, name=record, record=record)
    return structs.replace(
        rule,
        severity=draw(st.sampled_from(["critical", "high", "medium", "low", "info"])),
        for_ms=draw(SPANS_MS),
        keep_firing_for_ms=draw(SPANS_MS),
        annotations=draw(st.dictionaries(NAMES, TEXTS, max_size=3)),
    )


GOOD_RULES = st.lists(rules(), max_size=8, unique_by=lambda r: r.name).map(
    lambda drawn: [rule for rule in drawn if not problems(rule)]
)


@given(GOOD_RULES)
@settings(max_examples=examples(100), deadline=None)
def test_what_is_written_is_read_back(drawn: list[Rule]) -> None:
    found = read_rules(write_rules(drawn))
    assert found.not_taken == ()
    by_name = {rule.name: structs.replace(rule, id="") for rule in drawn}
    assert {rule.name: structs.replace(rule, id="") for rule in found.rules} == by_name


def test_promtool_accepts_what_is_written(tmp_path: Path, requires: Callable[[str], str]) -> None:
    promtool = requires("promtool")
    own = [*DEFAULT_RULES, *read_rules(SHOP).rules, *read_rules(OPERATOR).rules]
    odd = Rule(
        id="odd",
        version=1,
        name="☂: - 'x' \"y\" #",
        condition='a{b="\\\\ü"} > 1',
        description="{{ {{ no template }}",
        annotations={"text": "line\nline: {{ printf `%.2f` $value }}\t☂"},
    )
    (tmp_path / "rules.yml").write_text(write_rules([*own, odd]))
    done = subprocess.run(
        [promtool, "check", "rules", "--lint=all", "--lint-fatal", "rules.yml"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"SUCCESS: {len(own) + 1} rules found" in done.stdout
