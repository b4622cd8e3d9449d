"""`Runner`: what a server sees of whatever drives the processors in its process."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any, Protocol

from streams.runners.step_counts import StepCounts


class Runner(Protocol):
    """Two implementations: `LocalRunner` on the embedded log, `KafkaRunner` on Kafka."""

    @property
    def steps(self) -> StepCounts:
        """What its processors have done since its start."""
        ...

    def stop(self, timeout_s: float = 2.0) -> bool:
        """True when it has ended; what is not committed is done again by the next one."""
        ...

    def lag(self) -> Mapping[tuple[str, int], int]:
        """(processor, partition) to the records that it has not absorbed."""
        ...

    def stalled_for_s(self) -> float:
        """Seconds since a processor with records before it last moved; 0.0 where none is behind."""
        ...

    def tick_ahead_s(self) -> float:
        """Seconds by which the newest tick that it absorbed is ahead of the clock; 0.0 where it is
        not. Ticks below it are ignored, so no window closes until the clock has caught up."""
        ...

    def state(self, processor: str, partition: int) -> Any | None:
        """A processor's state in a partition, as it is stored: what it is the outcome of cannot be
        lost any more. None where this process does not have the partition, or where the log has
        records that the state has not absorbed."""
        ...

    def changes(self) -> AbstractContextManager[asyncio.Event]:
        """An event of the running loop, set whenever a `state` may have become another one."""
        ...

    def newest_tick_ms(self, processor: str, partition: int) -> int | None:
        """The newest tick that a processor has absorbed in a partition; None where this process
        does not have it, or before the first."""
        ...

    def failure(self) -> BaseException | None:
        """What ended it, or None."""
        ...
