"""What the projection reads: the log, as far as it needs it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from streams.events.topics import ALERTS, HEALTH_RESULTS, POINTS, WINDOWS
from streams.log.protocol import Record

Partition = tuple[str, int]
"""Topic and partition number."""

TOPICS = (POINTS, WINDOWS, ALERTS, HEALTH_RESULTS)
"""What the projection folds."""


class SourceLog(Protocol):
    """What the projection needs of the log; all of it may be called from any thread."""

    @property
    def log_id(self) -> str: ...

    @property
    def gapless(self) -> bool:
        """False: offsets may be left out (Kafka: transaction markers, compaction), so that a jump
        is no loss, and a partition may have an end above its position and hold nothing between; and
        a request may lie in it twice (True: the log itself refuses the second)."""
        ...

    def partitions(self, topic: str) -> int: ...

    def read_now(
        self,
        topic: str,
        partition: int,
        offset: int,
        *,
        records_max: int = 256,
        bytes_max: int = 8 << 20,
    ) -> list[Record]: ...

    def ends(self) -> Mapping[Partition, int]: ...

    def starts(self) -> Mapping[Partition, int]: ...

    def wait_for(self, wanted: Mapping[Partition, int], timeout_s: float) -> bool: ...
