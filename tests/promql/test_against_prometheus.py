"""The engine agrees with a real Prometheus: the same values to 1e-9, or both refuse."""

from __future__ import annotations

import math
import re
import shutil
from collections.abc import Callable, Iterator

import pytest

from streams.errors import QueryError
from streams.promql.answer import Answer
from streams.promql.engine import instant_query, range_query
from streams.promql.functions import RANGE_FUNCTIONS, VECTOR_FUNCTIONS
from streams.promql.source import MemorySource
from tests.conftest import leave_out
from tests.promql.differential_data import BEGIN_MS, series
from tests.promql.expressions import Expressions
from tests.promql.prometheus_server import Found, PrometheusServer, Refused

EXPRESSIONS = 2_000
PER_TEST = 100
TOLERANCE = 1e-9
INSTANTS_MS = tuple(BEGIN_MS + 1_000 * at_s for at_s in (7, 1_207, 2_017, 2_997, 3_177))
START_MS, END_MS, STEP_MS = BEGIN_MS + 307_000, BEGIN_MS + 3_177_000, 170_000
NEWER = {
    *("first_over_time", "mad_over_time", "ts_of_first_over_time", "ts_of_last_over_time"),
    *("ts_of_max_over_time", "ts_of_min_over_time", "sort_by_label", "sort_by_label_desc"),
    *("histogram_avg", "histogram_stddev", "histogram_stdvar", "histogram_quantiles"),
    *("max_of", "min_of"),
    "histogram_fraction",  # version 2 has it for native histograms only
}
SORTED = ("sort(", "sort_desc(", "topk (", "bottomk (")


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrometheusServer]:
    program = shutil.which("prometheus")
    if program is None:
        leave_out("prometheus is not installed: apt-get install prometheus")
    server = PrometheusServer(program, tmp_path_factory.mktemp("prometheus"))
    server.write(series())
    yield server
    server.close()


@pytest.fixture(scope="module")
def memory() -> MemorySource:
    return MemorySource(series())


def test_prometheus_has_all_the_series(prometheus: PrometheusServer, memory: MemorySource) -> None:
    count = "count by (__name__) ({__name__!=''})"
    theirs = prometheus.range(count, START_MS, END_MS, STEP_MS)
    assert ranged(count, memory) == theirs
    assert len(theirs) == len({dict(labels)["__name__"] for labels in series()})


@pytest.mark.parametrize("part", range(EXPRESSIONS // PER_TEST))
def test_both_find_the_same(part: int, prometheus: PrometheusServer, memory: MemorySource) -> None:
    for expr in generated(part):
        for at_ms in INSTANTS_MS:
            theirs = prometheus.instant(older(expr), at_ms)
            problem = disagreement(at_once(expr, memory, at_ms), theirs, expr)
            assert problem is None, (expr, at_ms, problem)
        theirs = prometheus.range(older(expr), START_MS, END_MS, STEP_MS)
        problem = disagreement(ranged(expr, memory), theirs, expr)
        assert problem is None, (expr, problem)


def test_every_function_that_version_2_knows_is_called() -> None:
    known = {"absent_over_time", *RANGE_FUNCTIONS, *VECTOR_FUNCTIONS} - NEWER
    called = set()
    for part in range(EXPRESSIONS // PER_TEST):
        for expr in generated(part):
            called |= set(re.findall(r"([a-z0-9_]+)(?= ?\()", expr))
    assert known - called == set()


def generated(part: int) -> list[str]:
    """One test's expressions."""
    generator = Expressions(seed=part)
    return [generator.one() for _ in range(PER_TEST)]


def older(expr: str) -> str:
    """In the words of version 2."""
    return expr.replace("double_exponential_smoothing", "holt_winters")


def at_once(expr: str, memory: MemorySource, at_ms: int) -> Found | Refused:
    """Our answer at one time."""
    return found(lambda: instant_query(expr, memory, at_ms))


def ranged(expr: str, memory: MemorySource) -> Found | Refused:
    """Our answer over all the data."""
    return found(lambda: range_query(expr, memory, START_MS, END_MS, STEP_MS))


def found(query: Callable[[], Answer]) -> Found | Refused:
    """Our answer as the server's are."""
    try:
        answer = query()
    except QueryError as refusal:
        return Refused(str(refusal))
    result: Found = {}
    for row, labels in enumerate(answer.labels):
        some = slice(answer.offsets[row], answer.offsets[row + 1])
        result[labels] = list(
            zip(answer.at_ms[some].tolist(), answer.value[some].tolist(), strict=True)
        )
    return result


def disagreement(ours: Found | Refused, theirs: Found | Refused, expr: str) -> str | None:
    """The first difference that matters, in words."""
    if isinstance(ours, Refused) or isinstance(theirs, Refused):
        both = isinstance(ours, Refused) and isinstance(theirs, Refused)
        return None if both else f"ours {ours!s:.300}, theirs {theirs!s:.300}"
    if ours.keys() != theirs.keys():
        return f"only ours {ours.keys() - theirs.keys()}, only theirs {theirs.keys() - ours.keys()}"
    for labels, samples in ours.items():
        if [at_ms for at_ms, _ in samples] != [at_ms for at_ms, _ in theirs[labels]]:
            return f"other times at {labels}"
        for (at_ms, our), (_, their) in zip(samples, theirs[labels], strict=True):
            if not close(our, their):
                return f"{our} is not {their} at {labels} {at_ms}"
    if expr.startswith(SORTED) and all(len(samples) == 1 for samples in ours.values()):
        orders = [[value for ((_, value),) in side.values()] for side in (ours, theirs)]
        if not all(map(close, *orders)):
            return f"order {orders[0]} is not {orders[1]}"
    return None


def close(one: float, other: float) -> bool:
    return (math.isnan(one) and math.isnan(other)) or math.isclose(
        one, other, rel_tol=TOLERANCE, abs_tol=TOLERANCE
    )
