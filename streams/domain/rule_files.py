"""Rule files of Prometheus, read and written.

https://prometheus.io/docs/prometheus/latest/configuration/recording_rules/, and the same groups in
the ``spec`` of a ``PrometheusRule`` of the Prometheus operator. What cannot be taken over is named,
with its line; what stands beside it is.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import yaml
from msgspec.structs import replace

from streams.domain.durations import duration_text, parse_duration_ms
from streams.domain.rule_yaml import (
    Fields,
    documents,
    fields_of,
    items_of,
    line_of,
    text_of,
    texts_of,
    written,
)
from streams.domain.rules import RULES_MAX, identity, problems, sentence
from streams.domain.templates import template_problem
from streams.errors import InputError, TooLarge
from streams.events.rules import Rule, Severity

FILE_CHARS_MAX: Final = 8 << 20
GROUP: Final = "logfire-mcp"

SEVERITIES: Final[Mapping[str, Severity]] = {
    "critical": "critical",
    "high": "high",
    "medium": "medium",
    "low": "low",
    "info": "info",
    "page": "critical",
    "error": "high",
    "warning": "medium",
    "none": "info",
}
"""Of a label ``severity``; "medium" for other words. A word that is not ours stays as a label."""

_OF_GROUPS = ("name", "interval", "limit", "labels", "rules")
_OF_RULES = ("alert", "record", "expr", "for", "keep_firing_for", "labels", "annotations")
_LEGACY_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_LEGACY_METRIC = re.compile(r"[A-Za-z_:][A-Za-z0-9_:]*", re.ASCII)
_USUAL = Rule(id="", version=1, name="", condition="")


@dataclass(frozen=True, slots=True)
class NotTaken:
    """What was left out of a file: a whole rule (``field`` is ""), or a field of it or of its group
    (``rule`` is "")."""

    line: int
    group: str
    rule: str
    field: str
    reason: str


@dataclass(frozen=True, slots=True)
class RuleFile:
    """What a file gives. The ids of rules follow from their group, name and labels (of a recording
    rule: from its expression too), so that the same file gives the same ids."""

    rules: tuple[Rule, ...]
    not_taken: tuple[NotTaken, ...]


def read_rules(text: str) -> RuleFile:
    """The rules of a file, each of which has no `problems`.

    `InputError` where it is no rule file at all, `TooLarge` over 8 Mi characters or 10,000 rules.
    """
    if len(text) > FILE_CHARS_MAX:
        raise TooLarge(f"a rule file of {len(text)} characters; at most {FILE_CHARS_MAX} are taken")
    reading = _Reading()
    try:
        for document in documents(text):
            reading.document(fields_of(document))
    except ValueError as error:
        raise InputError(f"the rule file cannot be read: {error}") from None
    return RuleFile(tuple(reading.rules), tuple(reading.not_taken))


def write_rules(rules: Sequence[Rule]) -> str:
    """A rule file of the rules that are enabled, in groups of one interval and limit, in order.

    What Prometheus has no word for is told in comments at the top, as are rules that are left out.
    """
    remarks: list[str] = []
    groups: dict[tuple[int, int], list[dict[str, object]]] = {}
    for rule in rules:
        if reason := _not_written(rule):
            remarks.append(f"{rule.name}: left out, {reason}")
            continue
        if unsaid := ", ".join(_unsaid(rule)):
            remarks.append(f"{rule.name}: without {unsaid}")
        groups.setdefault((rule.interval_ms, rule.series_max), []).append(_fields(rule))
    heading = "".join(f"# {' '.join(remark.split())}\n" for remark in remarks)
    return heading + written({"groups": [_group(*key, fields) for key, fields in groups.items()]})


class _Reading:
    """What was read so far."""

    def __init__(self) -> None:
        self.rules: list[Rule] = []
        self.not_taken: list[NotTaken] = []
        self._known: set[object] = set()

    def document(self, top: Fields) -> None:
        if "kind" in top:
            kind = text_of(top["kind"])
            if kind != "PrometheusRule" or "spec" not in top:
                raise ValueError(f"expected a PrometheusRule with a spec, not a {kind}")
            top = fields_of(top["spec"])
        if "groups" not in top:
            raise ValueError("it has no groups")
        for group in items_of(top["groups"]):
            self._group(fields_of(group))

    def _group(self, fields: Fields) -> None:
        group = text_of(fields["name"]) if "name" in fields else ""
        around = replace(_USUAL)
        for field, node in fields.items():
            try:
                around = _around(around, field, node)
            except ValueError as error:
                self._leave(node, group, "", field, str(error))
        nodes = items_of(fields["rules"]) if "rules" in fields else ()
        if len(self.rules) + len(nodes) > RULES_MAX:
            raise TooLarge(f"the rule file has more than {RULES_MAX} rules")
        for node in nodes:
            self._rule(node, group, around)

    def _rule(self, node: yaml.Node, group: str, around: Rule) -> None:
        name = ""
        try:
            fields = fields_of(node)
            name = _name(fields)
            rule = _rule(group, fields, around)
            rule = replace(rule, annotations=self._annotations(group, name, fields))
            if found := problems(rule):
                raise ValueError(sentence(found))
            if identity(rule) in self._known:
                raise ValueError("a rule before it in the file has the same name and labels")
        except ValueError as error:
            self._leave(node, group, name, "", str(error))
            return
        for field, value in fields.items():
            if field not in _OF_RULES:
                self._leave(value, group, name, field, "is not supported")
        self._known.add(identity(rule))
        self.rules.append(rule)

    def _annotations(self, group: str, rule: str, fields: Fields) -> dict[str, str]:
        """Those whose templates can be expanded."""
        taken: dict[str, str] = {}
        for name, node in (
            fields_of(fields["annotations"]).items() if "annotations" in fields else ()
        ):
            text = text_of(node)
            if reason := template_problem(text):
                self._leave(node, group, rule, f"annotations.{name}", reason)
            else:
                taken[name] = text
        return taken

    def _leave(self, node: yaml.Node, group: str, rule: str, field: str, reason: str) -> None:
        self.not_taken.append(NotTaken(line_of(node), group, rule, field, reason))


def _around(around: Rule, field: str, node: yaml.Node) -> Rule:
    """What a group's field says of all its rules."""
    match field:
        case "interval":
            return replace(around, interval_ms=parse_duration_ms(text_of(node)))
        case "limit":
            limit = int(text_of(node))
            return replace(around, series_max=limit) if limit else around
        case "labels":
            return replace(around, labels=texts_of(node))
        case _ if field in _OF_GROUPS:
            return around
        case _:
            raise ValueError("is not supported")


def _name(fields: Fields) -> str:
    if ("alert" in fields) == ("record" in fields):
        raise ValueError("a rule has either alert or record")
    return text_of(fields["alert"] if "alert" in fields else fields["record"])


def _rule(group: str, fields: Fields, around: Rule) -> Rule:
    texts = {
        field: text_of(fields[field]) if field in fields else ""
        for field in ("record", "expr", "for", "keep_firing_for")
    }
    labels = {**around.labels, **(texts_of(fields["labels"]) if "labels" in fields else {})}
    severity: Severity = "medium"
    if not texts["record"] and (word := labels.get("severity", "")):
        severity = SEVERITIES.get(word, "medium")
        if word == severity:
            del labels["severity"]
    condition = texts["expr"].strip()
    name = _name(fields)
    told = [group, name, severity, sorted(labels.items()), condition if texts["record"] else ""]
    digest = hashlib.blake2b(json.dumps(told).encode(), digest_size=10).hexdigest()
    return replace(
        around,
        id=f"file-{digest}",
        name=name,
        condition=condition,
        record=texts["record"],
        severity=severity,
        labels=labels,
        for_ms=parse_duration_ms(texts["for"] or "0"),
        keep_firing_for_ms=parse_duration_ms(texts["keep_firing_for"] or "0"),
    )


def _group(interval_ms: int, limit: int, rules: list[dict[str, object]]) -> dict[str, object]:
    name = GROUP
    fields: dict[str, object] = {}
    if interval_ms:
        fields["interval"] = duration_text(interval_ms)
        name += f"-{fields['interval']}"
    if limit != _USUAL.series_max:
        fields["limit"] = limit
        name += f"-limit-{limit}"
    return {"name": name, **fields, "rules": rules}


def _fields(rule: Rule) -> dict[str, object]:
    if rule.record:
        fields: dict[str, object] = {"record": rule.record, "expr": rule.condition}
        return {**fields, "labels": dict(rule.labels)} if rule.labels else fields
    annotations = dict(rule.annotations)
    if rule.description and "description" not in annotations:
        annotations["description"] = rule.description.replace("{{", '{{ "{{" }}')
    fields = {"alert": rule.name, "expr": rule.condition}
    if rule.for_ms:
        fields["for"] = duration_text(rule.for_ms)
    if rule.keep_firing_for_ms:
        fields["keep_firing_for"] = duration_text(rule.keep_firing_for_ms)
    fields["labels"] = {"severity": rule.severity, **rule.labels}
    return {**fields, "annotations": annotations} if annotations else fields


def _not_written(rule: Rule) -> str:
    if not rule.enabled:
        return "it is disabled"
    if rule.record and not _LEGACY_METRIC.fullmatch(rule.record):
        return f"Prometheus before 3.0 takes no metric called {rule.record!r}"
    for name in (*rule.labels, *rule.annotations):
        if not _LEGACY_NAME.fullmatch(name):
            return f"Prometheus before 3.0 takes no label or annotation called {name!r}"
    return ""


def _unsaid(rule: Rule) -> Iterator[str]:
    if rule.record:
        return
    if rule.cooldown_ms != _USUAL.cooldown_ms:
        yield f"cooldown {duration_text(rule.cooldown_ms)}"
    if rule.no_data != _USUAL.no_data:
        yield f"no_data {rule.no_data}"
    if rule.clear_condition:
        yield f"clear_condition {rule.clear_condition}"
    if rule.notify:
        yield f"notify {' '.join(rule.notify)}"
