"""`Edge`: where requests become durable. Concurrent ones are written together and answered apart.

While one append is under way, the requests that come gather and make the next one: a lone request
waits for nobody, many share a few large records. Only under heavy load does the edge wait a few
milliseconds (``linger_ms``) for more.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from struct import Struct
from typing import Final

from streams import tracing
from streams.errors import InputError, Overloaded, RequestConflict
from streams.events.topics import POINTS
from streams.ingest.merging import Merger, Request, Written
from streams.ingest.parsed import Parsed, Rejected, required_text
from streams.ingest.pseudonyms import Pseudonyms
from streams.ingest.series_limits import SeriesLimits
from streams.log.protocol import (
    Append,
    DuplicateRequest,
    EventLog,
    Known,
    Position,
    Receipt,
    RequestKey,
)
from streams.log.wall_clock import wall_clock_ms

GROUP_POINTS_MAX: Final = 200_000
"""A group is closed once it holds as many (its last request may go over)."""

RECORD_POINTS: Final = 30_000
"""Under heavy load the edge waits until a group has as many, or `linger_ms` are over."""

BUSY_POINTS: Final = 10_000
INLINE_POINTS_MAX: Final = 20_000
"""Larger groups are encoded in a thread, so that the event loop goes on answering."""

ACTOR_BYTES_MAX: Final = 512
KEY_BYTES_MAX: Final = 256
_COUNTS: Final = Struct("<QQ")


@dataclass(frozen=True, slots=True)
class Collected:
    """A request's answer: it is durable. ``positions``: its last record in each partition.

    ``collected_count``: samples taken, also where ``duplicate`` says that an equal request with
    the same key had brought them before. ``rejected``: the first 100 of ``rejected_count``.
    """

    collected_count: int
    source: str
    at_ms: int
    positions: tuple[Position, ...]
    rejected: tuple[Rejected, ...]
    rejected_count: int
    duplicate: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting:
    """A request in the edge; ``same``: later ones with its key in its group."""

    request: Request
    digest: bytes
    parsed: Parsed
    answer: asyncio.Future[Collected]
    same: list[_Waiting] = field(default_factory=list)


class Edge:
    """For one event loop. At most ``points_in_flight_max`` points are held; more are refused."""

    def __init__(
        self,
        log: EventLog,
        limits: SeriesLimits,
        *,
        pseudonyms: Pseudonyms | None = None,
        clock: Callable[[], int] = wall_clock_ms,
        linger_ms: int = 5,
        points_in_flight_max: int = 2_000_000,
    ) -> None:
        self._log = log
        self._limits = limits
        self._pseudonyms = pseudonyms
        self._clock = clock
        self._linger_s = linger_ms / 1000
        self._points_max = points_in_flight_max
        self._merger = Merger(log.partitions(POINTS))
        self._queue: deque[_Waiting] = deque()
        self._queued_points = 0
        self._points = 0
        self._gathered = asyncio.Event()
        self._busy = False
        self._flusher: asyncio.Task[None] | None = None
        self._closed = False

    @property
    def points_in_flight(self) -> int:
        """Points taken and not yet answered."""
        return self._points

    async def collect(
        self,
        parsed: Parsed,
        *,
        actor: str,
        request_key: str | None = None,
        traceparent: str = "",
        event_source: str = "edge",
    ) -> Collected:
        """Returns when the request is durable. If the caller is cancelled, it is written still.

        ``request_key`` wins over the request's own ``request_id``; each actor has keys of its own.
        Raises `Overloaded`, `LogUnavailable` (nothing was taken), `RequestConflict` (the key came
        before with other content), `InputError`.
        """
        if self._closed:
            raise Overloaded("the server is stopping; send it again", status=503)
        key = _scoped(actor, request_key if request_key is not None else parsed.request_id)
        if self._pseudonyms is not None:
            parsed = self._pseudonyms.of(parsed)
        parsed = self._limits.admitted(parsed)
        points = len(parsed.batch)
        if not points:
            return _collected(parsed, self._clock(), (), duplicate=False)
        if self._points + points > self._points_max:
            raise Overloaded(
                f"{self._points} points wait to be written, at most {self._points_max} may; "
                "send it again later"
            )
        traceparent = traceparent or tracing.current()
        request = Request(
            parsed.batch,
            actor,
            event_source,
            self._clock(),
            key,
            traceparent if len(traceparent) <= tracing.TRACEPARENT_CHARS_MAX else "",
        )
        answer: asyncio.Future[Collected] = asyncio.get_running_loop().create_future()
        digest = b"" if key is None else parsed.digest
        self._queue.append(_Waiting(request, digest, parsed, answer))
        self._points += points
        self._queued_points += points
        if self._queued_points >= RECORD_POINTS:
            self._gathered.set()
        if self._flusher is None:
            self._flusher = asyncio.create_task(self._flush(), name="edge")
        return await answer

    async def close(self) -> None:
        """Takes no more requests, and returns when those taken are answered."""
        self._closed = True
        self._gathered.set()
        if self._flusher is not None:
            await self._flusher

    async def _flush(self) -> None:
        try:
            while self._queue:
                if self._busy and not self._closed and self._queued_points < RECORD_POINTS:
                    self._gathered.clear()
                    with suppress(TimeoutError):
                        async with asyncio.timeout(self._linger_s):
                            await self._gathered.wait()
                group = self._next_group()
                points = sum(len(waiting.request.batch) for waiting in group)
                self._busy = len(group) > 1 and points >= BUSY_POINTS
                leaders, later = _leaders(group)
                for waiting in reversed(later):
                    self._queue.appendleft(waiting)
                    self._queued_points += len(waiting.request.batch)
                    points -= len(waiting.request.batch)
                try:
                    await self._write(leaders, points)
                finally:
                    self._points -= points
        finally:
            self._flusher = None
            while self._queue:  # only if this task was cancelled
                self._queue.popleft().answer.cancel()

    def _next_group(self) -> list[_Waiting]:
        group: list[_Waiting] = []
        points = 0
        while self._queue and points < GROUP_POINTS_MAX:
            waiting = self._queue.popleft()
            group.append(waiting)
            points += len(waiting.request.batch)
        self._queued_points -= points
        return group

    async def _write(self, group: list[_Waiting], points: int) -> None:
        """One unit, again without those that the log knows already; then every one is answered."""
        everyone = [*group, *(same for waiting in group for same in waiting.same)]
        try:
            while group:
                requests = [waiting.request for waiting in group]
                if points > INLINE_POINTS_MAX:
                    written = await asyncio.to_thread(self._merger.entries, requests)
                else:
                    written = self._merger.entries(requests)
                keys = tuple(
                    RequestKey(waiting.request.key, _with_counts(waiting))
                    for waiting in group
                    if waiting.request.key is not None
                )
                entries = tuple(one.entry for one in written)
                causes = (request.traceparent for request in requests)
                try:
                    with tracing.of_batch("log append", causes, {"points": points}):
                        receipt = await self._log.append(Append(entries, keys))
                except DuplicateRequest as duplicate:
                    group = self._settle_known(group, duplicate.known)
                else:
                    self._settle(group, written, receipt)
                    return
        except Exception as error:  # noqa: BLE001  # whatever it is, each caller must be told
            for waiting in everyone:
                if not waiting.answer.done():
                    waiting.answer.set_exception(error)
        finally:
            for waiting in everyone:
                waiting.answer.cancel()  # only if this task was cancelled; else all are answered

    def _settle(self, group: Sequence[_Waiting], written: list[Written], receipt: Receipt) -> None:
        positions: list[list[Position]] = [[] for _ in group]
        for one, position in zip(written, receipt.positions, strict=True):
            for number in one.requests:
                positions[number].append(position)
        for waiting, its in zip(group, positions, strict=True):
            self._answer(waiting, its, duplicate=False)

    def _settle_known(
        self, group: Sequence[_Waiting], known: Mapping[str, Known]
    ) -> list[_Waiting]:
        """Answers those whose keys the log knows from what it knows; the rest is returned."""
        rest = []
        for waiting in group:
            key = waiting.request.key
            if key is None or key not in known:
                rest.append(waiting)
            elif known[key].digest[: -_COUNTS.size] == waiting.digest:
                counts = _COUNTS.unpack(known[key].digest[-_COUNTS.size :])
                self._answer(waiting, known[key].receipt.positions, duplicate=True, counts=counts)
            else:
                for one in (waiting, *waiting.same):
                    _refuse_conflict(one)
        assert len(rest) < len(group), "the log refused a unit for keys that it does not have"
        return rest

    def _answer(
        self,
        waiting: _Waiting,
        positions: Iterable[Position],
        *,
        duplicate: bool,
        counts: tuple[int, ...] | None = None,
    ) -> None:
        """``counts``: collected and rejected as they were at first, where this is a repetition:
        meanwhile a point may have become good that was not stored then, or bad that was."""
        last = {position.partition: position for position in sorted(positions)}
        for one in (waiting, *waiting.same):
            if not one.answer.done():
                repeated = duplicate or one is not waiting
                its = _collected(
                    one.parsed, one.request.time_ms, tuple(last.values()), duplicate=repeated
                )
                if counts is not None and counts != (its.collected_count, its.rejected_count):
                    collected, rejected = counts
                    its = replace(
                        its, collected_count=collected, rejected=(), rejected_count=rejected
                    )
                one.answer.set_result(its)


def _leaders(group: Sequence[_Waiting]) -> tuple[list[_Waiting], list[_Waiting]]:
    """Of several requests with one key the first is written, and the equal ones share its fate.

    The others with that key come second: once the first is settled, the log tells which is right.
    """
    leaders: list[_Waiting] = []
    later: list[_Waiting] = []
    by_key: dict[str, _Waiting] = {}
    for waiting in group:
        key = waiting.request.key
        leader = waiting if key is None else by_key.setdefault(key, waiting)
        if leader is waiting:
            leaders.append(waiting)
        elif leader.digest == waiting.digest:
            leader.same.append(waiting)
        else:
            later.append(waiting)
    return leaders, later


def _with_counts(waiting: _Waiting) -> bytes:
    """What the log remembers with a key: the request's digest, and what it was answered."""
    parsed = waiting.parsed
    return waiting.digest + _COUNTS.pack(len(parsed.batch), parsed.rejected_count)


def _refuse_conflict(waiting: _Waiting) -> None:
    if not waiting.answer.done():
        waiting.answer.set_exception(
            RequestConflict(
                "the idempotency key was used before for a request with other content; "
                "use a new key for each request, and the same one only to repeat it unchanged"
            )
        )


def _collected(
    parsed: Parsed, at_ms: int, positions: tuple[Position, ...], *, duplicate: bool
) -> Collected:
    return Collected(
        collected_count=len(parsed.batch),
        source=parsed.source,
        at_ms=at_ms,
        positions=positions,
        rejected=parsed.rejected,
        rejected_count=parsed.rejected_count,
        duplicate=duplicate,
    )


def _scoped(actor: str, key: str | None) -> str | None:
    """The key in the log: no actor can hit another's, nor a numbered stream (`numbered_key`)."""
    if len(required_text(actor, "actor").encode()) > ACTOR_BYTES_MAX:
        raise InputError(f"the caller's name is longer than {ACTOR_BYTES_MAX} bytes")
    if actor.startswith("@"):
        raise InputError(f"the caller's name {actor!r} begins with @, which no name may")
    if key is None:
        return None
    size = len(required_text(key, "the idempotency key").encode())
    if not 0 < size <= KEY_BYTES_MAX:
        raise InputError(f"the idempotency key has {size} bytes; valid are 1 to {KEY_BYTES_MAX}")
    return f"{actor}/{key}"
