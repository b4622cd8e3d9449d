"""The values of expressions: each evaluated once for all who follow it, as metrics come in.

A client that is slow misses values, never series: when there is room it is told all that changed
since what it was told last.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from mcp_api.live_feed.messages import error_text, json_text
from mcp_api.live_feed.outbox import Outbox, Usage
from mcp_api.live_feed.series_state import SeriesState
from mcp_api.live_feed.subscriptions import MetricsWanted
from mcp_api.tools.positions import absorbed_token
from mcp_api.tools.values import json_number
from projections.projector import Projector
from projections.source import Partition
from streams.errors import (
    InputError,
    LogfireMcpError,
    Overloaded,
    QuerySyntaxError,
    QueryTooLarge,
)
from streams.events.codec import iso_time
from streams.events.topics import POINTS
from streams.log.wall_clock import wall_clock_ms

_LOGGER = logging.getLogger(__name__)

EXPRESSIONS_MAX = 200
"""Different ones (or with different intervals) that are followed at once."""

SERIES_MAX = 1_000
ANSWER_BYTES_MAX = 1 << 20
SAMPLES_MAX = 1_000_000
TIMEOUT_S = 10.0

UNCHANGED_MS = 15_000
"""Without new metrics values change by time alone: they are looked at again after so long."""


class _Follower:
    """One subscription; ``have``: the version of what it was told last."""

    __slots__ = ("_usage", "_waits", "followed", "have", "head", "outbox")

    def __init__(self, followed: _Followed, head: str, outbox: Outbox, usage: Usage) -> None:
        self.followed = followed
        self.head = head
        self.outbox = outbox
        self.have = 0
        self._waits = False
        self._usage = usage

    def tell(self) -> None:
        """There is a newer answer."""
        if self._waits:
            self._usage.conflated += 1
            return
        self._waits = True
        self.outbox.push_newest(self)

    def take(self) -> Sequence[str]:
        """As `mcp_api.live_feed.outbox.Newest` has it."""
        self._waits = False
        state = self.followed.state
        if self.have == state.version:
            return ()
        tails = state.tails(self.have)
        self.have = state.version
        return [self.head + tail for tail in tails]


class _Followed:
    """An expression, who follows it, and when it is due; ``seen``: of the newest answer, what was
    projected, and when it was asked for; ``problem``: why there was none the last time."""

    def __init__(self, wanted: MetricsWanted, due: float) -> None:
        self.wanted = wanted
        self.state = SeriesState()
        self.followers: set[_Follower] = set()
        self.due = due
        self.seen: tuple[Mapping[Partition, int], int] | None = None
        self.problem: Exception | None = None
        self.asked = asyncio.Event()


class MetricsFeed:
    """Belongs to one event loop; asks nothing while nobody follows."""

    def __init__(
        self, projector: Projector, usage: Usage, clock: Callable[[], int] = wall_clock_ms
    ) -> None:
        self._projector = projector
        self._usage = usage
        self._clock = clock
        self._all: dict[MetricsWanted, _Followed] = {}
        self._added = asyncio.Event()
        self._asking: asyncio.Task[None] | None = None
        self._thread: ThreadPoolExecutor | None = None

    @property
    def expressions(self) -> int:
        """How many are followed."""
        return len(self._all)

    async def follow(self, wanted: MetricsWanted, head: str, outbox: Outbox) -> None:
        """Tells a snapshot, then changes, until cancelled. `InputError` for an expression that
        cannot be evaluated now, `Overloaded` for one too many."""
        followed = self._all.get(wanted)
        if followed is None:
            if len(self._all) >= EXPRESSIONS_MAX:
                raise Overloaded(
                    f"{EXPRESSIONS_MAX} different expressions are followed already; "
                    "follow one of those, or come again later"
                )
            followed = self._all[wanted] = _Followed(wanted, self._now())
            self._added.set()
        follower = _Follower(followed, head, outbox, self._usage)
        followed.followers.add(follower)
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._run(), name="live-metrics")
        try:
            await followed.asked.wait()
            if not followed.state.version:
                assert followed.problem is not None
                raise followed.problem
            follower.tell()
            await outbox.cut.wait()
        finally:
            followed.followers.discard(follower)
            if not followed.followers and self._all.get(wanted) is followed:
                del self._all[wanted]

    async def close(self) -> None:
        """Asks no more."""
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.wait({self._asking})
        if self._thread is not None:
            self._thread.shutdown(wait=False, cancel_futures=True)

    async def _run(self) -> None:
        while self._all:
            followed = min(self._all.values(), key=lambda one: one.due)
            wait_s = followed.due - self._now()
            if wait_s > 0:
                self._added.clear()
                try:
                    async with asyncio.timeout(wait_s):
                        await self._added.wait()
                except TimeoutError:
                    pass
                continue
            await self._look(followed)
            followed.due = max(followed.due + followed.wanted.interval_ms / 1_000, self._now())

    async def _look(self, followed: _Followed) -> None:
        """Evaluates it, unless nothing came since; who follows is told what is new."""
        at_ms = self._clock()
        try:
            seen = {p: at for p, at in self._projector.positions().items() if p[0] == POINTS}
            if followed.seen is not None and followed.problem is None:
                before, before_ms = followed.seen
                if before == seen and 0 <= at_ms - before_ms < UNCHANGED_MS:
                    return
            if self._thread is None:
                self._thread = ThreadPoolExecutor(1, thread_name_prefix="live-metrics")
            loop = asyncio.get_running_loop()
            expr = followed.wanted.promql
            answer = await loop.run_in_executor(self._thread, self._evaluated, expr, at_ms)
        except Exception as error:  # noqa: BLE001  its followers are told
            self._failed(followed, error)
            return
        last = f'"at":"{iso_time(at_ms)}","position":"{absorbed_token(seen)}"'
        changed = followed.state.absorb(answer, last)
        followed.seen, followed.problem = (seen, at_ms), None
        if not followed.asked.is_set():
            followed.asked.set()
        elif changed:
            for follower in followed.followers:
                if follower.have:
                    follower.tell()

    def _failed(self, followed: _Followed, error: Exception) -> None:
        if not isinstance(error, LogfireMcpError):
            _LOGGER.error("%s cannot be evaluated", followed.wanted.promql, exc_info=error)
            error = LogfireMcpError("something went wrong here; the server's log says what")
        first, followed.problem = followed.problem is None, error
        followed.asked.set()
        if not followed.state.version:
            self._all.pop(followed.wanted, None)  # whoever asks again begins anew
        elif first:
            for follower in followed.followers:
                follower.outbox.push_newest(_Problem(follower.head, error))

    def _evaluated(self, expr: str, at_ms: int) -> dict[str, str]:
        """Values by labels, both as JSON; blocks. At least what the positions asked for before
        say is seen."""
        # Late: a server of which nobody follows metrics does without the engine in memory.
        from projections.promql_queries import LIMITS, PromqlQueries

        limits = replace(LIMITS, samples_max=SAMPLES_MAX)
        queries = PromqlQueries(self._projector, timeout_s=TIMEOUT_S, limits=limits)
        try:
            answer = queries.instant(expr, at_ms)
        except QuerySyntaxError as error:
            raise InputError(f"promql: {error}") from error
        if answer.kind not in {"vector", "scalar"}:
            raise InputError(
                f"promql is a {answer.kind}, which has no value at one time; expected one of an "
                "instant, such as rate(requests_total[5m])"
            )
        if len(answer.labels) > SERIES_MAX:
            raise QueryTooLarge(
                f"promql has {len(answer.labels):,} series, at most {SERIES_MAX:,} can be followed:"
                " aggregate (sum by, topk) or select fewer"
            )
        values = map(json_number, answer.value.tolist())
        told = {
            json_text(dict(labels)): json_text(value)
            for labels, value in zip(answer.labels, values, strict=True)
        }
        if sum(map(len, told)) > ANSWER_BYTES_MAX:
            raise QueryTooLarge(
                f"promql has series whose labels are over {ANSWER_BYTES_MAX >> 20} MiB together: "
                "aggregate (sum by, topk) or select fewer"
            )
        return told

    def _now(self) -> float:
        return asyncio.get_running_loop().time()


class _Problem:
    """Told in its turn; the next answer that can be had is told as usual."""

    __slots__ = ("_text",)

    def __init__(self, head: str, error: Exception) -> None:
        self._text = head + error_text(str(error))[1:]

    def take(self) -> Sequence[str]:
        return (self._text,)
