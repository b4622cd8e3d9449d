"""What a rule must be, what it needs, and which rules would make the same alerts.

Every refusal is one sentence that names the field; whoever takes a rule shows all of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import msgspec

from streams.domain.rule_syntax import (
    Matchers,
    fixed_times,
    lookback_ms,
    selectors,
    type_of,
)
from streams.domain.templates import template_problem
from streams.errors import QueryError
from streams.events.labels import NAME, NAME_BYTES_MAX, VALUE_BYTES_MAX, labels_problem
from streams.events.rules import Rule
from streams.promql.engine import instant_query
from streams.promql.limits import Limits
from streams.promql.matchers import matches
from streams.promql.parsing import parse
from streams.promql.source import MemorySource
from streams.promql.syntax import Expression

RULES_MAX: Final = 10_000
RULE_BYTES_MAX: Final = 16_384
"""Of a rule as JSON."""
NAME_CHARS_MAX: Final = 200
TEXT_CHARS_MAX: Final = 4_096
RECEIVERS_MAX: Final = 32
ANNOTATIONS_MAX: Final = 64
LOOKBACK_MS_MAX: Final = 31 * 86_400_000
INTERVAL_MS_MIN: Final = 1_000

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,63}", re.ASCII)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_AT = re.compile(r"(.*?)(?: - at `\$\.([a-z_]+).*`)?", re.DOTALL)
_LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with a field of a rule, as a sentence."""

    field: str
    reason: str


@dataclass(frozen=True, slots=True)
class Needs:
    """The series that a rule reads, and how old a sample may be that it depends on."""

    selectors: tuple[Matchers, ...]
    lookback_ms: int


Identity = tuple[str, str, str, tuple[tuple[str, str], ...]]


def identity(rule: Rule) -> Identity:
    """Rules with the same one would make alerts that nobody can tell apart. Recording rules may
    share a name where their expressions differ: several can make one metric."""
    labels = tuple(sorted(rule.labels.items()))
    if rule.record:
        return "record", rule.record, rule.condition, labels
    return "alert", rule.name, rule.severity, labels


def expressions(rule: Rule) -> tuple[Expression, ...]:
    """The trees of the condition and, where it has one, of the clear condition; for a rule without
    `problems`."""
    texts = (rule.condition, rule.clear_condition)
    return tuple(parse(text, _LIMITS) for text in texts if text)


def needs(rule: Rule) -> Needs:
    """What samples the rule asks for; for a rule without `problems`."""
    trees = expressions(rule)
    found = dict.fromkeys(matchers for tree in trees for matchers in selectors(tree))
    return Needs(tuple(found), max(map(lookback_ms, trees)))


def problems(rule: Rule) -> tuple[Problem, ...]:
    """All that is wrong with a rule; none: it can be evaluated."""
    if problem := _shape_problem(rule):
        return (problem,)
    found = [
        *_name_problems(rule),
        *_condition_problems(rule),
        *_label_problems(rule),
        *_annotation_problems(rule),
        *_receiver_problems(rule),
    ]
    found += _recording_problems(rule) if rule.record else []
    if 0 < rule.interval_ms < INTERVAL_MS_MIN:
        found.append(Problem("interval_ms", f"is {rule.interval_ms}; valid are 0 and 1000 or more"))
    return tuple(found)


def sentence(found: tuple[Problem, ...]) -> str:
    """All problems in one line, for a refusal.

    >>> sentence((Problem("name", "is empty"), Problem("condition", "is empty")))
    'name is empty; condition is empty'
    """
    return "; ".join(f"{problem.field} {problem.reason}" for problem in found)


def _shape_problem(rule: Rule) -> Problem | None:
    """Of a rule that was made here and not read, too: its types and ranges, its size."""
    try:
        body = msgspec.json.encode(rule)
        msgspec.json.decode(body, type=Rule)
    except UnicodeEncodeError:
        return Problem("rule", "holds a lone surrogate, which UTF-8 cannot write")
    except msgspec.ValidationError as error:
        match = _AT.fullmatch(str(error))
        assert match is not None
        return Problem(match[2] or "rule", f"is not valid: {match[1].lower()}")
    if len(body) > RULE_BYTES_MAX:
        return Problem("rule", f"has {len(body)} bytes as JSON; at most {RULE_BYTES_MAX} are taken")
    return None


def _name_problems(rule: Rule) -> Iterator[Problem]:
    if not _ID.fullmatch(rule.id):
        valid = "1 to 64 of the characters A-Z a-z 0-9 _ . : -, the first a letter or a digit"
        yield Problem("id", f"is {rule.id[:80]!r}; valid are {valid}")
    if not rule.name.strip():
        yield Problem("name", "is empty: say what the rule is about")
    elif len(rule.name) > NAME_CHARS_MAX:
        yield Problem("name", f"has {len(rule.name)} characters; at most {NAME_CHARS_MAX}")
    elif _CONTROL.search(rule.name):
        yield Problem("name", "holds a line break or another control character")
    if len(rule.description) > TEXT_CHARS_MAX:
        size = len(rule.description)
        yield Problem("description", f"has {size} characters; at most {TEXT_CHARS_MAX}")


def _condition_problems(rule: Rule) -> Iterator[Problem]:
    if reason := condition_problem(rule.condition, recording=bool(rule.record)):
        yield Problem("condition", reason)
    if rule.clear_condition and (reason := condition_problem(rule.clear_condition)):
        yield Problem("clear_condition", reason)


def condition_problem(text: str, *, recording: bool = False) -> str:
    """Why an expression cannot be a condition, or what a rule records; "" where it can.

    >>> condition_problem("2 > bool 1")[:41]
    'is a number, which would always be active'
    """
    if not text.strip():
        return "is empty: give a PromQL expression such as cpu_usage > 80"
    try:
        tree = parse(text, _LIMITS)
        for matchers in selectors(tree):
            for matcher in matchers:
                matches(matcher, [""])
        # over no series: what no series can make right is told at once
        instant_query(text, MemorySource({}), 0)
    except QueryError as error:
        return f"cannot be evaluated: {error}"
    match type_of(tree):
        case "scalar" if not recording:
            return "is a number, which would always be active: compare a metric with it"
        case "matrix":
            return "is a range of samples, not a value: put a function such as rate() around it"
        case "string":
            return "is a text: give a PromQL expression such as cpu_usage > 80"
        case _:
            pass
    if fixed_times(tree):
        return "is pinned to a fixed time by @: a rule looks back from now, with offset"
    days = LOOKBACK_MS_MAX // 86_400_000
    if lookback_ms(tree) > LOOKBACK_MS_MAX:
        return f"looks back over more than {days} days: record what it needs with another rule"
    return ""


def _label_problems(rule: Rule) -> Iterator[Problem]:
    if reason := labels_problem(rule.record or "alert", rule.labels):
        yield Problem("labels", f"cannot be used: {reason}")
        return
    for name, value in rule.labels.items():
        if name.startswith("__"):
            yield Problem("labels", f"have {name!r}: names that begin with __ are reserved")
        if name == "alertname" and not rule.record:
            yield Problem("labels", "have 'alertname', which is the rule's name")
        if reason := template_problem(value):
            yield Problem("labels", f"have {name!r}, which cannot be expanded: {reason}")


def _annotation_problems(rule: Rule) -> Iterator[Problem]:
    if len(rule.annotations) > ANNOTATIONS_MAX:
        yield Problem("annotations", f"are {len(rule.annotations)}; at most {ANNOTATIONS_MAX}")
    for name, value in rule.annotations.items():
        shown = repr(name[:80])
        if not name or name == NAME or len(name.encode()) > NAME_BYTES_MAX:
            yield Problem("annotations", f"have {shown}: a name has 1 to {NAME_BYTES_MAX} bytes")
        elif len(value.encode()) > VALUE_BYTES_MAX:
            yield Problem("annotations", f"have {shown} with over {VALUE_BYTES_MAX} bytes")
        elif reason := template_problem(value):
            yield Problem("annotations", f"have {shown}, which cannot be expanded: {reason}")


def _receiver_problems(rule: Rule) -> Iterator[Problem]:
    if len(rule.notify) > RECEIVERS_MAX:
        yield Problem("notify", f"names {len(rule.notify)} receivers; at most {RECEIVERS_MAX}")
    if len(set(rule.notify)) < len(rule.notify):
        yield Problem("notify", "names a receiver twice")
    for name in rule.notify:
        if not 0 < len(name) <= NAME_CHARS_MAX or _CONTROL.search(name):
            yield Problem("notify", f"names {name[:80]!r}, which no receiver can be called")


_OF_ALERTS: tuple[tuple[str, Callable[[Rule], object]], ...] = (
    ("for_ms", lambda rule: rule.for_ms),
    ("keep_firing_for_ms", lambda rule: rule.keep_firing_for_ms),
    ("clear_condition", lambda rule: rule.clear_condition),
    ("annotations", lambda rule: rule.annotations),
    ("notify", lambda rule: rule.notify),
)


def _recording_problems(rule: Rule) -> list[Problem]:
    found = [
        Problem(field, "has no meaning in a recording rule, which has no alerts")
        for field, value in _OF_ALERTS
        if value(rule)
    ]
    if "{" in rule.record or "}" in rule.record:
        found.append(Problem("record", "holds braces: it is the name of a metric, without labels"))
    return found
