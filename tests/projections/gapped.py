"""A real log seen with gaps between its offsets, as Kafka has them."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import accumulate

from projections.source import Partition
from streams.log.protocol import Record
from streams.log.sqlite_log import SqliteLog


@dataclass
class Gapped:
    """A `SourceLog`: the records of ``log``, each after a gap of so many offsets; beyond the gaps
    given there are none. ``tail``: offsets after a partition's last record that hold nothing."""

    log: SqliteLog
    gaps: Mapping[Partition, list[int]]
    tail: Mapping[Partition, int] = field(default_factory=dict)
    gapless: bool = False

    @property
    def log_id(self) -> str:
        return self.log.log_id

    def partitions(self, topic: str) -> int:
        return self.log.partitions(topic)

    def offsets(self, place: Partition) -> list[int]:
        """The offset of each record."""
        size = self.log.ends()[place]
        gaps = [*self.gaps.get(place, []), *[0] * size][:size]
        return [offset + i for i, offset in enumerate(accumulate(gaps))]

    def read_now(
        self,
        topic: str,
        partition: int,
        offset: int,
        *,
        records_max: int = 256,
        bytes_max: int = 8 << 20,
    ) -> list[Record]:
        offsets = self.offsets((topic, partition))
        first = bisect_left(offsets, offset)
        records = self.log.read_now(
            topic, partition, first, records_max=records_max, bytes_max=bytes_max
        )
        return [replace(record, offset=offsets[record.offset]) for record in records]

    def ends(self) -> dict[Partition, int]:
        return {
            place: (offsets[-1] + 1 if (offsets := self.offsets(place)) else 0)
            + self.tail.get(place, 0)
            for place in self.log.ends()
        }

    def starts(self) -> Mapping[Partition, int]:
        return self.log.starts()

    def wait_for(self, wanted: Mapping[Partition, int], timeout_s: float) -> bool:
        ends = self.ends()
        if any(ends[place] > offset for place, offset in wanted.items()):
            return True
        return self.log.wait_for(self.log.ends(), timeout_s)
