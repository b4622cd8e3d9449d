"""PromQL requests that nobody would send on purpose, and some that somebody would, from a seed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from tests.api.fuzzing import mangled
from tests.promql.differential_data import BEGIN_MS
from tests.promql.expressions import OF_DATES, OF_SAMPLES, OF_WINDOWS, Expressions

BEGIN_S = BEGIN_MS // 1_000
EVALUATING = ("query", "query", "query", "query_range", "query_range")
READING = ("format_query", "parse_query", "query_exemplars", "series", "labels", "label/job/values")
PIECES = (
    "up", "level", "rate", "sum", "by", "on", "offset", "group_left", "and", "start()", "5m", "1",
    "(", ")", "[", "]", "{", "}", ":", "-", "@", '"', "\\x", "#", "=~", ",", "+", "^", " ", "1e999",
    "bool", "without", "0x", "le", "Inf", "`", "'", "\n", "\x00", "\ud7ff", "🙂", "==", "é",
)  # fmt: skip
DURATIONS = ("1ms", "1s", "1m", "1h", "1d", "1y", "99y", "0s", "1h30m")
ODD = (
    "", "0", "-1", "1e308", "NaN", "Inf", "-Inf", "9" * 400, "1.5", "0.0001", "1h", "soon", "é",
    "2023-11-14T22:30:00Z", "9999-12-31T23:59:59Z", "0001-01-01T00:00:00Z", "\x00", "1_0", " 1",
)  # fmt: skip


@dataclass(frozen=True)
class Asked:
    path: str
    fields: dict[str, str]


def requests(seed: int, count: int) -> Iterator[Asked]:
    """``count`` requests; most evaluate an expression, a third of these a good one."""
    chance = Random(seed)
    good = Expressions(seed)
    makers = (
        good.one,
        lambda: _spoiled(chance, good),
        lambda: _noise(chance),
        lambda: _deep(chance),
    )
    for number in range(count):
        expr = makers[number % len(makers)]()
        path = chance.choice(EVALUATING if chance.random() < 0.85 else READING)
        yield Asked(path, _fields(chance, path, expr))


def _fields(chance: Random, path: str, expr: str) -> dict[str, str]:
    fields = {"query": expr, "match[]": expr}
    if path == "query":
        fields["time"] = str(BEGIN_S + chance.randrange(3_600))
    else:
        fields |= {"start": str(BEGIN_S), "end": str(BEGIN_S + 3_600), "step": "300"}
    while chance.random() < 0.2:
        name = chance.choice((*fields, "timeout", "limit", "lookback_delta", "stats", "x"))
        fields[name] = chance.choice(ODD)
    return fields


def _spoiled(chance: Random, good: Expressions) -> str:
    """A good expression, some of its bytes or words changed."""
    expr = good.one()
    if chance.random() < 0.4:
        return mangled(chance, expr.encode()).decode("utf-8", "replace")
    words = expr.split(" ")
    for _ in range(chance.randrange(1, 4)):
        words[chance.randrange(len(words))] = chance.choice(PIECES)
    return " ".join(words)


def _noise(chance: Random) -> str:
    return "".join(chance.choices(PIECES, k=chance.randrange(40)))


def _deep(chance: Random) -> str:
    """Calls in calls, with windows and steps of any size."""
    expr = chance.choice(("up", "level", "requests_total", "latency_bucket", "1", "{job=~'.+'}"))
    for _ in range(chance.choice((1, 3, 8, 40, 90))):
        window = f"[{chance.choice(DURATIONS)}:{chance.choice(('', *DURATIONS))}]"
        expr = chance.choice(
            (
                f"{chance.choice(OF_WINDOWS)}(({expr}){window})",
                f"{chance.choice((*OF_SAMPLES, *OF_DATES))}({expr})",
                f"({expr}) or ({expr})" if len(expr) < 2_000 else f"({expr})",
                f'label_replace({expr}, "job", "$1$1$1$1$1$1", "job", "(.*)")',
                f'label_join({expr}, "job", "job", "job", "job", "job")',
                f"topk(1e300, {expr}) by (job)",
                f'count_values("job", {expr})',
                f"histogram_quantile({expr}, {expr})" if len(expr) < 200 else f"-({expr})",
            )
        )
    return expr
