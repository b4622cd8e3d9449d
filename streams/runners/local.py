"""The embedded runner: one thread that feeds records to processors and commits what they make.

A step's table changes, outputs and position are one transaction of the log, so each record counts
exactly once whatever is killed when. The thread is the clock, too.
"""

from __future__ import annotations

import asyncio
import json
import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from streams.domain.ticks import due_tick, until_next_tick_ms
from streams.errors import LogUnavailable, Overloaded
from streams.events.topics import POINTS
from streams.log.protocol import Append, Receipt, Record
from streams.log.sleepers import Sleepers
from streams.log.sqlite_log import SqliteLog
from streams.log.wall_clock import wall_clock_ms
from streams.processors.clock import tick_entries, tick_entry
from streams.processors.seam import HEAD, Processor, Tracked, advance, restore
from streams.runners.step_counts import StepCounts

_log = logging.getLogger(__name__)

IDLE_WAIT_S = 0.5
"""How long an idle thread may not notice `stop` or a clock that jumped."""
BACK_OFF_S = (0.1, 2.0)
"""The first and the longest pause after the log refused a write."""


class _Stopped(Exception):
    """The runner was told to stop while it waited for a commit."""


@dataclass(slots=True)
class _Cell:
    """One processor in one partition; ``tracked`` is what is committed."""

    processor: Processor[Any]
    partition: int
    tracked: Tracked[Any]
    moving_at: float

    @property
    def place(self) -> tuple[str, int]:
        return self.processor.topic, self.partition

    def due_ms(self) -> int | None:
        """When its processor wants a tick of its own; never one that it would ignore."""
        due_ms = self.processor.due_ms(self.tracked.state)
        newest_ms = self.processor.newest_tick_ms(self.tracked.state)
        return due_ms if due_ms is None or newest_ms is None else max(due_ms, newest_ms + 1)


class LocalRunner:
    """Runs each processor in each partition of its topic, and the clock, in a thread of its own.

    A step takes at most ``records_max`` records and ``bytes_max`` bytes. Steps follow at once while
    there is more than one step's worth to do; else they are ``step_interval_ms`` apart, so that a
    steady stream is taken in large steps, but for those of prompt processors; after a pause the
    first record is taken at once. In one round a processor sees what those before it made.

    When the log cannot take a write, the state stays what it was and the step is tried again, later
    and later, until it can. Any other error is a bug or damage: the thread ends, `failure` has the
    error, and nothing is skipped.
    """

    def __init__(
        self,
        log: SqliteLog,
        processors: Sequence[Processor[Any]],
        *,
        tick_ms: int,
        clock: Callable[[], int] = wall_clock_ms,
        records_max: int = 64,
        bytes_max: int = 8 << 20,
        step_interval_ms: int = 250,
    ) -> None:
        self._log = log
        self._processors = tuple(processors)
        self._tick_ms = tick_ms
        self._clock = clock
        self._records_max = records_max
        self._bytes_max = bytes_max
        self._step_interval_s = step_interval_ms / 1000
        self._cells: tuple[_Cell, ...] = ()
        self.steps = StepCounts()
        self._changed = Sleepers()
        self._last_tick_ms: int | None = None
        self._stopping = threading.Event()
        self._stop_by = 0.0
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="local-runner", daemon=True)

    def start(self) -> None:
        """Restores every state, then starts the thread; what the log raises comes out here."""
        self._cells = tuple(
            _Cell(each, partition, self._restored(each, partition), time.monotonic())
            for each in self._processors
            for partition in range(self._log.partitions(each.topic))
        )
        self._last_tick_ms = self._newest_tick_ms()
        self._thread.start()

    def stop(self, timeout_s: float = 2.0) -> bool:
        """Ends the thread after its step; True when it has ended. A step that is not committed in
        time is not lost: the next start takes its records again."""
        self._stop_by = time.monotonic() + timeout_s * 0.75
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def lag(self) -> dict[tuple[str, int], int]:
        """(processor, partition) to the number of records that it has not absorbed."""
        ends = self._log.ends()
        return {
            (cell.processor.name, cell.partition): max(0, ends[cell.place] - cell.tracked.position)
            for cell in self._cells
        }

    def stalled_for_s(self) -> float:
        """Seconds since a processor with records before it last moved; 0.0 where none is behind."""
        ends = self._log.ends()
        now = time.monotonic()
        behind = [cell for cell in self._cells if ends[cell.place] > cell.tracked.position]
        return max((now - cell.moving_at for cell in behind), default=0.0)

    def tick_ahead_s(self) -> float:
        """Seconds by which the newest tick is ahead of the clock, which was set back then: no tick
        is made until it has caught up. 0.0 where all is well."""
        newest_ms = self._newest_tick_ms()
        return 0.0 if newest_ms is None else max(0.0, (newest_ms - self._clock()) / 1000)

    def state(self, processor: str, partition: int) -> Any | None:
        """See `Runner.state`."""
        for cell in self._cells:
            if (cell.processor.name, cell.partition) == (processor, partition):
                tracked = cell.tracked  # the thread replaces it, state and position together
                caught_up = self._log.ends()[cell.place] <= tracked.position
                return tracked.state if caught_up and self._failure is None else None
        return None

    def changes(self) -> AbstractContextManager[asyncio.Event]:
        """See `Runner.changes`."""
        return self._changed.waking()

    def newest_tick_ms(self, processor: str, partition: int) -> int | None:
        """See `Runner.newest_tick_ms`."""
        for cell in self._cells:
            if (cell.processor.name, cell.partition) == (processor, partition):
                return cell.processor.newest_tick_ms(cell.tracked.state)
        return None

    def failure(self) -> BaseException | None:
        """What ended the thread, or None."""
        return self._failure

    def _newest_tick_ms(self) -> int | None:
        ticks = (cell.processor.newest_tick_ms(cell.tracked.state) for cell in self._cells)
        return max((at_ms for at_ms in ticks if at_ms is not None), default=None)

    def _run(self) -> None:
        try:
            self._loop()
        except _Stopped:
            pass
        except BaseException as error:  # noqa: BLE001  kept for `failure`, which /ready reports
            self._failure = error
            _log.exception("the runner stopped: no metric is processed until a restart")

    def _loop(self) -> None:
        pause_s = BACK_OFF_S[0]
        while not self._stopping.is_set():
            began = time.monotonic()
            try:
                self._tick()
                steps = [self._step(cell) for cell in self._cells]
                if self._caught_up(steps):
                    if any(end is not None for end in steps):
                        self._rest(began + self._step_interval_s)
                    else:
                        self._idle()
            except (LogUnavailable, Overloaded) as error:
                _log.warning("the log refused a write, trying again in %.1f s: %s", pause_s, error)
                self._stopping.wait(pause_s)
                pause_s = min(pause_s * 2, BACK_OFF_S[1])
                continue
            pause_s = BACK_OFF_S[0]

    def _tick(self) -> None:
        now_ms = self._clock()
        tick_ms = due_tick(self._last_tick_ms, now_ms, self._tick_ms)
        if tick_ms is not None:
            entries = tick_entries(self._log.partitions(POINTS), tick_ms)
            self._wait(self._log.submit(Append(entries)))
            self._last_tick_ms = tick_ms
        ends = self._log.ends()
        for cell in self._cells:
            due_ms = cell.due_ms()
            if (
                due_ms is not None
                and due_ms <= now_ms
                and ends[cell.place] <= cell.tracked.position
            ):
                self._wait(self._log.submit(Append((tick_entry(*cell.place, now_ms),))))

    def _step(self, cell: _Cell) -> int | None:
        """One step; the partition's end when it began, or None where there was nothing to do."""
        end = self._log.ends()[cell.place]
        if end <= cell.tracked.position:
            cell.moving_at = time.monotonic()
            return None
        records = self._log.read_now(
            *cell.place,
            cell.tracked.position,
            records_max=self._records_max,
            bytes_max=self._bytes_max,
        )
        name, partition = cell.processor.name, cell.partition
        with self.steps.step(name, partition, records):
            after, changes, entries = advance(cell.processor, partition, cell.tracked, records)
            try:
                self._wait(self._log.commit_step(name, partition, changes, entries))
            except (LogUnavailable, Overloaded):
                self._resume(cell)
                raise
        cell.tracked = after
        cell.moving_at = time.monotonic()
        self._changed.wake()
        return end

    def _resume(self, cell: _Cell) -> None:
        """After a failed commit: an error at commit may mean that the commit took place."""
        table = self._log.table(cell.processor.name, cell.partition)
        position = json.loads(table[HEAD])["position"] if HEAD in table else 0
        if position != cell.tracked.position:
            cell.tracked = self._restored(cell.processor, cell.partition)

    def _caught_up(self, steps: Sequence[int | None]) -> bool:
        """Whether the steps took all records that were there when they began."""
        return all(
            end is None or cell.tracked.position >= end
            for cell, end in zip(self._cells, steps, strict=True)
        )

    def _rest(self, until_s: float) -> None:
        """Until then (monotonic) or until a tick is due, only prompt processors step."""
        until_tick_s = until_next_tick_ms(self._clock(), self._tick_ms) / 1000
        until_s = min(until_s, time.monotonic() + until_tick_s)
        prompt = [cell for cell in self._cells if cell.processor.prompt]
        while not self._stopping.is_set() and (left_s := until_s - time.monotonic()) > 0:
            wanted = {cell.place: cell.tracked.position for cell in prompt}
            if not wanted:
                self._stopping.wait(left_s)
            elif self._log.wait_for(wanted, left_s):
                for cell in prompt:
                    self._step(cell)
            else:
                self._stopping.wait(0.01)  # a closed log does not wait: do not spin on it

    def _idle(self) -> None:
        """Until a record comes, a tick is due or half a second is over."""
        now_ms = self._clock()
        tick_s = until_next_tick_ms(now_ms, self._tick_ms) / 1000
        dues = [due_ms - now_ms for c in self._cells if (due_ms := c.due_ms()) is not None]
        due_s = max(0.01, min(dues, default=1_000) / 1000)
        wanted = {cell.place: cell.tracked.position for cell in self._cells}
        if not self._log.wait_for(wanted, min(IDLE_WAIT_S, tick_s, due_s)):
            self._stopping.wait(0.01)  # a closed log does not wait: do not spin on it

    def _wait(self, future: Future[Receipt]) -> Receipt:
        while True:
            try:
                return future.result(timeout=0.1)
            except TimeoutError:
                if future.done():  # meanwhile: its receipt, or an error of its own
                    return future.result()
                if self._stopping.is_set() and time.monotonic() > self._stop_by:
                    raise _Stopped from None

    def _restored(self, processor: Processor[Any], partition: int) -> Tracked[Any]:
        def read_back(begin: int, end: int) -> list[Record]:
            records: list[Record] = []
            while begin < end:
                part = self._log.read_now(
                    processor.topic, partition, begin, records_max=end - begin
                )
                records += [record for record in part if record.offset < end]
                begin = part[-1].offset + 1 if part else end
            return records

        table = self._log.table(processor.name, partition)
        return restore(processor, table, read_back)
