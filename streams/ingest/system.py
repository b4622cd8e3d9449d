"""The collector of this machine's own measurements, by psutil: cpu, memory, disk, network, process.

Every series carries the label ``host`` and the source ``system``. One round takes about 2 ms.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Iterator
from typing import Final

import psutil

from streams.events.batch import MetricType
from streams.ingest.cpu_usage import CpuUsage
from streams.ingest.edge import Edge
from streams.ingest.parsed import Parsed
from streams.ingest.periodic import every, stopped_within
from streams.ingest.samples import Sample, as_request
from streams.log.wall_clock import wall_clock_ms

_LOGGER = logging.getLogger(__name__)

SOURCE: Final = "system"
FIRST_CPU_S: Final = 0.2
"""The first processor usage is taken over as long; later ones over the interval."""

_Reading = tuple[str, float, MetricType, str]


class SystemCollector:
    """Takes the readings. One that fails is left out, reported once, and counted for ever."""

    def __init__(self, host: str | None = None, *, disk_path: str = "/") -> None:
        self.host = host or socket.gethostname()
        self.errors = 0
        self._disk_path = disk_path
        self._process = psutil.Process()
        self._reported: set[str] = set()
        # Usage is the time since the reading before: here the measurements only begin.
        self._cpu_usage = CpuUsage()
        self._process.cpu_percent()

    def sample(self, at_ms: int) -> Parsed:
        """One sample of everything that can be read here, all at one time."""
        readings = list(self._readings())
        readings.append(
            ("system_collector_errors_total", float(self.errors), MetricType.COUNTER, "")
        )
        labels = {"host": self.host}
        return as_request(
            SOURCE,
            [
                Sample(name, value, at_ms, kind, unit, labels)
                for name, value, kind, unit in readings
            ],
        )

    def _readings(self) -> Iterator[_Reading]:
        for part in (self._cpu, self._memory, self._disk, self._network, self._own_process):
            try:
                yield from list(part())
            except Exception as error:  # noqa: BLE001  # psutil reads what each system offers
                self.errors += 1
                name = part.__name__.strip("_")
                if name not in self._reported:
                    self._reported.add(name)
                    _LOGGER.warning("%s cannot be measured here: %r", name, error)

    def _cpu(self) -> Iterator[_Reading]:
        yield "system_cpu_usage", self._cpu_usage.percent(), MetricType.GAUGE, "percent"
        yield "system_load_1m", psutil.getloadavg()[0], MetricType.GAUGE, ""

    def _memory(self) -> Iterator[_Reading]:
        memory = psutil.virtual_memory()
        yield "system_memory_usage", memory.percent, MetricType.GAUGE, "percent"
        yield "system_memory_available_bytes", memory.available, MetricType.GAUGE, "bytes"

    def _disk(self) -> Iterator[_Reading]:
        disk = psutil.disk_usage(self._disk_path)
        yield "system_disk_usage", disk.percent, MetricType.GAUGE, "percent"
        yield "system_disk_free_bytes", disk.free, MetricType.GAUGE, "bytes"

    def _network(self) -> Iterator[_Reading]:
        network = psutil.net_io_counters()
        if network is None:  # a machine without interfaces
            return
        received, sent = network.bytes_recv, network.bytes_sent
        yield "system_network_receive_bytes_total", received, MetricType.COUNTER, "bytes"
        yield "system_network_transmit_bytes_total", sent, MetricType.COUNTER, "bytes"

    def _own_process(self) -> Iterator[_Reading]:
        process = self._process
        with process.oneshot():
            used = process.cpu_times()
            seconds = used.user + used.system
            resident = process.memory_info().rss
            yield "process_cpu_usage", process.cpu_percent(), MetricType.GAUGE, "percent"
            yield "process_cpu_seconds_total", seconds, MetricType.COUNTER, "seconds"
            yield "process_resident_memory_bytes", resident, MetricType.GAUGE, "bytes"
            yield "process_threads", process.num_threads(), MetricType.GAUGE, ""
            if hasattr(process, "num_fds"):  # not on Windows
                yield "process_open_fds", process.num_fds(), MetricType.GAUGE, ""


async def run_collector(
    edge: Edge,
    interval_s: float,
    host: str | None = None,
    *,
    stop: asyncio.Event | None = None,
    clock: Callable[[], int] = wall_clock_ms,
) -> None:
    """Measures at once and then every ``interval_s``, until ``stop`` is set or it is cancelled."""
    stop = stop or asyncio.Event()
    collector = SystemCollector(host)

    async def measure() -> None:
        # In a thread, since a disk or a network mount may answer late.
        parsed = await asyncio.to_thread(collector.sample, clock())
        await edge.collect(parsed, actor=SOURCE, event_source="collector/system")

    if not await stopped_within(stop, min(FIRST_CPU_S, interval_s)):
        await every(interval_s, measure, name="system collector", stop=stop)
