"""`KafkaTail`: the log as a projection reads it, with what is new told by Faust agents.

The agents' consumer group belongs to one node, so every node is told of every record of every
partition. Nothing rests on the group's commits: the reader's own positions say what it has, and
what the agents do not bring, or bring late, is read in the log itself.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Mapping, Sequence

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition

from streams.errors import LogError, LogUnavailable
from streams.log.kafka_config import KafkaConfig
from streams.log.kafka_log import KafkaLog
from streams.log.protocol import Record
from streams.log.recent import BYTES_MAX, Partition, RecentRecords
from streams.runners.faust_app import FaustHost

_LOGGER = logging.getLogger(__name__)

LOOK_S = 0.1
"""How often a waiting reader looks at the log's own ends, which move without the agents too."""
START_S = 30.0
SKIP_S = 10.0
STOP_S = 5.0
WATCH_S = 0.2
STALLED_S = 15.0
"""Without a word of what is in the log for so long, agents are taken for dead: after a broker was
away Faust may wait for ever."""
PAUSE_S = (1.0, 30.0)
"""The first and the longest pause before agents that ended are hosted again."""


class KafkaTail:
    """Answers `read_now` from the newest records in memory, at most ``bytes_max``, else from the
    log. Every method may be called from any thread.

    While the brokers are away the ends stay what they were, and reads raise `LogUnavailable`.
    """

    def __init__(
        self,
        log: KafkaLog,
        kafka: KafkaConfig,
        topics: Sequence[str],
        *,
        node: str,
        bytes_max: int = BYTES_MAX,
    ) -> None:
        """``node``: names the consumer group; no two running nodes may share one."""
        self._log = log
        self._recent = RecentRecords(
            {topic: log.partitions(topic) for topic in topics}, bytes_max=bytes_max
        )
        self._moved = threading.Condition()
        self._kafka = kafka
        self._topics = tuple(topics)
        self._node = node
        self._group = f"{kafka.prefix}projection-{node}"
        self._failure: BaseException | None = None
        self._stopping = threading.Event()
        self._host: FaustHost | None = None
        self._thread = threading.Thread(target=self._run, name="kafka-tail", daemon=True)

    def start(self) -> None:
        """Begins to host the agents, and does so again whenever they end; waits for nothing, for
        the log can be read without them."""
        self._thread.start()

    def stop(self, timeout_s: float) -> bool:
        """True when the agents have ended."""
        stop_by = time.monotonic() + timeout_s
        self._stopping.set()
        if self._host is not None:
            self._host.stop(timeout_s)
        if self._thread.ident is not None:
            self._thread.join(max(0.0, stop_by - time.monotonic()))
        return not self._thread.is_alive()

    def failure(self) -> BaseException | None:
        """Why there are no agents now; None while they run. What is new is then read in the log,
        about a tenth of a second later."""
        return self._failure

    @property
    def dropped(self) -> int:
        """Records let go before they were read: they are read in the log."""
        return self._recent.dropped

    @property
    def told(self) -> int:
        """Records that agents brought, also such as were read before."""
        return self._recent.told

    @property
    def held_bytes(self) -> int:
        """What the newest records take in memory, about."""
        return self._recent.held_bytes

    @property
    def log_id(self) -> str:
        return self._log.log_id

    @property
    def gapless(self) -> bool:
        return self._log.gapless

    def partitions(self, topic: str) -> int:
        """`InputError` for a topic that the log does not have."""
        return self._log.partitions(topic)

    def read_now(
        self,
        topic: str,
        partition: int,
        offset: int,
        *,
        records_max: int = 256,
        bytes_max: int = 8 << 20,
    ) -> list[Record]:
        """At least one record if there is one; `OffsetOutOfRange`, `LogUnavailable`."""
        found = self._recent.read(
            topic, partition, offset, records_max=records_max, bytes_max=bytes_max
        )
        if found is not None:
            return found
        return self._log.read_now(
            topic, partition, offset, records_max=records_max, bytes_max=bytes_max
        )

    def ends(self) -> Mapping[Partition, int]:
        """As the log knows them, or the agents where they know more."""
        told = self._recent.ends()
        return {place: max(end, told.get(place, 0)) for place, end in self._log.ends().items()}

    def refresh_ends(self) -> None:
        """Asks the brokers, so that the ends are not older than this call; blocks, not for event
        loops. `LogUnavailable` where they do not answer."""
        asyncio.run(self._log.end_positions(self._topics[0]))

    def starts(self) -> Mapping[Partition, int]:
        """The first offset kept in each partition."""
        return self._log.starts()

    def wait_for(self, wanted: Mapping[Partition, int], timeout_s: float) -> bool:
        """Blocks until the end of any partition given is above its offset (True), or the time is
        over (False)."""
        deadline = time.monotonic() + timeout_s
        with self._moved:
            while True:
                ends = self.ends()
                if any(ends[place] > offset for place, offset in wanted.items()):
                    return True
                rest = deadline - time.monotonic()
                if rest <= 0:
                    return False
                self._moved.wait(min(rest, LOOK_S))

    def _run(self) -> None:
        pause_s = PAUSE_S[0]
        while not self._stopping.is_set():
            self._skip_history()
            host = self._host = self._new_host()
            try:
                host.start(START_S)
                began = time.monotonic()
                self._failure = None
                error = self._watch(host)
                if time.monotonic() - began > PAUSE_S[1]:
                    pause_s = PAUSE_S[0]
            except Exception as cause:  # noqa: BLE001  whatever Faust says, the log is still read
                error = cause
            host.stop(STOP_S)
            if self._stopping.is_set():
                return
            self._failure = error
            _LOGGER.warning("the agents ended, others begin in %g s: %s", pause_s, error)
            self._stopping.wait(pause_s)
            pause_s = min(2 * pause_s, PAUSE_S[1])

    def _watch(self, host: FaustHost) -> BaseException | None:
        """Returns when the tail is stopped (None), or with why these agents are of no use."""
        begun, told, heard_at = self.ends(), self.told, time.monotonic()
        while not self._stopping.wait(WATCH_S):
            if (error := host.failure()) is not None:
                return error
            untold = self._untold(begun)
            if self.told != told or not untold:
                told, heard_at = self.told, time.monotonic()
            elif time.monotonic() - heard_at > STALLED_S:
                return LogUnavailable(f"{untold} records came, and no agent told of them")
        return None

    def _untold(self, begun: Mapping[Partition, int]) -> int:
        """Records that came since ``begun`` and that no agent has told of."""
        told = self._recent.ends()
        return sum(
            max(0, end - max(begun[place], told[place]))
            for place, end in self._log.ends().items()
            if place in told
        )

    def _skip_history(self) -> None:
        """Lets the group begin at the log's end: what lies before is read in the log, and a new
        group would be told all of it from the start."""
        try:
            asyncio.run(asyncio.wait_for(self._commit_ends(), SKIP_S))
        except (KafkaError, LogError, OSError, TimeoutError, asyncio.CancelledError) as error:
            # Members that were there a moment ago count still: then it is not far behind.
            _LOGGER.info("the agents begin where they were: %s", type(error).__name__)

    async def _commit_ends(self) -> None:
        ends = {
            TopicPartition(self._kafka.topic(topic), number): end
            for topic in self._topics
            for number, end in (await self._log.end_positions(topic)).items()
        }
        consumer = AIOKafkaConsumer(
            **self._kafka.client_options(), group_id=self._group, enable_auto_commit=False
        )
        try:
            await consumer.start()
            consumer.assign(list(ends))
            await consumer.commit(ends)
        finally:
            await consumer.stop()

    def _new_host(self) -> FaustHost:
        """Its id in the group is the node's, so that it takes the place of the one before it."""
        host = FaustHost(self._kafka, app_id=self._group, instance_id=self._node)
        for topic in self._topics:
            host.agent(self._kafka.topic(topic), self._told, name=f"tail-{topic}")
        return host

    async def _told(self, record: Record) -> None:
        if self._recent.offer(record):
            with self._moved:
                self._moved.notify_all()
