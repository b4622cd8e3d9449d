"""A worker that kills itself: before it sends its n-th outputs, or so long after they are there.

``python -m tests.flow.mortal_worker <broker> <prefix> <n> <seconds, negative for before>``
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from typing import Any

from streams.events.topics import POINTS
from streams.log.kafka_config import KafkaConfig
from streams.log.kafka_log import KafkaLog
from streams.log.protocol import Append, Receipt
from streams.runners.kafka_runner import KafkaRunner
from tests.flow.scripted import PARTITIONS, PROCESSOR, TICK_MS


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class MortalLog:
    """A log whose n-th append of outputs is the last thing but what follows within the time."""

    def __init__(self, log: KafkaLog, number: int, after_s: float) -> None:
        self._log = log
        self._left = number
        self._after_s = after_s

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    async def append(self, unit: Append) -> Receipt:
        if unit.entries[0].topic != POINTS:
            self._left -= 1
        if self._left == 0 and self._after_s < 0:
            die()
        receipt = await self._log.append(unit)
        if self._left == 0:
            threading.Timer(self._after_s, die).start()
        return receipt


def main(broker: str, prefix: str, number: str, after_s: str) -> None:
    log = KafkaLog.open(KafkaConfig((broker,), prefix=prefix, partitions=PARTITIONS))
    mortal: Any = MortalLog(log, int(number), float(after_s))
    runner = KafkaRunner(
        log.config,
        mortal,
        [PROCESSOR],
        tick_ms=TICK_MS,
        clock=lambda: TICK_MS,
        flush_every_s=0.0,
        worker_id="mortal",
    )
    runner.start()
    threading.Event().wait(40)
    os._exit(3)


if __name__ == "__main__":
    main(*sys.argv[1:])
