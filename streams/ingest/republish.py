"""`Republisher`: messages of an ingest topic to records of the log, in order, until durable.

Each message is a request of a numbered stream (`streams.events.slices`) whose number is its offset,
so a message that is read again, by whomever, counts once. What cannot be taken is dead-lettered;
nothing that a message holds stops the others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import zip_longest
from typing import Final

from streams.events.catalogue import DeadLettered, Envelope, Event
from streams.events.codec import encode
from streams.events.slices import numbered_key
from streams.events.topics import DEADLETTER, POINTS
from streams.ingest.foreign import refused, understand
from streams.ingest.ingest_topics import IngestTopic
from streams.ingest.merging import Merger, Request
from streams.ingest.pseudonyms import Pseudonyms
from streams.ingest.series_limits import SeriesLimits
from streams.log.asking_again import until_available
from streams.log.protocol import Append, Entry, EventLog, Record
from streams.log.wall_clock import wall_clock_ms

PAUSES_S: Final = (0.1, 5.0)
"""The first and the longest pause after the log refused a write."""

INLINE_BYTES_MAX: Final = 65_536
"""More is read in a thread, so that the event loop goes on."""


@dataclass(slots=True)
class Republished:
    """Since the start, repeats included."""

    messages: int = 0
    points: int = 0
    dead_letters: int = 0


class Republisher:
    """For one topic and one event loop; one call a partition at a time."""

    def __init__(
        self,
        log: EventLog,
        topic: IngestTopic,
        limits: SeriesLimits,
        *,
        pseudonyms: Pseudonyms | None = None,
        clock: Callable[[], int] = wall_clock_ms,
    ) -> None:
        self._log = log
        self._topic = topic
        self._actor = f"ingest/{topic.name}"
        self._limits = limits
        self._pseudonyms = pseudonyms
        self._clock = clock
        self._merger = Merger(log.partitions(POINTS))
        self._reading = asyncio.Lock()  # the merger and the limits are for one thread
        self.counts = Republished()

    async def republish(self, records: Sequence[Record]) -> None:
        """Returns when all that these say is durable. They are of one partition, in order.

        While the log refuses writes it is asked again, later and later, until this is cancelled:
        then some may be durable, and all are to be read again.
        """
        if not records:
            return
        if sum(len(record.body) for record in records) > INLINE_BYTES_MAX:
            async with self._reading:
                units = await asyncio.to_thread(self._units, records)
        else:
            async with self._reading:
                units = self._units(records)
        for unit in units:
            append = partial(self._log.append, unit)
            await until_available(append, self._actor, pauses_s=PAUSES_S)
        self.counts.messages += len(records)

    def _units(self, records: Sequence[Record]) -> list[Append]:
        """One after the other, each with one record a partition at most: what failed is written
        again before anything that follows it, so numbers of a stream never fall but by repeats."""
        now_ms = self._clock()
        requests: list[Request] = []
        dead: list[Entry] = []
        for record in records:
            understood = understand(self._topic, record, now_ms, self._pseudonyms)
            letter = understood.dead
            if understood.parsed is not None:
                parsed = self._limits.admitted(understood.parsed)
                if parsed is not understood.parsed:
                    letter = refused(self._topic, record, parsed)
                key = self._key(record, parsed.request_id)
                requests.append(
                    Request(parsed.batch, self._actor, self._actor, understood.at_ms, key)
                )
            if letter is not None:
                dead.append(self._dead(letter, understood.at_ms))
        self.counts.points += sum(len(request.batch) for request in requests)
        self.counts.dead_letters += len(dead)
        lanes: dict[int, list[Entry]] = {}
        for written in self._merger.entries(requests):
            lanes.setdefault(written.entry.partition, []).append(written.entry)
        units = [
            tuple(entry for entry in entries if entry is not None)
            for entries in zip_longest(*lanes.values())
        ]
        if dead:
            units[:1] = [(*dead, *(units[0] if units else ()))]
        return [Append(entries) for entries in units]

    def _key(self, record: Record, request_id: str | None) -> str:
        """A producer's own key, if it gives one: its retries are messages of their own."""
        if request_id is not None:
            return f"{self._actor}/{request_id}"
        return numbered_key(f"{self._actor}/{record.partition}", record.offset)

    def _dead(self, letter: DeadLettered, at_ms: int) -> Entry:
        envelope = Envelope(
            id=f"{self._actor}:{letter.partition}:{letter.offset}",
            source=self._actor,
            time_ms=at_ms,
            actor=self._actor,
        )
        partition = letter.partition % self._log.partitions(DEADLETTER)
        return Entry(DEADLETTER, partition, encode(Event(envelope, letter)))
