"""What a process' processors have done since its start: how often, how much, how long."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from streams import tracing
from streams.log.protocol import Record


@dataclass(slots=True)
class Steps:
    """Of one processor. ``seconds``: of all steps together; ``failed``: steps that made an error;
    they are tried again, or end the runner."""

    steps: int = 0
    records: int = 0
    failed: int = 0
    seconds: float = 0.0


class StepCounts:
    """Written by the one thread or event loop that steps, read by any."""

    def __init__(self) -> None:
        self._of: dict[str, Steps] = {}

    def by_processor(self) -> Mapping[str, Steps]:
        """Of each processor that has made a step."""
        return dict(self._of)

    @contextmanager
    def step(self, processor: str, partition: int, records: Sequence[Record]) -> Iterator[None]:
        """Counts one step, and is its span where a traced call caused one of the records."""
        began = time.perf_counter()
        its = self._of.setdefault(processor, Steps())
        attributes = {"partition": partition, "records": len(records)}
        try:
            with tracing.of_records(f"processor {processor}", records, **attributes):
                yield
        except BaseException:
            its.failed += 1
            raise
        finally:
            its.steps += 1
            its.records += len(records)
            its.seconds += time.perf_counter() - began
