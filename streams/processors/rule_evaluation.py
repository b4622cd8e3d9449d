"""The evaluation of rules at one tick over the hot store, with what they share done once."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np

from streams.domain.alert_memory import SAME_LABELS, Reading, Values
from streams.domain.rule_reading import LIMITS, Compiled, Threshold, compiled, reading, values_at
from streams.errors import QueryError
from streams.events.batch import MetricBatch, MetricType
from streams.events.labels import NAME, labels_problem, series_text
from streams.events.rules import Rule
from streams.processors.hot_store import HotStore, Newest
from streams.promql.operators import COMPARISON

NOT_RECORDED: Final = "a series of the result cannot be recorded: "


class Expressions:
    """Rules by id with their parsed expressions: a cache."""

    def __init__(self) -> None:
        self._compiled: dict[str, Compiled] = {}

    def of(self, rule: Rule) -> Compiled:
        """`QueryError` where an expression is none."""
        known = self._compiled.get(rule.id)
        if known is None or known.rule != rule:
            known = self._compiled[rule.id] = compiled(rule)
        return known

    def forget(self, rules: Collection[str]) -> None:
        """All but these."""
        if len(self._compiled) > len(rules):
            self._compiled = {key: value for key, value in self._compiled.items() if key in rules}


@dataclass
class TickReader:
    """What rules give at ``at_ms``; equal conditions are evaluated once."""

    store: HotStore
    at_ms: int

    def __post_init__(self) -> None:
        self._values: dict[str, Values | QueryError] = {}

    def read(self, rule: Compiled) -> Reading:
        """`QueryError` where the condition cannot be evaluated."""
        if rule.threshold is not None:
            return self._over(rule, rule.threshold)
        return reading(rule, self.values(rule), self.store, self.at_ms)

    def values(self, rule: Compiled) -> Values:
        """Those of the condition; `QueryError`."""
        text = rule.rule.condition
        if text not in self._values:
            try:
                self._values[text] = values_at(rule.condition, self.store, self.at_ms)
            except QueryError as error:
                self._values[text] = error
        found = self._values[text]
        if isinstance(found, QueryError):
            raise found
        return found

    @cached_property
    def _newest(self) -> Newest:
        return self.store.newest(self.at_ms, LIMITS.lookback_ms)

    def _over(self, rule: Compiled, threshold: Threshold) -> Reading:
        """What the engine gives for it, by comparing the newest samples at once."""
        rows = self.store.series.watch(threshold.matchers).rows()
        value, here = self._newest.value[rows], self._newest.here[rows]
        with np.errstate(invalid="ignore"):
            holds = COMPARISON[threshold.op](value, threshold.number) & here
        found = np.flatnonzero(holds)
        if not len(found):
            return reading(rule, {}, self.store, self.at_ms)
        nameless = self.store.series.nameless
        series = [nameless[row] for row in rows[found].tolist()]
        active = dict(zip(series, value[found].tolist(), strict=True))
        if len(active) != len(series):
            raise QueryError(SAME_LABELS)
        return reading(rule, active, self.store, self.at_ms)


def recorded(rule: Rule, values: Values, at_ms: int) -> tuple[MetricBatch, int]:
    """What a recording rule makes of its values: gauges with its name and labels, by label text, at
    most ``series_max`` of as many as are told beside. `QueryError` for a result that is no series.
    """
    texts: dict[str, float] = {}
    for series, value in values.items():
        labels = {**dict(series), **rule.labels}
        labels.pop(NAME, None)
        if problem := labels_problem(rule.record, labels):
            raise QueryError(NOT_RECORDED + problem)
        texts[series_text(rule.record, labels)] = value
    if len(texts) != len(values):
        raise QueryError("two series of the result differ in labels only that the rule sets")
    taken = sorted(texts)[: rule.series_max]
    batch = MetricBatch(
        labels=tuple(taken),
        types=(MetricType.GAUGE,) * len(taken),
        units=("",) * len(taken),
        series=np.arange(len(taken), dtype=np.int32),
        at_ms=np.full(len(taken), at_ms, dtype=np.int64),
        value=np.array([texts[text] for text in taken], dtype=np.float64),
    )
    return batch, len(texts)
