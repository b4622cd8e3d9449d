"""Whether the log can be reached, and what is told about it: ``/ready``, the status, the gauges."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from streams.errors import LogError
from streams.events.topics import POINTS

if TYPE_CHECKING:
    from streams.log.kafka_log import KafkaLog
    from streams.runners.kafka_tail import KafkaTail

ASK_EVERY_S = 1.0
ASK_S = 4.0
PATIENCE_S = 3.0
"""So long may the log not answer before it is told: leaders move within that."""


@dataclass(frozen=True, slots=True)
class LogStatus:
    """``kind``: sqlite or kafka. ``durable``: what is acknowledged outlives any one broker or,
    embedded, a loss of power. ``problems``: one sentence each. ``told``: records that came
    through the agents; ``dropped``: of those, for which the projection's buffer had no room."""

    kind: str
    durable: bool
    brokers: tuple[str, ...] = ()
    node: str = ""
    unreachable: str = ""
    problems: tuple[str, ...] = ()
    told: int = 0
    dropped: int = 0


class LogWatch:
    """Asks the log on Kafka every second, in the event loop that runs `run`; the embedded one is a
    file of this process and is not asked."""

    def __init__(
        self, log: KafkaLog | None = None, tail: KafkaTail | None = None, node: str = ""
    ) -> None:
        self._log = log
        self._tail = tail
        self._node = node
        self._answered = time.monotonic()
        self._error = ""

    async def run(self) -> None:
        """Until cancelled."""
        while self._log is not None:
            try:
                async with asyncio.timeout(ASK_S):
                    await self._log.end_positions(POINTS)
            except TimeoutError:
                self._error = self._error or f"no answer within {ASK_S:g} s"
            except LogError as error:
                self._error = str(error)
            else:
                self._answered = time.monotonic()
                self._error = ""
            await asyncio.sleep(ASK_EVERY_S)

    def unreachable(self) -> str:
        """Why the log has not answered for some seconds; "" where it does."""
        silent_s = time.monotonic() - self._answered
        if not self._error or silent_s < PATIENCE_S:
            return ""
        return f"Kafka has not answered for {silent_s:.0f} s: {self._error}"

    def status(self) -> LogStatus:
        """As of now; asks nobody."""
        if self._log is None:
            return LogStatus("sqlite", durable=True)
        return LogStatus(
            "kafka",
            durable=self._log.durable,
            brokers=self._log.config.bootstrap_servers,
            node=self._node,
            unreachable=self.unreachable(),
            problems=tuple(self._problems(self._log)),
            told=0 if self._tail is None else self._tail.told,
            dropped=0 if self._tail is None else self._tail.dropped,
        )

    def _problems(self, log: KafkaLog) -> list[str]:
        problems = []
        if unreachable := self.unreachable():
            problems.append(f"log: {unreachable}")
        elif failure := log.stats().failure:
            problems.append(f"log: the last write failed: {failure}")
        if self._tail is not None and (error := self._tail.failure()) is not None:
            problems.append(f"tail: {error}; records are read in the log instead")
        return problems
