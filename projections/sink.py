"""Sinks: copies of what the log says in somebody else's database, each with its own position.

`Sink` is what a database has to offer; `SinkPump` is the thread that follows the log for one sink.
A sink that is away, slow or refuses costs nobody else anything: its thread waits, and catches up
from the log. Where the log no longer holds what comes next, the pump names the `Gap` and goes on.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from projections.rebuild import behind
from projections.source import Partition, SourceLog
from streams.errors import LogError, SinkError
from streams.log.protocol import Record
from streams.log.wall_clock import wall_clock_ms

BATCH_RECORDS_MAX: Final = 256
BATCH_BYTES_MAX: Final = 4 << 20
"""Of all partitions together, before decoding; a record is at most about 1 MiB."""

BUSY_S: Final = 0.5
"""Between batches while there is little. What is far behind is caught up in batch after batch, each
followed by a pause as long as its work took: that leaves half a core to all others."""
IDLE_S: Final = 1.0
RETRY_S_MIN: Final = 0.5
RETRY_S_MAX: Final = 30.0
GAPS_MAX: Final = 100
"""Gaps that are remembered; of more the oldest are forgotten, but counted."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Gap:
    """Offsets ``first`` to ``end`` (exclusive) of a partition never reached the sink from the log:
    it no longer held them. ``after_ms``, ``before_ms``: when the records around them were appended
    (Unix ms), 0 where nobody knows. ``refilled``: what the read model has of it was written."""

    topic: str
    partition: int
    first: int
    end: int
    after_ms: int = 0
    before_ms: int = 0
    refilled: bool = False

    def __str__(self) -> str:
        how = "refilled from the database" if self.refilled else "not refilled"
        return f"{self.topic}/{self.partition} from {self.first} to {self.end} ({how})"


class Sink(Protocol):
    """A database beside the log. All methods are called by one thread, one at a time, and may
    block; each raises `SinkError` where the same may succeed later, and the pump tries again."""

    @property
    def name(self) -> str:
        """As in ``redis``: in the status, in metrics and in messages."""
        ...

    @property
    def topics(self) -> tuple[str, ...]:
        """Which it copies."""
        ...

    def open(self, places: Collection[Partition]) -> Mapping[Partition, int]:
        """Connects, if need be, and reads the next offset to be absorbed of each of ``places``;
        those without one are left out. Called again after every error and whenever the partitions
        of this process change: what it says then counts, not what was remembered."""
        ...

    def begin_ms(self, topic: str, now_ms: int) -> int | None:
        """Where nothing is known of a partition: begin with what was appended at this time or
        later; None for everything that ever was."""
        ...

    def apply(self, records: Sequence[Record], positions: Mapping[Partition, int]) -> None:
        """Writes what the records mean, then (or in the same transaction) ``positions``: the next
        offset of each partition concerned. Records may come again after an error or a crash, and
        then change nothing. What a record holds is never a reason to raise: what the database
        cannot take is counted and left out, so that nothing blocks for ever."""
        ...

    def refill(self, gap: Gap) -> bool:
        """Writes what the read model still has of a gap; False where it is not known here."""
        ...

    def counts(self) -> Mapping[str, int]:
        """What was ``written`` and left out since the start, by name; for any thread."""
        ...

    def close(self) -> None:
        """Lets go of connections; never raises."""
        ...


@dataclass(frozen=True, slots=True)
class SinkStatus:
    """``error``: why nothing can be written now, or ""; ``failed``: it is not tried again.
    ``records``: in the log, not in the sink; for how many ``seconds`` there have been such."""

    name: str
    error: str
    failed: bool
    connected: bool
    records: int
    seconds: float
    gaps: tuple[Gap, ...]
    gaps_total: int
    counts: Mapping[str, int]


class SinkPump:
    """Follows the log for one sink from `start` to `stop`, in a thread of its own."""

    def __init__(
        self,
        log: SourceLog,
        sink: Sink,
        places: Callable[[], Collection[Partition]],
        *,
        retry_s: float = RETRY_S_MIN,
        clock: Callable[[], int] = wall_clock_ms,
    ) -> None:
        """``places``: the partitions that this process has now, of any topics; asked for again and
        again, at least every second. ``retry_s``: the first pause after an error; each is twice the
        one before, up to 30 s."""
        self._log = log
        self._sink = sink
        self._places = places
        self._retry_s = retry_s
        self._clock = clock
        self._positions: dict[Partition, int] = {}
        self._appended_ms: dict[Partition, int] = {}
        self._held: frozenset[Partition] | None = None
        self._gaps: list[Gap] = []
        self._gaps_total = 0
        self._error = ""
        self._failed = False
        self._began = 0.0
        self._caught_up = time.monotonic()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Returns at once; the sink need not be there."""
        name = f"sink-{self._sink.name}"
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def stop(self, timeout_s: float = 2.0) -> None:
        """Ends the thread after what it writes now; what is not written is written next time."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(timeout_s)

    def status(self) -> SinkStatus:
        """How it stands; for any thread."""
        positions = self._positions
        records = sum(behind(positions, self._log.ends()).values())
        return SinkStatus(
            name=self._sink.name,
            error=self._error,
            failed=self._failed,
            connected=self._held is not None and not self._error,
            records=records,
            seconds=time.monotonic() - self._caught_up if records else 0.0,
            gaps=tuple(self._gaps),
            gaps_total=self._gaps_total,
            counts=self._sink.counts(),
        )

    def positions(self) -> Mapping[Partition, int]:
        """The next offset to be absorbed of each partition that this process has."""
        return self._positions

    def _run(self) -> None:
        retry_s = self._retry_s
        try:
            while not self._stopping.is_set():
                try:
                    self._step()
                    if self._error:
                        _log.warning("%s answers again", self._sink.name)
                    self._error, retry_s = "", self._retry_s
                except (SinkError, LogError) as error:
                    if str(error) != self._error:
                        _log.warning("%s is not written: %s", self._sink.name, error)
                    self._error = str(error)
                    self._held = None  # what was written is asked for again
                    asked_s = getattr(error, "retry_after_s", 0.0)
                    self._stopping.wait(min(max(retry_s, asked_s), RETRY_S_MAX))
                    retry_s = min(2 * retry_s, RETRY_S_MAX)
        except BaseException as error:  # noqa: BLE001 - a bug ends this thread, not in silence
            self._error, self._failed = f"stopped for good: {error}", True
            _log.exception("%s is not written any more", self._sink.name)
        finally:
            self._sink.close()

    def _step(self) -> None:
        places = frozenset(place for place in self._places() if place[0] in self._sink.topics)
        if places != self._held:
            self._open(places)
        ends = self._log.ends()
        left = behind(self._positions, ends)
        if not left:
            self._caught_up = time.monotonic()
            if not places:
                self._stopping.wait(IDLE_S)
            elif not self._log.wait_for(self._positions, IDLE_S):
                self._stopping.wait(0.01)  # of a log that is closed this is no loop without end
            return
        few = sum(left.values()) < BATCH_RECORDS_MAX
        if few and self._stopping.wait(max(0.0, self._began + BUSY_S - time.monotonic())):
            return
        self._began = time.monotonic()
        worked_s = time.thread_time()
        self._copy(left)
        if not few:
            self._stopping.wait(min(time.thread_time() - worked_s, BUSY_S))

    def _open(self, places: frozenset[Partition]) -> None:
        stored = self._sink.open(places)
        starts, now_ms = self._log.starts(), self._clock()
        ends = self._log.ends() if self._log.gapless else {}  # elsewhere they may be known late
        found = {}
        for place in sorted(places):
            # A log that was set back has other records there now: all is written again.
            if place in stored and stored[place] <= ends.get(place, stored[place]):
                found[place] = stored[place]
            else:
                found[place] = self._begin(place, starts.get(place, 0), now_ms)
        self._positions = found
        self._held = places

    def _begin(self, place: Partition, start: int, now_ms: int) -> int:
        """The first offset for a partition of which the sink knows nothing; with the log's past
        that is gone already it begins by a gap."""
        begin_ms = self._sink.begin_ms(place[0], now_ms)
        if begin_ms is None:
            return 0
        low, high = start, self._log.ends().get(place, 0)
        while low < high:  # times do not fall in a partition
            middle = (low + high) // 2
            found = self._log.read_now(*place, middle, records_max=1)
            if found and found[0].at_ms < begin_ms:
                low = found[0].offset + 1
            else:
                high = middle
        return low

    def _copy(self, left: Mapping[Partition, int]) -> None:
        starts = self._log.starts()
        for place in left:
            if self._positions[place] < starts.get(place, 0):
                self._skip(place, starts[place])
        records = self._read(left)
        after = {(one.topic, one.partition): one.offset + 1 for one in records}
        if not records:  # the offsets before the ends hold none: markers of transactions
            after = {place: self._positions[place] + count for place, count in left.items()}
        self._sink.apply(records, after)
        self._positions = {**self._positions, **after}
        for one in records:
            self._appended_ms[one.topic, one.partition] = one.at_ms

    def _read(self, left: Mapping[Partition, int]) -> list[Record]:
        """Of each partition its share of the bounds."""
        bytes_max = max(BATCH_BYTES_MAX // len(left), 64 << 10)
        records_max = max(BATCH_RECORDS_MAX // len(left), 1)
        records: list[Record] = []
        for (topic, number), count in left.items():
            start = self._positions[topic, number]
            found = self._log.read_now(
                topic, number, start, records_max=min(count, records_max), bytes_max=bytes_max
            )
            records += [record for record in found if record.offset < start + count]
        return records

    def _skip(self, place: Partition, start: int) -> None:
        """The log was cut before the sink had read it."""
        first = self._log.read_now(*place, start, records_max=1)
        gap = Gap(
            *place,
            first=self._positions[place],
            end=start,
            after_ms=self._appended_ms.get(place, 0),
            before_ms=first[0].at_ms if first else self._clock(),
        )
        if any((one.topic, one.partition, one.end) == (*place, start) for one in self._gaps):
            self._positions = {**self._positions, place: start}
            return  # an error came between the gap and the records behind it
        if self._sink.refill(gap):
            gap = Gap(*place, gap.first, gap.end, gap.after_ms, gap.before_ms, refilled=True)
        _log.error("%s has a gap: %s", self._sink.name, gap)
        self._gaps_total += 1
        self._gaps = [*self._gaps, gap][-GAPS_MAX:]
        self._positions = {**self._positions, place: start}
