"""Workers on a real Kafka, in this process: they join, leave, and end as if they were killed.

And one in a process of its own that kills itself for real: ``python -m tests.flow.alert_fleet
<broker> <prefix> <file with the time> <which append> <whether it is done>``
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, NoReturn

from mcp_api.pipeline import alert_processors
from streams.config import load_settings
from streams.log.kafka_config import KafkaConfig
from streams.log.kafka_log import KafkaLog
from streams.log.protocol import Append, Receipt
from streams.processors.seam import Processor
from streams.runners.kafka_runner import KafkaRunner
from tests.api.processes import ROOT
from tests.flow.alert_schedules import FAR_S, PARTITIONS, ROUTING, TICK_MS, Inputs, Round
from tests.flow.kafka_fleet import until

WORKERS_MAX = 3


class Killed(Exception):
    """As far as the log can tell, the worker's process is gone."""


def killed() -> NoReturn:
    """As far as the log can tell."""
    raise Killed


def kill_this_process() -> NoReturn:
    """kill -9."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


class MortalLog:
    """The log as one worker has it: armed, it lets so many appends through, and then no more."""

    def __init__(self, log: KafkaLog, end: Callable[[], NoReturn] = killed) -> None:
        self._log = log
        self._end = end
        self._left: int | None = None
        self._is_done = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    def arm(self, number: int, *, is_done: bool) -> None:
        """The append with this number, from 1, is the last; ``is_done``: it reaches the log."""
        if self._left is None:
            self._is_done, self._left = is_done, number

    async def append(self, unit: Append) -> Receipt:
        """As the log has it, until the end."""
        if self._left is not None:
            self._left -= 1
            if self._left < 0 or (self._left == 0 and not self._is_done):
                self._end()
        receipt = await self._log.append(unit)
        if self._left == 0:
            self._end()
        return receipt


@dataclass
class Worker:
    """A runner under a name of its own."""

    name: str
    log: MortalLog
    runner: KafkaRunner


@dataclass
class Fleet:
    """Workers in this process, at the clock of the inputs. Whoever has died is ended and started
    again under the same name, as a supervisor does it."""

    log: KafkaLog
    inputs: Inputs
    processors: Sequence[Processor[Any]]
    running: list[Worker] = field(default_factory=list)
    _numbers: Iterator[int] = field(default_factory=count)
    _lock: threading.RLock = field(default_factory=threading.RLock)
    _stopping: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self._supervisor = threading.Thread(target=self._supervise, name="supervisor")
        self._supervisor.start()

    def join(self, name: str = "") -> None:
        """One more."""
        log: Any = MortalLog(self.log)
        name = name or f"worker-{next(self._numbers)}"
        runner = new_runner(log, self.processors, name, lambda: self.inputs.now_ms)
        runner.start(FAR_S)
        self.running.append(Worker(name, log, runner))

    def live(self, one: Round) -> None:
        """Through a round."""
        with self._lock:
            if one.fleet == "joins" and len(self.running) < WORKERS_MAX:
                self.join()
            if one.fleet == "leaves" and len(self.running) > 1:
                assert self.running.pop(0).runner.stop(FAR_S)
            if one.crash is not None:
                self.running[-1].log.arm(one.crash[0], is_done=one.crash[1])
        self.inputs.put(one)
        self.inputs.tick(one.ticks)
        if one.settles:
            self.settle()

    def settle(self) -> None:
        """Until nobody has anything before it, or waits for a tick that is due."""
        until(self._is_quiet, FAR_S, "the processors are behind")

    def stop(self) -> None:
        """All of them."""
        self._stopping.set()
        self._supervisor.join(FAR_S)
        for worker in self.running:
            assert worker.runner.stop(FAR_S)

    def _supervise(self) -> None:
        while not self._stopping.wait(0.02):
            with self._lock:
                for worker in list(self.running):
                    failure = worker.runner.failure()
                    if isinstance(failure, Killed):
                        self.running.remove(worker)
                        worker.runner.stop(FAR_S)
                        self.join(worker.name)

    def _is_quiet(self) -> bool:
        with self._lock:
            running = list(self.running)
        assert all(isinstance(w.runner.failure(), Killed | type(None)) for w in running)
        lags: dict[tuple[str, int], int] = {}
        for worker in running:
            if worker.runner.host.unsettled_for_s() > 0:
                return False
            lags |= worker.runner.lag()
        wanted = sum(self.log.partitions(each.topic) for each in self.processors)
        return len(lags) == wanted and not any(lags.values()) and self._is_told(running)

    def _is_told(self, running: Sequence[Worker]) -> bool:
        """What acts at once has appended what it made, and wants no tick."""
        for each in self.processors:
            if not each.prompt:
                continue
            for number in range(self.log.partitions(each.topic)):
                found = (worker.runner.state(each.name, number) for worker in running)
                state = next((state for state in found if state is not None), None)
                if state is None:
                    return False
                due_ms, newest_ms = each.due_ms(state), each.newest_tick_ms(state)
                if due_ms is not None and max(due_ms, (newest_ms or 0) + 1) <= self.inputs.now_ms:
                    return False
        return True


def processors_of(log: KafkaLog) -> Sequence[Processor[Any]]:
    """All but the windows."""
    settings = load_settings({"TICK_INTERVAL": str(TICK_MS // 1000)})
    return alert_processors(settings, log.partitions, ROUTING)


def new_runner(
    log: Any, processors: Sequence[Processor[Any]], name: str, clock: Callable[[], int]
) -> KafkaRunner:
    """Not started; each tick flushes."""
    return KafkaRunner(
        log.config,
        log,
        processors,
        tick_ms=TICK_MS,
        clock=clock,
        flush_every_s=0.0,
        worker_id=name,
        session_timeout_s=1.0,
    )


def live_until_killed(log: KafkaLog, clock: Path, number: int, *, is_done: bool) -> None:
    """A worker in a process of its own, until its append with that number."""
    where = (log.config.bootstrap_servers[0], log.config.prefix, str(clock))
    ended = subprocess.run(
        [*(sys.executable, "-m", __name__), *where, str(number), str(int(is_done))],
        cwd=ROOT,
        timeout=FAR_S,
        check=False,
    )
    assert ended.returncode == -signal.SIGKILL


def main(broker: str, prefix: str, clock: str, number: str, is_done: str) -> None:
    """The process of `live_until_killed`."""
    log = KafkaLog.open(KafkaConfig((broker,), prefix, PARTITIONS))
    mortal = MortalLog(log, kill_this_process)
    mortal.arm(int(number), is_done=is_done == "1")
    runner = new_runner(
        mortal, processors_of(log), "worker-0", lambda: int(Path(clock).read_text())
    )
    runner.start(FAR_S)
    threading.Event().wait(FAR_S)
    os._exit(3)


@contextmanager
def fleet(log: KafkaLog, begin_ms: int) -> Iterator[Fleet]:
    """One worker at first."""
    made = Fleet(log, Inputs(log, begin_ms), processors_of(log))
    try:
        made.join()
        yield made
    finally:
        made.stop()


if __name__ == "__main__":
    main(*sys.argv[1:])
