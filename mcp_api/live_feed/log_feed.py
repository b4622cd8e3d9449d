"""Alerts, health and events as the log has them: one reader for all clients, nothing left out.

A subscription begins with a snapshot or after a position, reads the log by itself up to where the
common reader is, and from then on is told what that one reads, read and put into text once.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from mcp_api.live_feed.event_lines import TYPE, Line, changes, lines_of
from mcp_api.live_feed.messages import json_text
from mcp_api.live_feed.outbox import Outbox, Shared
from mcp_api.live_feed.past import Past
from mcp_api.live_feed.snapshots import Snapshots
from mcp_api.live_feed.subscriptions import Cursor, LogWanted, cursor_after
from mcp_api.tools.positions import absorbed_token
from projections.source import TOPICS, Partition
from streams.errors import InputError, LogUnavailable, OffsetOutOfRange
from streams.log.protocol import LocalLog, Record

_LOGGER = logging.getLogger(__name__)

WAIT_S = 1.0
PAUSE_S = 0.05
"""Between reads while much is written: what comes meanwhile goes out together."""
RETRY_S = 1.0
POSITION_S = 30.0

RECORDS_MAX = 256
RECORD_BYTES_MAX = 2 << 20

T = TypeVar("T")


@dataclass(slots=True, eq=False)
class _Follower:
    """One subscription. ``cursor``: what it was told, until the common reader tells it; then of
    those partitions only (``ahead``) of which it knows more than the common reader has read."""

    wanted: LogWanted
    head: str
    outbox: Outbox
    cursor: Cursor = field(default_factory=dict)

    async def put(self, text: str) -> None:
        await self.outbox.put(self.head, Shared(text))


@dataclass(slots=True, eq=False)
class _Channel:
    """All who want the same, and are told by the common reader. ``silent``: since when they were
    told nothing, though the log may have come farther."""

    followers: set[_Follower]
    silent: float | None = None


class LogFeed:
    """Belongs to one event loop; reads nothing while nobody follows."""

    def __init__(
        self, log: LocalLog, snapshots: Snapshots, *, position_s: float = POSITION_S
    ) -> None:
        """``position_s``: after so long without an event the position is told all the same."""
        self._log = log
        self._position_s = position_s
        self._snapshots = snapshots
        self._channels: dict[LogWanted, _Channel] = {}
        self._next: Cursor = {}
        self._following = 0
        self._reading: asyncio.Task[None] | None = None
        self._begun = asyncio.Event()
        self._thread: ThreadPoolExecutor | None = None
        self._past = Past(log)

    async def follow(self, wanted: LogWanted, head: str, outbox: Outbox, after: str | None) -> None:
        """Tells everything until cancelled: a snapshot, or what came ``after`` a position; then
        changes. `InputError` for a position that is none of this log; `ProjectionError`."""
        one = _Follower(wanted, head, outbox)
        self._following += 1
        try:
            if after is None:
                await self._snapshot(one)
            else:
                await self._resume(one, after)
            await self._catch_up(one)
            if after is not None:
                await one.put(_position(one.cursor))
                await self._catch_up(one)
            one.cursor = {
                at: offset for at, offset in one.cursor.items() if offset > self._next[at]
            }
            channel = self._channels.setdefault(wanted, _Channel(set()))
            channel.followers.add(one)
            if channel.silent is None:  # what it caught up with may have been nothing for it
                channel.silent = asyncio.get_running_loop().time()
            try:
                await outbox.cut.wait()
            finally:
                channel.followers.discard(one)
                if not channel.followers and self._channels.get(wanted) is channel:
                    del self._channels[wanted]
        finally:
            self._following -= 1

    async def close(self) -> None:
        """Ends the reader."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.wait({self._reading})
        if self._thread is not None:
            self._thread.shutdown(wait=False, cancel_futures=True)

    async def _snapshot(self, one: _Follower) -> None:
        one.cursor = cursor_after("", one.wanted, self._log)
        if one.wanted.feed == "events":
            one.cursor |= await self._of_topics(one.wanted, self._log.end_positions)
            position = absorbed_token(one.cursor)
            await one.put(f'"type":"snapshot","events":[],"position":"{position}"}}')
            return
        snapshot = await self._snapshots.of(one.wanted.feed)
        for shared in snapshot.tails:
            await one.outbox.put(one.head, shared)
        one.cursor |= snapshot.cursor

    async def _resume(self, one: _Follower, after: str) -> None:
        one.cursor = cursor_after(after, one.wanted, self._log)
        for place, end in (await self._of_topics(one.wanted, self._log.end_positions)).items():
            if one.cursor[place] > end:
                raise InputError(
                    f"after is past {end}, the end of {place[0]}/{place[1]}: it is a position of "
                    "another log; subscribe without it"
                )
        await self._pass_gaps(one)

    async def _pass_gaps(self, one: _Follower) -> None:
        """Where the log no longer holds what comes next, that is told, and how things stand now."""
        starts = await self._of_topics(one.wanted, self._log.start_positions)
        lost = {place: start for place, start in starts.items() if one.cursor[place] < start}
        if not lost:
            return
        spans = [f"{t}/{n}: {one.cursor[t, n]} to {start - 1}" for (t, n), start in lost.items()]
        told = {
            "type": "gap",
            "after": absorbed_token({place: one.cursor[place] for place in lost}),
            "until": absorbed_token(lost),
            "message": f"the log no longer holds these offsets: {', '.join(spans[:10])}",
        }
        await one.put(json_text(told)[1:])
        if one.wanted.feed != "events":
            await self._snapshot(one)
        for place, start in starts.items():
            one.cursor[place] = max(start, one.cursor[place])

    async def _of_topics(
        self, wanted: LogWanted, ask: Callable[[str], Awaitable[Mapping[int, int]]]
    ) -> Cursor:
        return {
            (topic, number): offset
            for topic in sorted(wanted.topics)
            for number, offset in (await ask(topic)).items()
        }

    async def _catch_up(self, one: _Follower) -> None:
        """Moves its cursor to where the common reader is, or beyond; both are there when this
        returns."""
        while True:
            await self._common_reader()
            place = next((at for at, to in one.cursor.items() if to < self._next[at]), None)
            if place is None:
                return
            try:
                stretch = await self._past.stretch(one.wanted, one.cursor, place)
            except OffsetOutOfRange:
                await self._pass_gaps(one)
                continue
            except LogUnavailable:
                stretch = None
            if stretch is None:  # not now: the leader that has it is new, or away
                await asyncio.sleep(RETRY_S)
                continue
            for tail in stretch.tails:
                await one.outbox.put(one.head, tail)
            one.cursor[place] = stretch.following

    async def _common_reader(self) -> None:
        """Returns at once where it reads; else it begins at the log's end."""
        if self._reading is None or self._reading.done():
            self._begun.clear()
            self._reading = asyncio.create_task(self._run(), name="live-feed")
        await self._begun.wait()

    async def _run(self) -> None:
        try:
            ends = await self._in_thread(self._log.ends)
            self._next = {place: end for place, end in ends.items() if place[0] in TOPICS}
            self._begun.set()
            while self._following:
                try:
                    wait = partial(self._log.wait_for, dict(self._next), WAIT_S)
                    await self._in_thread(wait)
                    stuck = await self._advance()
                    await asyncio.sleep(RETRY_S if stuck else PAUSE_S)
                except LogUnavailable as error:
                    _LOGGER.warning("the live feed waits for the log: %s", error)
                    await asyncio.sleep(RETRY_S)
                self._tell_positions()
        except Exception:
            _LOGGER.exception("the live feed of the log ended; its clients are cut, and come again")
        finally:
            self._begun.set()
            for channel in self._channels.values():
                for one in channel.followers:
                    one.outbox.end()

    async def _advance(self) -> bool:
        """Tells what was written; whether some of it could not be read yet."""
        stuck = False
        for place, end in (await self._in_thread(self._log.ends)).items():
            while place in self._next and self._next[place] < end:
                if not any(place[0] in wanted.topics for wanted in self._channels):
                    self._next[place] = end
                    break
                records = await self._read(place, self._next[place])
                if not records:
                    stuck = True
                    break
                lines = await self._lines(records)
                self._tell(place, records[-1].offset + 1, lines)
        return stuck

    async def _lines(self, records: Sequence[Record]) -> list[Line]:
        """Of all that somebody wants, also of who came while they were made."""
        topic = records[0].topic
        kinds = {record.headers.get(TYPE, "") for record in records}
        made: frozenset[str] | None = None
        lines: list[Line] = []
        while True:
            needed = frozenset(
                kind
                for kind in kinds
                if any(wanted.takes(topic, kind) for wanted in self._channels)
            )
            if made is not None and needed <= made:
                return lines
            lines = await self._in_thread(partial(lines_of, records, needed.__contains__))
            made = needed

    def _tell(self, place: Partition, following: int, lines: list[Line]) -> None:
        now = asyncio.get_running_loop().time()
        for wanted, channel in self._channels.items():
            if place[0] not in wanted.topics:
                continue
            common = self._common(wanted)
            tails = [Shared(text) for text in changes(wanted, lines, common, place, following)]
            if tails:
                channel.silent = None
            elif channel.silent is None:
                channel.silent = now
            for one in channel.followers:
                if one.cursor:
                    self._tell_ahead(one, place, following, lines)
                    continue
                for tail in tails:
                    one.outbox.push(one.head, tail)
        self._next[place] = following

    def _tell_ahead(
        self, one: _Follower, place: Partition, following: int, lines: list[Line]
    ) -> None:
        """One that was told some of it before."""
        common = self._common(one.wanted)
        own = common | {at: max(offset, common[at]) for at, offset in one.cursor.items()}
        new = [line for line in lines if line.offset >= own[place]]
        for text in changes(one.wanted, new, own, place, max(following, own[place])):
            one.outbox.push(one.head, Shared(text))
        if following >= own[place]:
            one.cursor.pop(place, None)

    def _tell_positions(self) -> None:
        now = asyncio.get_running_loop().time()
        for wanted, channel in self._channels.items():
            if channel.silent is None or now - channel.silent < self._position_s:
                continue
            channel.silent = None
            tail = Shared(_position(self._common(wanted)))
            for one in channel.followers:
                if not one.cursor:
                    one.outbox.push(one.head, tail)

    def _common(self, wanted: LogWanted) -> Cursor:
        return {at: offset for at, offset in self._next.items() if at[0] in wanted.topics}

    async def _read(self, place: Partition, offset: int) -> Sequence[Record]:
        return await self._log.read(
            *place, offset, records_max=RECORDS_MAX, bytes_max=RECORD_BYTES_MAX
        )

    async def _in_thread(self, work: Callable[[], T]) -> T:
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="live-feed")
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)


def _position(cursor: Cursor) -> str:
    return f'"type":"position","position":"{absorbed_token(cursor)}"}}'
