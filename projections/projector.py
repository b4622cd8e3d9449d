"""`Projector`: the thread that follows the log and applies it to the DuckDB file.

Busy, it begins a transaction at most every 500 ms, since a commit costs about 3 ms whatever its
size; idle, it applies at once; a reader that waits for a position hurries it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import duckdb

from projections.duck import DuckProjection
from projections.duck_file import MEMORY_LIMIT
from projections.live import POINTS_MAX, LiveTail
from projections.reading import Reader, ReadGate, reading
from projections.rebuild import (
    Progress,
    Rebuilt,
    behind,
    build_beside,
    catch_up,
    install,
    read_behind,
    rebuild_file,
    remove_leftovers,
    set_aside,
)
from projections.source import Partition, SourceLog
from streams.errors import InputError, LogError, NotCaughtUp, ProjectionDamaged, ProjectionError

NAME = "duckdb"
"""The projection's name in `Projector.lag`."""

_BUSY_S = 0.5
_HURRIED_S = 0.05
_IDLE_S = 0.2
_RETRY_S_MAX = 30.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Lag:
    """``records`` in the log that are not projected yet; for how many ``seconds`` there have been
    such (0 when caught up)."""

    records: int
    seconds: float


@dataclass(frozen=True, slots=True, eq=False)
class _Waiter:
    wanted: Mapping[Partition, int]
    loop: asyncio.AbstractEventLoop
    reached: asyncio.Future[None]


class Projector:
    """Owns the file from `start` to `stop`. Every method may be called from any thread."""

    def __init__(
        self,
        log: SourceLog,
        path: Path,
        *,
        memory_limit: str = MEMORY_LIMIT,
        live_points_max: int = POINTS_MAX,
    ) -> None:
        self._source = log
        self._path = path
        self._memory_limit = memory_limit
        self._live_points_max = live_points_max
        self._gate = ReadGate()
        self._writing = threading.Lock()
        self._rebuilding = threading.Lock()
        self._signal = threading.Condition()
        self._waiters: list[_Waiter] = []
        self._stopping = False
        self._failure: BaseException | None = None
        self._projection: DuckProjection | None = None
        self._thread: threading.Thread | None = None
        self._began = self._progressed = self._caught_up = time.monotonic()

    def start(self, progress: Progress | None = None) -> None:
        """Opens the file and begins to follow the log.

        A file that is damaged or does not belong to the log is set aside beside its path, and
        rebuilt before this returns (``progress`` is told). `ProjectionError` where the file may be
        well but cannot be opened: another process has it, the log cannot be read, it is somebody
        else's. `LogDamaged` where the log is damaged. The file stays where it is then.
        """
        remove_leftovers(self._path)
        self._projection = self._open_or_replace(progress)
        self._progressed = self._caught_up = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="projector", daemon=True)
        self._thread.start()

    def stop(self, timeout_s: float = 2.0) -> None:
        """Ends the thread after the transaction that it is in, and closes the file."""
        with self._signal:
            self._stopping = True
            self._signal.notify_all()
        if self._thread is not None:
            self._thread.join(timeout_s)
        if self._projection is not None and (self._thread is None or not self._thread.is_alive()):
            self._projection.close()

    @property
    def live(self) -> LiveTail:
        """The newest samples in memory; ask again after a rebuild."""
        return self._open_projection().live

    @contextmanager
    def reading(self, timeout_s: float) -> Iterator[Reader]:
        """A snapshot for queries, see `projections.reading.reading`; waits out a switch."""
        with self._gate.reading(), reading(self._open_projection(), timeout_s) as reader:
            yield reader

    def positions(self) -> dict[Partition, int]:
        """The next offset to be absorbed of each (topic, partition)."""
        return self._open_projection().positions()

    def newest_ms(self) -> int:
        """The newest sample time projected; `projections.series.NEVER` before the first."""
        return self._open_projection().series.newest_ms

    def series_texts(self) -> Iterable[str]:
        """The identity of every series stored."""
        return list(self._open_projection().series.texts)

    def lag(self) -> dict[str, Lag]:
        """By projection; there is one, ``duckdb``."""
        records = sum(self._behind().values())
        return {NAME: Lag(records, time.monotonic() - self._caught_up if records else 0.0)}

    def stalled_for_s(self) -> float:
        """Seconds without progress though there is something to absorb."""
        return time.monotonic() - self._progressed if self._behind() else 0.0

    def failure(self) -> BaseException | None:
        """Why the last attempt failed; None once one has succeeded."""
        return self._failure

    async def wait_for(self, min_position: Mapping[Partition, int], timeout_s: float = 5.0) -> None:
        """Returns when the record at each of these offsets is projected.

        `InputError` for a partition that is not projected, `NotCaughtUp` after ``timeout_s``.
        """
        positions = self.positions()
        for topic, number in min_position:
            if (topic, number) not in positions:
                raise InputError(f"min_position names {topic}/{number}, which is not projected")
        loop = asyncio.get_running_loop()
        waiter = _Waiter(dict(min_position), loop, loop.create_future())
        with self._signal:
            if _reached(waiter.wanted, self.positions()):
                return
            self._waiters.append(waiter)
            self._signal.notify_all()
        try:
            async with asyncio.timeout(timeout_s):
                await waiter.reached
        except TimeoutError:
            raise NotCaughtUp(
                f"min_position was not reached within {timeout_s:g} s; "
                f"{sum(self._behind().values())} records are waiting"
            ) from None
        finally:
            with self._signal:
                if waiter in self._waiters:
                    self._waiters.remove(waiter)

    def rebuild(self, progress: Progress | None = None) -> Rebuilt:
        """Builds a new file from the whole log while the old one serves and grows, then switches.

        Queries in flight end on the old file; new ones wait for the switch, at most as long as
        those take. `ProjectionError` where a rebuild is running already.
        """
        if not self._rebuilding.acquire(blocking=False):
            raise ProjectionError("a rebuild is running already")
        try:
            beside, rebuilt = build_beside(
                self._path, self._source, progress, memory_limit=self._memory_limit
            )
            with self._writing:
                catch_up(beside, self._source)
                beside.close()
                with self._gate.switching():
                    self._open_projection().close()
                    install(self._path)
                    self._projection = self._open()
            return rebuilt
        finally:
            self._rebuilding.release()

    def _run(self) -> None:
        retry_s = 1.0
        suspect = False  # what is in memory may not be what is in the file
        while not self._stopping:
            try:
                if suspect:
                    self._reopen()
                    suspect = False
                self._step()
                self._failure = None
                retry_s = 1.0
            except (ProjectionError, LogError) as error:
                _log.error("the projection stands still, next attempt in %g s: %s", retry_s, error)
                self._failure = error
                self._pause(retry_s, hurried_s=retry_s)
                retry_s = min(2 * retry_s, _RETRY_S_MAX)
                suspect = suspect or isinstance(error, ProjectionError)
            except BaseException as error:  # a bug ends the thread, but not in silence
                self._failure = error
                raise

    def _step(self) -> None:
        """Applies what there is, or waits for something for a moment."""
        positions, ends = self.positions(), self._source.ends()
        left = behind(positions, ends)
        if not left:
            self._progressed = self._caught_up = time.monotonic()
            self._source.wait_for(positions, _IDLE_S)
            return
        now = time.monotonic()
        self._pause(self._began + _BUSY_S - now, hurried_s=self._began + _HURRIED_S - now)
        if self._stopping:
            return
        self._began = time.monotonic()
        with self._writing:
            self._drain()

    def _drain(self) -> None:
        """Everything up to the log's end as it is now, without pauses."""
        ends = self._source.ends()
        while not self._stopping:
            projection = self._open_projection()
            positions = projection.positions()
            if not behind(positions, ends):
                self._caught_up = time.monotonic()
                return
            projection.apply(read_behind(self._source, positions, ends))
            self._progressed = time.monotonic()
            self._tell_waiters(projection.positions())

    def _pause(self, usual_s: float, *, hurried_s: float) -> None:
        """Waits ``usual_s``, or ``hurried_s`` as soon as somebody waits for a position."""
        began = time.monotonic()
        with self._signal:
            self._signal.wait_for(lambda: self._stopping or self._waiters, max(0.0, usual_s))
            if self._waiters and not self._stopping:
                rest = hurried_s - (time.monotonic() - began)
                self._signal.wait_for(lambda: self._stopping, max(0.0, rest))

    def _tell_waiters(self, positions: Mapping[Partition, int]) -> None:
        with self._signal:
            ready = [one for one in self._waiters if _reached(one.wanted, positions)]
            self._waiters = [one for one in self._waiters if one not in ready]
        for waiter in ready:
            with contextlib.suppress(RuntimeError):  # its loop is closed: nobody waits any more
                waiter.loop.call_soon_threadsafe(_resolve, waiter.reached)

    def _open(self) -> DuckProjection:
        return DuckProjection.open(
            self._path,
            self._source,
            memory_limit=self._memory_limit,
            live_points_max=self._live_points_max,
        )

    def _open_or_replace(self, progress: Progress | None) -> DuckProjection:
        try:
            return self._open()
        except ProjectionDamaged as error:
            return self._replace_damaged(error, progress)

    def _reopen(self) -> None:
        """`ProjectionError` or `LogError` where it has to be tried again."""
        with self._writing, self._gate.switching():
            try:
                self._open_projection().close()
                self._projection = self._open_or_replace(None)
            except (OSError, duckdb.Error) as error:
                raise ProjectionError(
                    f"{self._path.name} cannot be opened again: {error}"
                ) from error

    def _replace_damaged(
        self, error: ProjectionDamaged, progress: Progress | None
    ) -> DuckProjection:
        aside = set_aside(self._path)
        _log.warning("%s; it is set aside as %s and rebuilt from the log", error, aside.name)
        rebuilt = rebuild_file(self._path, self._source, progress, memory_limit=self._memory_limit)
        _log.warning(
            "%s is rebuilt: %d records, %d samples",
            self._path.name,
            rebuilt.records,
            rebuilt.points,
        )
        return self._open()

    def _behind(self) -> dict[Partition, int]:
        return behind(self.positions(), self._source.ends())

    def _open_projection(self) -> DuckProjection:
        if self._projection is None:
            raise ProjectionError("the projection is not started")
        return self._projection


def _reached(wanted: Mapping[Partition, int], positions: Mapping[Partition, int]) -> bool:
    return all(positions[place] > offset for place, offset in wanted.items())


def _resolve(reached: asyncio.Future[None]) -> None:
    if not reached.done():
        reached.set_result(None)
