"""A generator of expressions that Prometheus 2.42 and 3 understand in the same way.

What it does not say, as version 3 does otherwise on purpose: ``rate`` and ``increase`` of what is
no counter (stretched to zero by other steps), subqueries whose bounds meet their steps (the left
one is left out), comparisons of series that match several (refused also where all but one are
filtered out), ``stddev`` where NaN or Inf may come alone (0 became NaN), ``atan2`` of vectors where
the name can be seen (it was kept). And what 2.42 mistakes: windows with ``@`` beside an argument
that changes with the step (steps are lost), ``timestamp`` of a selector with ``@`` and ``offset``
(nothing).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import TypeVar

from tests.promql.differential_data import BEGIN_MS

T = TypeVar("T")

COUNTERS = ("requests_total", "latency_bucket")
GAUGES = ("temperature", "flaky", "level", "odd", "single", "target", "extreme")
COMMON = ('job="api"', 'job!="db"', 'job=~"a.*|web"', 'job!~".*b"', 'job!="", job!="q"')
TARGETS = (*COMMON, 'instance="1"', 'instance=~"[02]"', 'instance=~"0|1"', 'instance!~"2|"')
MATCHERS = {
    "latency_bucket": (*COMMON, 'le=~"1|.Inf|0[.].*"', 'le!="0.5"'),
    "requests_total": TARGETS,
    "temperature": (*TARGETS, 'zone!=""', 'zone=~"[aw]?"'),
    "flaky": (*TARGETS, 'zone=""'),
    "level": TARGETS,
    "target": (*COMMON, 'version=~"v."'),
    "odd": (
        'label=~"a[.]b.*"', 'label=~".+"', r'label="quo\"te"', r'label=~".*\\\\.*"',
        'label="größe ✓"', 'other!~"1|2"', 'label=""', 'label=~"|.*✓"',
    ),
    "single": ('job=""', 'job!~".+"'),
    "extreme": ('job=""', 'job="never"'),
    "gone": TARGETS,
}  # fmt: skip
RANGES = ("40s", "1m", "2m30s", "5m", "13m20s")
OF_COUNTERS = ("rate", "increase", "irate", "resets", "changes")
OF_WINDOWS = (
    "delta", "idelta", "deriv", "changes", "resets", "avg_over_time", "min_over_time",
    "max_over_time", "sum_over_time", "count_over_time", "stddev_over_time", "stdvar_over_time",
    "last_over_time", "present_over_time", "absent_over_time",
)  # fmt: skip
OF_SAMPLES = (
    "abs", "acos", "acosh", "asin", "asinh", "atan", "atanh", "ceil", "cos", "cosh", "deg", "exp",
    "floor", "ln", "log10", "log2", "rad", "round", "sgn", "sin", "sinh", "sqrt", "tan", "tanh",
    "absent", "sort", "sort_desc", "histogram_count", "histogram_sum",
)  # fmt: skip
OF_DATES = (
    "day_of_month", "day_of_week", "day_of_year", "days_in_month", "hour", "minute", "month",
    "year",
)  # fmt: skip
AGGREGATIONS = ("sum", "avg", "min", "max", "count", "group")
ARITHMETIC = ("+", "-", "*", "/", "%", "^", "atan2")
COMPARISONS = ("==", "!=", ">", "<", ">=", "<=")
LABELS = ("job", "instance", "zone", "le", "label", "absent")
NUMBERS = ("0", "1", "2.5", "-3", "0.1", "1e3", "NaN", "Inf", "-Inf", "0x1F", "20")


class Expressions:
    """Random expressions, the same for the same seed; ``depth`` levels of functions at most."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)

    def one(self) -> str:
        """Of any type that a query may have."""
        return self._any((self.vector,) * 12 + (self.scalar,))(3)

    def vector(self, depth: int) -> str:
        if depth <= 0:
            return self.selector()
        kinds: Sequence[Callable[[int], str]] = (
            self.of_window,
            self.of_window,
            self.of_sample,
            self.aggregation,
            self.aggregation,
            self.binary,
            self.binary,
            self.matched,
            self.joined,
            self.set_operation,
            self.relabelled,
            self.special,
            lambda _: self.selector(),
        )
        return self._any(kinds)(depth - 1)

    def selector(self, names: Sequence[str] = COUNTERS + GAUGES) -> str:
        return self.series(names) + self._shift()

    def series(self, names: Sequence[str]) -> str:
        name = self._any(names)
        matchers = self._random.sample(MATCHERS[name], self._random.choice((0, 0, 0, 1, 1, 2)))
        if len(names) > 1 and self._chance(0.1):
            return "{" + ",".join([f'__name__=~"{names[0]}|{name}"', *matchers]) + "}"
        return f"{name}{{{','.join(matchers)}}}"

    def _shift(self, *, pinnable: bool = True) -> str:
        shift = self._any(("", "", "", "", " offset 1m20s", " offset -40s", " offset 7m"))
        at = BEGIN_MS // 1000 + 7 + 10 * self._random.randrange(20, 280)
        pinned = self._any(("",) * 6 + (f" @ {at}", " @ start()", " @ end()"))
        return self._any((shift + pinned, pinned + shift)) if pinnable else shift

    def window(self, depth: int, *, pinnable: bool = True) -> str:
        shift = self._shift(pinnable=pinnable)
        if depth > 0 and self._chance(0.35):
            # No subquery within a subquery: the inner one's bounds would meet its steps.
            body = self._any((self.selector, self.simple))()
            return f"({body})[{self._any(RANGES)}:{self._any(('10s', '20s', '1m', '2m'))}]{shift}"
        return f"{self.series(GAUGES + COUNTERS)}[{self._any(RANGES)}]{shift}"

    def simple(self) -> str:
        """A vector without windows."""
        return self._any(
            (
                lambda: f"{self._any(AGGREGATIONS[:5])} by (job) ({self.selector(GAUGES[:3])})",
                lambda: f"abs({self.selector(GAUGES)})",
                lambda: f"{self.selector()} > {self._any(NUMBERS)}",
            )
        )()

    def of_window(self, depth: int) -> str:
        kind = self._random.random()
        if kind < 0.3:
            window = f"{self.series(COUNTERS)}[{self._any(RANGES)}]{self._shift()}"
            return f"{self._any(OF_COUNTERS)}({window})"
        if kind < 0.8:
            return f"{self._any(OF_WINDOWS)}({self.window(depth)})"
        if kind < 0.9:
            window = self.window(depth, pinnable=False)
            return f"quantile_over_time({self.share(depth)}, {window})"
        if kind < 0.95:
            window = self.window(depth, pinnable=False)
            return f"predict_linear({window}, {self._any(('60', '-600', '3600'))})"
        factors = self._any(("0.3, 0.6", "0.5, 0.1", "0.9, 0.9", "0.5, 1", "0, 0.5"))
        return f"double_exponential_smoothing({self.window(depth)}, {factors})"

    def of_sample(self, depth: int) -> str:
        kind = self._random.random()
        if kind < 0.6:
            return f"{self._any(OF_SAMPLES)}({self.vector(depth)})"
        if kind < 0.75:
            return f"{self._any(OF_DATES)}({self._any((self.vector(depth), ''))})"
        if kind < 0.85:
            name = self._any(("clamp_min", "clamp_max"))
            return f"{name}({self.vector(depth)}, {self.scalar(depth)})"
        if kind < 0.95:
            return f"clamp({self.vector(depth)}, {self._any(('-5, 5', '0, 1e6', '3, 1'))})"
        return f"round({self.vector(depth)}, {self._any(('0.5', '10', '3', '0'))})"

    def aggregation(self, depth: int) -> str:
        body = self.vector(depth)
        kind = self._random.random()
        if kind < 0.6:
            return f"{self._any(AGGREGATIONS)}{self._grouping()} ({body})"
        if kind < 0.67:
            finite = self.selector(("temperature", "level", *COUNTERS))
            return f"{self._any(('stddev', 'stdvar'))}{self._grouping()} ({finite})"
        if kind < 0.75:
            return f"quantile{self._grouping()} ({self.share(depth)}, {body})"
        if kind < 0.9:
            name = self._any(("topk", "bottomk"))
            body = self._any((self.selector(GAUGES[:2]), f"rate({self.series(COUNTERS[:1])}[5m])"))
            return f"{name}{self._grouping()} ({self._any(('1', '2', '4', '0', '-1'))}, {body})"
        return f'count_values{self._grouping()} ("value", {self.selector(("level", "single"))})'

    def _grouping(self) -> str:
        chosen = ", ".join(self._random.sample(LABELS, self._random.choice((0, 1, 2))))
        return self._any(("", f" by ({chosen})", f" by ({chosen})", f" without ({chosen})"))

    def binary(self, depth: int) -> str:
        operator = self._any(ARITHMETIC + COMPARISONS)
        as_bool = " bool" if operator in COMPARISONS and self._chance(0.4) else ""
        sides = self._any(
            (
                (self.vector(depth), self.scalar(depth)),
                (self.scalar(depth), self.vector(depth)),
                (self.vector(depth), self._any(NUMBERS)),
            )
        )
        if operator == "%":
            # Of large computed numbers it would show their last digits only.
            sides = self.selector(), self._any(NUMBERS)
        negative = self._any(("", "", "", "-"))
        name = "abs" if operator == "atan2" else ""
        return f"{negative}{name}({sides[0]} {operator}{as_bool} {sides[1]})"

    def matched(self, depth: int) -> str:
        """One to one, with or without ``on``; often refused."""
        del depth
        left = self._any(GAUGES[:3] + COUNTERS[:1])
        operator = self._any(ARITHMETIC + COMPARISONS)
        as_bool = " bool" if operator in COMPARISONS and self._chance(0.4) else ""
        unique = ("", " on (job, instance)", " ignoring (zone)", " ignoring (le)")
        may_repeat = operator in ARITHMETIC or as_bool
        matching = self._any((*unique, " on (job)") if may_repeat else unique)
        right = self._any((self.selector(GAUGES[:3]), f"max by (job, instance) ({left})"))
        name = "abs" if operator == "atan2" else ""
        return f"{name}({self.series((left,))} {operator}{as_bool}{matching} {right})"

    def joined(self, depth: int) -> str:
        """Many to one."""
        many, one = (
            self.vector(depth),
            self._any(
                (
                    "target",
                    f"{self._any(AGGREGATIONS[:5])} by (job) ({self.selector()})",
                    "single",
                )
            ),
        )
        operator = self._any(ARITHMETIC[:4] + COMPARISONS[1:4])
        include = self._any(("", "version", "zone"))
        if self._chance(0.5):
            return f"{many} {operator} on (job) group_left ({include}) {one}"
        return f"{one} {operator} on (job) group_right ({include}) {many}"

    def set_operation(self, depth: int) -> str:
        matching = self._any(("", " on (job)", " on ()", " ignoring (instance, zone)"))
        operator = self._any(("and", "or", "unless"))
        return f"({self.vector(depth)}) {operator}{matching} ({self.vector(depth)})"

    def relabelled(self, depth: int) -> str:
        body = self.vector(depth)
        source = self._any(LABELS)
        if self._chance(0.4):
            return f'label_join({body}, "joined", "-", "job", "{source}", "instance")'
        target = self._any(("new", source, "job"))
        template = self._any(("$1", "x$0y", "${1}_$2", "", "$name", "$$"))
        pattern = self._any(("(.*)", "(.)(.*)", "(?P<name>[a-z]+)", "api", "", "(a|w)(?:p|e).*"))
        return f'label_replace({body}, "{target}", "{template}", "{source}", "{pattern}")'

    def special(self, depth: int) -> str:
        inner = f"rate({self.series(('latency_bucket',))}[{self._any(RANGES)}])"
        body = self._any(
            (inner, f"sum by (job, le) ({inner})", f"sum by (le) ({inner})", "latency_bucket")
        )
        return self._any(
            (
                f"histogram_quantile({self.share(depth)}, {body})",
                f"histogram_quantile({self.share(depth)}, {body})",
                f"vector({self.scalar(depth)})",
                f"absent({self.series(('gone', 'level'))})",
                f"timestamp({self.series(GAUGES)}{self._shift(pinnable=False)})",
                f"timestamp(-{self.selector()})",
            )
        )

    def share(self, depth: int) -> str:
        if depth > 0 and self._chance(0.1):
            return f"scalar({self.selector(('single', 'level'))})"
        return self._any(("0.5", "0.9", "0.99", "0", "1", "0.123", "-1", "2", "NaN"))

    def scalar(self, depth: int) -> str:
        kind = self._random.random()
        if depth <= 0 or kind < 0.5:
            return self._any(NUMBERS)
        if kind < 0.7:
            single = self.selector(("single", "extreme"))
            return f"scalar({self._any((single, self.vector(depth - 1)))})"
        if kind < 0.85:
            return self._any(("time()", "pi()", "(time() % 600)"))
        operator = self._any(ARITHMETIC)
        return f"({self.scalar(depth - 1)} {operator} {self.scalar(depth - 1)})"

    def _any(self, choices: Sequence[T]) -> T:
        return self._random.choice(choices)

    def _chance(self, share: float) -> bool:
        return self._random.random() < share
