"""`SqliteLog`: the event log in one SQLite file, for one server and any number of readers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Self, TypeVar

from streams.errors import ConfigError, LogUnavailable
from streams.events.topics import TOPICS, partitions_of
from streams.log.ends import CommittedEnds, Ends
from streams.log.limits import require_partition
from streams.log.lock import OwnerLock, ReaderLock
from streams.log.protocol import Append, Entry, Receipt, Record, WriterStats
from streams.log.sqlite_check import check_content, check_files, has_content
from streams.log.sqlite_file import SQLITE_ERRORS, as_log_error, connect, create
from streams.log.sqlite_reader import CONNECTIONS_MAX, Reader
from streams.log.sqlite_rows import Heads, Meta, add_topics
from streams.log.sqlite_units import Stored, TableChanges, Unit, prepare
from streams.log.sqlite_watch import Watch
from streams.log.sqlite_writer import Writer
from streams.log.wall_clock import wall_clock_ms

T = TypeVar("T")
_Writing = Callable[[CommittedEnds], Writer]

PARTITIONS_MAX = 1_024
_CLOSE_TIMEOUT_S = 1.0


class SqliteLog:
    """An `EventLog`; every method may be called from any thread.

    One process owns it (`LogLocked` for a second); others open it ``read_only``, also while it is
    written, and see what is committed within about 0.1 s.
    """

    def __init__(
        self, path: Path, meta: Meta, heads: Heads, lock: OwnerLock, writing: _Writing | None
    ) -> None:
        """Use `open`."""
        self.path = path
        self._meta = meta
        self._heads = heads
        self._lock = lock
        self._topics = {topic: partitions_of(topic, meta.partitions) for topic in meta.topics}
        self._ends = CommittedEnds({where: head.end for where, head in heads.items()})
        self._reader = Reader(path)
        self._threads = ThreadPoolExecutor(CONNECTIONS_MAX - 2, thread_name_prefix="log-reader")
        self._writer = None if writing is None else writing(self._ends)
        self._watch = None if writing else Watch(path, self._ends)

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        partitions: int = 1,
        read_only: bool = False,
        linger_ms: int = 5,
        queue_bytes_max: int = 64 << 20,
        key_horizon_ms: int = 24 * 3_600_000,
        clock: Callable[[], int] = wall_clock_ms,
    ) -> Self:
        """Opens the log, or makes it with ``partitions`` of each topic of the catalogue.

        ``linger_ms``: how long a commit may wait for others while several write.
        ``queue_bytes_max``: how much may wait to be written before `Overloaded`.
        ``key_horizon_ms``: how long idempotency keys are remembered.

        Raises `LogLocked`, `LogDamaged`, `LogUnavailable` (cannot be opened; read-only: it is not
        there), `ConfigError` (made with another number of partitions; not asked of a reader).
        """
        if not 1 <= partitions <= PARTITIONS_MAX:
            raise ConfigError(f"partitions is {partitions}; valid are 1 to {PARTITIONS_MAX}")
        lock = OwnerLock(path)
        try:
            if read_only:
                meta, stored = _open_for_reading(path)
                return cls(path, meta, stored.heads, lock, None)
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            lock.acquire()
            if not has_content(path):
                create(path, topics=TOPICS, partitions=partitions)
            meta, stored = _open_for_writing(path, partitions)

            def writing(ends: CommittedEnds) -> Writer:
                return Writer(
                    path,
                    stored,
                    ends,
                    linger_s=linger_ms / 1000,
                    queue_bytes_max=queue_bytes_max,
                    key_horizon_ms=key_horizon_ms,
                    clock=clock,
                )

            return cls(path, meta, stored.heads, lock, writing)
        except SQLITE_ERRORS as error:
            lock.release()
            raise as_log_error(path, error) from error
        except OSError as error:
            lock.release()
            raise LogUnavailable(f"cannot open the log {path}: {error.strerror}") from error
        except BaseException:
            lock.release()
            raise

    gapless = True
    """Offsets follow one another: none is ever left out."""

    @property
    def log_id(self) -> str:
        return self._meta.log_id

    def partitions(self, topic: str) -> int:
        """`InputError` for a topic that the log does not have."""
        require_partition(self._topics, topic, 0)
        return self._topics[topic]

    def submit(self, unit: Append) -> Future[Receipt]:
        """Takes a unit; the future has its receipt once it is durable.

        Raised at once: `InputError`, `TooLarge`, `Overloaded`. By the future: `DuplicateRequest`,
        `LogUnavailable`, `LogDamaged`.
        """
        return self._send(prepare(self._topics, unit.entries, unit.keys), bounded=True)

    def commit_step(
        self,
        processor: str,
        partition: int,
        changes: Mapping[str, bytes | None],
        entries: Sequence[Entry],
    ) -> Future[Receipt]:
        """Table changes (None deletes) and outputs of a step, durable together or not at all.

        It is never refused for what waits, since it is what drains the log: one step a processor
        and partition at a time.
        """
        table = TableChanges(processor, partition, dict(changes))
        return self._send(prepare(self._topics, entries, (), table), bounded=False)

    def table(self, processor: str, partition: int) -> dict[str, bytes]:
        """All committed values of a processor's table in one partition."""
        return self._reader.table(processor, partition)

    def read_now(
        self,
        topic: str,
        partition: int,
        offset: int,
        *,
        records_max: int = 256,
        bytes_max: int = 8 << 20,
    ) -> list[Record]:
        """`read` for threads."""
        require_partition(self._topics, topic, partition)
        head = self._heads[topic, partition]
        if offset >= self._ends.now[topic, partition]:
            self._refresh()
        end = self._ends.now[topic, partition]
        return self._reader.records(head, end, offset, records_max=records_max, bytes_max=bytes_max)

    def ends(self) -> Ends:
        """The offset that the next record of each partition will get; a snapshot."""
        self._refresh()
        return self._ends.now

    def starts(self) -> Ends:
        """The first offset kept in each partition."""
        return {where: head.start for where, head in self._heads.items()}

    def wait_for(self, wanted: Ends, timeout_s: float) -> bool:
        """Blocks until the end of any partition given is above its offset (True), or the time is
        over or the log closed (False)."""
        if self._watch is not None:
            self._watch.start()
        return self._ends.wait_for(wanted, timeout_s)

    def stats(self) -> WriterStats | None:
        """What the writer does; None for a reader."""
        return None if self._writer is None else self._writer.stats()

    def close(self) -> None:
        """Writes what waits, for a second at most, and lets the file go. A second call is fine."""
        if self._ends.is_closed():
            return
        self._ends.close()
        self._threads.shutdown()
        if self._watch is not None:
            self._watch.close()
        self._reader.close()
        if self._writer is not None:
            self._writer.close(_CLOSE_TIMEOUT_S)
        self._lock.release()

    async def append(self, unit: Append) -> Receipt:
        return await asyncio.wrap_future(self.submit(unit))

    async def read(
        self,
        topic: str,
        partition: int,
        offset: int,
        *,
        records_max: int = 256,
        bytes_max: int = 8 << 20,
    ) -> list[Record]:
        def work() -> list[Record]:
            return self.read_now(
                topic, partition, offset, records_max=records_max, bytes_max=bytes_max
            )

        return await self._in_thread(work)

    async def follow(self, topic: str, partition: int, offset: int) -> AsyncIterator[Record]:
        require_partition(self._topics, topic, partition)
        with self._ends.waking() as moved:
            if self._watch is not None:
                self._watch.start()
            while not self._ends.is_closed():
                moved.clear()
                self._ends.raise_failure()
                try:
                    records = await self.read(topic, partition, offset)
                except LogUnavailable:
                    if self._ends.is_closed():
                        return
                    raise
                for record in records:
                    yield record
                offset += len(records)
                if offset >= self._ends.now[topic, partition]:
                    await moved.wait()

    async def start_positions(self, topic: str) -> dict[int, int]:
        count = self.partitions(topic)
        return {i: self._heads[topic, i].start for i in range(count)}

    async def end_positions(self, topic: str) -> dict[int, int]:
        count = self.partitions(topic)
        ends = await self._in_thread(self.ends)
        return {i: ends[topic, i] for i in range(count)}

    async def offsets_for_time(self, topic: str, at_ms: int) -> dict[int, int]:
        count = self.partitions(topic)

        def work() -> dict[int, int]:
            ends = self.ends()
            return {
                i: self._reader.first_at(self._heads[topic, i], ends[topic, i], at_ms)
                for i in range(count)
            }

        return await self._in_thread(work)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        if self._ends.is_closed():
            raise LogUnavailable(f"the log {self.path} is closed")
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    def _send(self, unit: Unit, *, bounded: bool) -> Future[Receipt]:
        if self._writer is None:
            raise LogUnavailable(f"the log {self.path} was opened for reading only")
        return self._writer.submit(unit, bounded=bounded)

    def _refresh(self) -> None:
        """A reader's ends are those of the file; the owner's are kept by its writer."""
        if self._writer is None and not self._ends.is_closed():
            self._ends.advance(_ends(self._reader.heads()))


def _ends(heads: Heads) -> Ends:
    return {where: head.end for where, head in heads.items()}


def _open_for_reading(path: Path) -> tuple[Meta, Stored]:
    if not has_content(path):
        raise LogUnavailable(f"there is no log at {path}: start the server first")
    with ReaderLock(path) as quiet:
        if quiet:
            check_files(path)
        return _checked(path)


def _open_for_writing(path: Path, partitions: int) -> tuple[Meta, Stored]:
    """Checked through a read-only connection: a damaged log is left exactly as it is."""
    check_files(path)
    meta, stored = _checked(path)
    if meta.partitions != partitions:
        raise ConfigError(
            f"the log {path} has {meta.partitions} partitions a topic, not {partitions}: the "
            "number is fixed when a log is made"
        )
    if new := [topic for topic in TOPICS if topic not in meta.topics]:
        add_topics(path, meta, new)
        return _checked(path)
    return meta, stored


def _checked(path: Path) -> tuple[Meta, Stored]:
    with closing(connect(path, read_only=True)) as db:
        db.execute("BEGIN")
        return check_content(db, path)
