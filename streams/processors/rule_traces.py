"""Which call a transition of an alert comes of: what its trace is to go on."""

from __future__ import annotations

import numpy as np

from streams.events.alerting import Transition
from streams.events.catalogue import EventData
from streams.processors.rule_homes import Editing
from streams.processors.rule_inputs import Inputs
from streams.processors.rule_needs import needs_of


class Traces:
    """For the events of one tick of one home. Follows from the samples of the look-back alone."""

    def __init__(self, rules: Editing, inputs: Inputs, at_ms: int) -> None:
        self._rules = rules
        self._series = inputs.store.series
        self._traced = inputs.traced(at_ms)
        self._of_rule: dict[str, str] = {}

    def of(self, told: EventData) -> str:
        """The traceparent of the last call that brought samples which an alert's rule reads; ""
        where none was traced, and for what is no transition."""
        if not self._traced or not isinstance(told, Transition):
            return ""
        rule_id = told.alert.alert_id
        if rule_id not in self._of_rule:
            self._of_rule[rule_id] = self._find(rule_id)
        return self._of_rule[rule_id]

    def _find(self, rule_id: str) -> str:
        homed = self._rules.rules.get(rule_id)
        rule = None if homed is None else homed.in_force()
        if rule is None:
            return ""
        read = [self._series.watch(matchers).rows() for matchers in needs_of(rule).selectors]
        for kept in self._traced:
            numbers = self._series.numbers(kept.labels)
            if any(np.isin(numbers, rows).any() for rows in read):
                return kept.traceparent
        return ""
