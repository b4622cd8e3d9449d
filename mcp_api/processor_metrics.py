"""How often, how much, how long and how badly each processor of this process works, for
``/metrics``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from prometheus_client.metrics_core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from streams.runners.runner import Runner
from streams.runners.step_counts import Steps

_COUNTERS: Final[tuple[tuple[str, str, Callable[[Steps], float]], ...]] = (
    ("steps", "Steps that a processor has made.", lambda its: its.steps),
    ("failed_steps", "Steps that made an error; they are tried again.", lambda its: its.failed),
    ("records", "Records that it has taken in them.", lambda its: its.records),
    ("seconds", "Seconds that they took, with making their outcome durable.", lambda s: s.seconds),
)


class ProcessorMetrics(Collector):
    """Read at the scrape. ``runner``: who steps in this process, as soon as somebody does."""

    def __init__(self, runner: Callable[[], Runner | None]) -> None:
        self._runner = runner

    def describe(self) -> Iterator[Metric]:
        """Nothing: registering does not scrape."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """Counters since the start, by processor."""
        runner = self._runner()
        by_processor = {} if runner is None else runner.steps.by_processor()
        for name, text, value in _COUNTERS:
            family = CounterMetricFamily(
                f"logfire_mcp_processor_{name}", text, labels=("processor",)
            )
            for processor, its in by_processor.items():
                family.add_metric((processor,), value(its))
            yield family
