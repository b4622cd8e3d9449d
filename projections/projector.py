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
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import duckdb

from projections.duck import DuckProjection
from projections.duck_file import MEMORY_LIMIT
from projections.live import POINTS_MAX, LiveTail
from projections.opening import Fetch, OpenFile, Opening
from projections.reading import Reader, ReadGate, reading
from projections.rebuild import (
    Progress,
    Rebuilt,
    behind,
    beside_path,
    build_beside,
    catch_up,
    install,
    read_behind,
    remove_leftovers,
)
from projections.snapshot import unchanging
from projections.source import Partition, SourceLog
from streams import tracing
from streams.errors import InputError, LogError, NotCaughtUp, ProjectionError

NAME = "duckdb"
"""The projection's name in `Projector.lag`."""

_BUSY_S = 0.5
_HURRIED_S = 0.05
_IDLE_S = 0.5
_RETRY_S_MAX = 30.0
_LOOK_AT_FILE_S = 1.0

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
        fetch: Fetch | None = None,
    ) -> None:
        """``fetch``: asked for a snapshot where there is no file that the log continues."""
        self._source = log
        self._path = path
        self._memory_limit = memory_limit
        self._opening = Opening(path, log, fetch, memory_limit, live_points_max)
        self._gate = ReadGate()
        self._writing = threading.Lock()
        self._rebuilding = threading.Lock()
        self._copying = threading.Lock()
        self._signal = threading.Condition()
        self._waiters: list[_Waiter] = []
        self._stopping = False
        self._failure: BaseException | None = None
        self._deletion: ProjectionError | None = None
        self._file: OpenFile | None = None
        self._thread: threading.Thread | None = None
        self._look_at_file = 0.0
        self._began = self._progressed = self._caught_up = time.monotonic()

    def start(self, progress: Progress | None = None) -> None:
        """Opens the file and begins to follow the log.

        A file that is damaged or does not belong to the log is set aside beside its path, and
        rebuilt before this returns (``progress`` is told), or replaced by a snapshot.
        `ProjectionError` where the file may be well but cannot be opened: another process has it,
        the log cannot be read, it is somebody else's; and where the log no longer holds what comes
        next. `LogDamaged` where the log is damaged. The file stays where it is then.
        """
        remove_leftovers(self._path)
        self._file = self._opening.open_or_replace(progress)
        self._progressed = self._caught_up = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="projector", daemon=True)
        self._thread.start()

    def stop(self, timeout_s: float = 2.0) -> None:
        """Ends the thread after the transaction that it is in, and closes the file."""
        with self._signal:
            self._stopping = True
            self._signal.notify_all()
        if self._file is not None:
            self._file.held.end_copies()
        if self._thread is not None:
            self._thread.join(timeout_s)
        if self._file is not None and (self._thread is None or not self._thread.is_alive()):
            self._file.close()

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

    def series_texts(self, first: int = 0) -> Sequence[str]:
        """The identity of every series stored, in the order of their first sight by this file;
        without the ``first`` ones of them."""
        return self._open_projection().series.texts[first:]

    def lag(self) -> dict[str, Lag]:
        """By projection; there is one, ``duckdb``."""
        records = sum(self._behind().values())
        return {NAME: Lag(records, time.monotonic() - self._caught_up if records else 0.0)}

    def lag_by_partition(self) -> dict[Partition, int]:
        """The records that each partition followed has not brought yet."""
        ends = self._source.ends()
        return {
            place: max(0, ends.get(place, 0) - offset) for place, offset in self.positions().items()
        }

    def stalled_for_s(self) -> float:
        """Seconds without progress though there is something to absorb."""
        return time.monotonic() - self._progressed if self._behind() else 0.0

    def failure(self) -> BaseException | None:
        """Why the last attempt failed; None once one has succeeded."""
        return self._failure or self._deletion

    def renew(self) -> None:
        """Nothing: it follows the log, see `projections.refill.ReadModel`."""

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
                self._switch()
            return rebuilt
        finally:
            self._rebuilding.release()

    def copy(self, target: Path) -> dict[Partition, int]:
        """Writes the database as it is now into a new file, complete in itself; its positions.

        Projecting stops for the checkpoint that this begins with and goes on during the copy.
        `ProjectionError` where it cannot be made: another copy is being made, the disk is full, the
        file was switched meanwhile.
        """
        if not self._copying.acquire(blocking=False):
            raise ProjectionError("a copy is being made already")
        try:
            with ExitStack() as stack:
                with self._writing:
                    file = self._open_file()
                    positions = stack.enter_context(unchanging(file.projection))
                file.held.copy_to(target)
            return positions
        finally:
            self._copying.release()

    def _switch(self) -> None:
        """The closed file beside becomes the open one; waits for those who read the old one."""
        with self._gate.switching():
            self._open_file().close()
            install(self._path)
            self._file = self._opening.open()

    def _bring_back_deleted(self) -> None:
        """A file that was deleted while it is open is whole still, but nobody could open it again:
        its content is copied to its path, and the copy taken for it."""
        if not self._open_file().held.is_gone() or not self._rebuilding.acquire(blocking=False):
            return
        try:
            _log.warning("%s was deleted; it is written again", self._path)
            remove_leftovers(self._path)
            self.copy(beside_path(self._path))
            with self._writing:
                self._switch()
            _log.warning("%s is back", self._path)
            self._deletion = None
        except (ProjectionError, OSError, duckdb.Error) as error:
            _log.error("%s was deleted and cannot be written again: %s", self._path, error)
            self._deletion = ProjectionError(f"{self._path.name} was deleted: {error}")
        finally:
            self._rebuilding.release()

    def _run(self) -> None:
        retry_s = 1.0
        suspect = False  # what is in memory may not be what is in the file
        while not self._stopping:
            try:
                if time.monotonic() >= self._look_at_file:
                    self._look_at_file = time.monotonic() + _LOOK_AT_FILE_S
                    self._bring_back_deleted()
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
            records = read_behind(self._source, positions, ends)
            if not records:  # the offsets before the ends hold none
                self._progressed = self._caught_up = time.monotonic()
                return
            with tracing.of_records(f"projection {NAME}", records, records=len(records)):
                projection.apply(records)
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

    def _reopen(self) -> None:
        """`ProjectionError` or `LogError` where it has to be tried again."""
        with self._writing, self._gate.switching():
            try:
                self._open_file().close()
                self._file = self._opening.open_or_replace(None)
            except (OSError, duckdb.Error) as error:
                raise ProjectionError(
                    f"{self._path.name} cannot be opened again: {error}"
                ) from error

    def _behind(self) -> dict[Partition, int]:
        return behind(self.positions(), self._source.ends())

    def _open_projection(self) -> DuckProjection:
        return self._open_file().projection

    def _open_file(self) -> OpenFile:
        if self._file is None:
            raise ProjectionError("the projection is not started")
        return self._file


def _reached(wanted: Mapping[Partition, int], positions: Mapping[Partition, int]) -> bool:
    return all(positions[place] > offset for place, offset in wanted.items())


def _resolve(reached: asyncio.Future[None]) -> None:
    if not reached.done():
        reached.set_result(None)
