"""One function for each path below ``/api/v1``: they block, so call them from a thread."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import Any

from mcp_api.prometheus_api import alerting
from mcp_api.prometheus_api.encoding import TRUNCATED, Reply, encode_answer
from mcp_api.prometheus_api.parameters import Parameters, invalid
from mcp_api.prometheus_api.syntax_json import formatted, tree_json
from projections.alert_queries import AlertQueries
from projections.promql_labels import Selectors, parse_selectors
from projections.promql_queries import LIMITS, LOOKBACK_MS_MAX, PromqlQueries
from streams.errors import InputError, QuerySyntaxError, QueryTooLarge
from streams.events.batch import AT_MS_MAX, AT_MS_MIN
from streams.promql.answer import Answer

SPOKEN_VERSION = "3.8.0"
"""Of Prometheus: whose expressions and answers these are; clients choose by it what they ask."""

QUERY_LIMITS = replace(LIMITS, steps_max=LIMITS.steps_max + 1)
"""A range has 11,000 steps after its first point, as in Prometheus; Grafana asks for all."""

SERIES_MAX = 100_000
NAMES_MAX = 100_000
SAMPLES_MAX = 1_000_000
"""In one answer: about 30 MB of JSON."""
SELECTORS_MAX = 100
"""In one request: each is looked for among all series."""
CARDINALITY_DEFAULT, CARDINALITY_MAX = 10, 10_000


@dataclass(frozen=True, slots=True)
class Asked:
    """A request, as an endpoint sees it; ``label`` is the one in the path. ``timeout_s`` bounds it
    whatever it asks for."""

    queries: PromqlQueries
    alerts: AlertQueries
    parameters: Parameters
    now_ms: int
    timeout_s: float
    label: str = ""

    def time_left_s(self) -> float:
        """What its ``timeout`` says, at most ``timeout_s``."""
        asked = self.parameters.duration_ms("timeout")
        return self.timeout_s if asked is None else min(max(asked / 1_000, 0.0), self.timeout_s)

    def lookback_ms(self) -> int | None:
        """None: the default."""
        asked = self.parameters.duration_ms("lookback_delta")
        if asked is not None and not 0 < asked <= LOOKBACK_MS_MAX:
            raise invalid("lookback_delta", "it must be positive, and at most a year")
        return asked

    def selectors(self) -> Sequence[str]:
        """Each ``match[]``."""
        asked = self.parameters.all("match[]")
        if len(asked) > SELECTORS_MAX:
            raise invalid("match[]", f"there are {len(asked)}, at most {SELECTORS_MAX} are taken")
        return asked

    def matchers(self) -> Selectors:
        """The matchers of each ``match[]``."""
        with _blaming("match[]"):
            return parse_selectors(self.selectors(), QUERY_LIMITS)

    def range_ms(self) -> tuple[int, int]:
        """``start`` and ``end``, by default of all time; nothing lies in one that ends first."""
        start_ms = self.parameters.time_ms("start", AT_MS_MIN)
        end_ms = self.parameters.time_ms("end", AT_MS_MAX)
        return max(start_ms, AT_MS_MIN), min(end_ms, AT_MS_MAX)


def query(asked: Asked) -> Reply:
    """An expression at one time."""
    at_ms = asked.parameters.time_ms("time", asked.now_ms)
    limit = asked.parameters.limit("limit", SERIES_MAX)
    lookback_ms, timeout_s = asked.lookback_ms(), asked.time_left_s()
    with _blaming("query"):
        answer = asked.queries.instant(
            asked.parameters.text("query"), at_ms, lookback_ms=lookback_ms, timeout_s=timeout_s
        )
    return _limited(answer, limit, at_ms)


def query_range(asked: Asked) -> Reply:
    """An expression at each step of a range."""
    parameters = asked.parameters
    start_ms, end_ms = parameters.time_ms("start"), parameters.time_ms("end")
    if end_ms < start_ms:
        raise invalid("end", "end timestamp must not be before start time")
    limit = parameters.limit("limit", SERIES_MAX)
    step_ms = parameters.duration_ms("step")
    if step_ms is None:
        raise invalid("step", 'cannot parse "" to a valid duration')
    if step_ms <= 0:
        raise invalid("step", "zero or negative steps are not accepted; try a positive number")
    steps_max = QUERY_LIMITS.steps_max
    if (end_ms - start_ms) // step_ms + 1 > steps_max:
        raise InputError(
            f"exceeded maximum resolution of {steps_max:,} points per timeseries; "
            "try a larger step",
            field="step",
        )
    lookback_ms, timeout_s = asked.lookback_ms(), asked.time_left_s()
    with _blaming("query"):
        answer = asked.queries.range_(
            parameters.text("query"),
            start_ms,
            end_ms,
            step_ms,
            lookback_ms=lookback_ms,
            timeout_s=timeout_s,
        )
    return _limited(answer, limit, end_ms)


def series(asked: Asked) -> Reply:
    """The series that selectors mean."""
    selectors = asked.selectors()
    if not selectors:
        raise InputError("no match[] parameter provided", field="match[]")
    limit = asked.parameters.limit("limit", SERIES_MAX)
    start_ms, end_ms = asked.range_ms()
    with _blaming("match[]"):
        found = asked.queries.series(
            selectors, start_ms, end_ms, limit=limit, timeout_s=asked.time_left_s()
        )
    return Reply.of([dict(labels) for labels in found.labels], truncated=found.truncated)


def labels(asked: Asked) -> Reply:
    """The names of labels."""
    limit = asked.parameters.limit("limit", NAMES_MAX)
    start_ms, end_ms = asked.range_ms()
    with _blaming("match[]"):
        names = asked.queries.labels(
            asked.selectors(),
            start_ms,
            end_ms,
            limit=limit,
            timeout_s=asked.time_left_s(),
        )
    return Reply.of(names.values, truncated=names.truncated)


def label_values(asked: Asked) -> Reply:
    """The values of the label in the path."""
    name = unescaped(asked.label)
    if not name:
        raise InputError('invalid label name: ""', field="label")
    limit = asked.parameters.limit("limit", NAMES_MAX)
    start_ms, end_ms = asked.range_ms()
    with _blaming("match[]"):
        values = asked.queries.label_values(
            name,
            asked.selectors(),
            start_ms,
            end_ms,
            limit=limit,
            timeout_s=asked.time_left_s(),
        )
    return Reply.of(values.values, truncated=values.truncated)


def metadata(asked: Asked) -> Reply:
    """Type and unit of metrics; nobody tells us a help text."""
    limit = asked.parameters.limit("limit", NAMES_MAX)
    per_metric = asked.parameters.limit("limit_per_metric", NAMES_MAX)
    found = asked.queries.metadata(
        metric=asked.parameters.text("metric") or None,
        limit=limit,
        timeout_s=asked.time_left_s(),
    )
    return Reply.of(
        {
            name: [
                {"type": one.type or "unknown", "help": "", "unit": one.unit}
                for one in told[:per_metric]
            ]
            for name, told in found.items()
        }
    )


def targets(asked: Asked) -> Reply:  # noqa: ARG001 - every endpoint takes what is asked
    """None: what is measured is sent here, nothing is scraped."""
    return Reply.of({"activeTargets": [], "droppedTargets": [], "droppedTargetCounts": {}})


def query_exemplars(asked: Asked) -> Reply:
    """None are kept; what is asked is looked at all the same."""
    start_ms, end_ms = asked.range_ms()
    if end_ms < start_ms:
        raise invalid("end", "end timestamp must not be before start timestamp")
    with _blaming("query"):
        tree_json(asked.parameters.text("query"), LIMITS)
    return Reply.of([])


def buildinfo(asked: Asked) -> Reply:  # noqa: ARG001 - every endpoint takes what is asked
    """`SPOKEN_VERSION`; who answers is in ``application`` and ``revision``."""
    return Reply.of(
        {
            "version": SPOKEN_VERSION,
            "revision": version("logfire-mcp-server"),
            "branch": "",
            "buildUser": "",
            "buildDate": "",
            "goVersion": "",
            "application": "logfire-mcp-server",
        }
    )


def tsdb(asked: Asked) -> Reply:
    """What makes most of the series."""
    text = asked.parameters.text("limit")
    limit = asked.parameters.limit("limit", CARDINALITY_MAX) if text else CARDINALITY_DEFAULT
    found = asked.queries.cardinality(limit=limit, timeout_s=asked.time_left_s())
    pairs = {f"{name}={value}": count for (name, value), count in found.series_by_pair.items()}
    return Reply.of(
        {
            "headStats": {
                "numSeries": found.series,
                "numLabelPairs": found.label_pairs,
                "chunkCount": 0,
                "minTime": found.first_ms or 0,
                "maxTime": found.last_ms or 0,
            },
            "seriesCountByMetricName": _counted(found.series_by_metric),
            "labelValueCountByLabelName": _counted(found.values_by_label),
            "memoryInBytesByLabelName": _counted(found.bytes_by_label),
            "seriesCountByLabelValuePair": _counted(pairs),
        }
    )


def format_query(asked: Asked) -> Reply:
    """An expression in its usual layout."""
    with _blaming("query"):
        return Reply.of(formatted(asked.parameters.text("query"), LIMITS))


def parse_query(asked: Asked) -> Reply:
    """The syntax tree of an expression."""
    with _blaming("query"):
        return Reply.of(tree_json(asked.parameters.text("query"), LIMITS))


ENDPOINTS: Mapping[str, Callable[[Asked], Reply]] = {
    "query": query,
    "query_range": query_range,
    "query_exemplars": query_exemplars,
    "format_query": format_query,
    "parse_query": parse_query,
    "series": series,
    "labels": labels,
    "label/{name}/values": label_values,
    "metadata": metadata,
    "targets": targets,
    "rules": alerting.rules,
    "alerts": alerting.alerts,
    "status/buildinfo": buildinfo,
    "status/tsdb": tsdb,
}


def unescaped(name: str) -> str:
    """A label's name as paths carry it: ``U__`` begins one whose odd characters are ``_hex_``.

    https://github.com/prometheus/proposals/blob/main/proposals/0028-utf8.md

    >>> unescaped("U__service_2e_name"), unescaped("U__a__b"), unescaped("job")
    ('service.name', 'a_b', 'job')
    """
    if not name.startswith("U__"):
        return name
    return re.sub(r"__|_([0-9a-fA-F]{1,6})_", _character, name[3:])


def _character(match: re.Match[str]) -> str:
    number = int(match[1], 16) if match[1] else ord("_")
    if number > 0x10FFFF or 0xD800 <= number <= 0xDFFF:
        return match[0]
    return chr(number)


@contextmanager
def _blaming(parameter: str) -> Iterator[None]:
    """Names the parameter in the error of an expression that is none."""
    try:
        yield
    except QuerySyntaxError as error:
        raise invalid(parameter, str(error)) from error


def _limited(answer: Answer, limit: int, at_ms: int) -> Reply:
    count = min(len(answer.labels), limit)
    samples = len(answer.value) if not answer.labels else int(answer.offsets[count])
    if samples > SAMPLES_MAX:
        raise QueryTooLarge(
            f"the answer has {samples:,} samples, at most {SAMPLES_MAX:,} are sent: "
            "ask for fewer series, a shorter range or a larger step"
        )
    if count == len(answer.labels):
        return encode_answer(answer, at_ms)
    cut = Answer(
        answer.kind,
        answer.labels[:count],
        answer.offsets[: count + 1],
        answer.at_ms[:samples],
        answer.value[:samples],
        answer.text,
        answer.warnings,
        answer.infos,
    )
    reply = encode_answer(cut, at_ms)
    return Reply(reply.data, (*reply.warnings, TRUNCATED), reply.infos)


def _counted(counts: Mapping[str, int]) -> list[dict[str, Any]]:
    return [{"name": name, "value": count} for name, count in counts.items()]
