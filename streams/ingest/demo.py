"""A lively synthetic fleet: the same for every run with one seed, so that runs can be compared.

Hosts with a daily rhythm, services with request counters (reset by a deployment every six hours),
latencies as histogram observations, and incidents: for ten minutes in every two hours some service
is slow, fails often and heats its hosts.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from functools import lru_cache
from typing import Final

import numpy as np

from streams.events.batch import Floats, Index, Ints, MetricBatch, MetricType
from streams.ingest.edge import Edge
from streams.ingest.parsed import Parsed
from streams.ingest.periodic import every
from streams.ingest.samples import batch_request
from streams.ingest.series_cache import make_entry
from streams.log.wall_clock import wall_clock_ms

SOURCE: Final = "demo"
HOSTS: Final = 20
SERVICES: Final = ("api", "web", "auth", "search")
REGIONS: Final = ("eu-central", "us-east")
STEP_MS: Final = 10_000
BACKFILL_MS: Final = 3_600_000

_DAY_MS = 86_400_000
_DEPLOY_MS = 6 * 3_600_000
_INCIDENT_EVERY_MS = 2 * 3_600_000
_INCIDENT_MS = 600_000
_OBSERVATIONS = 3  # of each service on each host in a step
_BACKFILL_STEPS = 30  # written at once
_HOST_GAUGES = ("cpu_usage", "memory_usage", "disk_usage")


def fleet_batch(at_ms: int, step_ms: int = STEP_MS, seed: int = 0, hosts: int = HOSTS) -> Parsed:
    """What the fleet reports for the step that ends at ``at_ms`` (aligned down to the step).

    A pure function: gauges and counters at the step's end, observations spread within it.
    """
    at_ms = at_ms // step_ms * step_ms
    fleet = _Fleet(hosts, seed)
    random = np.random.default_rng([seed, at_ms // step_ms])
    labels, types, units, series = _dictionary(hosts)
    failing = fleet.incident(at_ms)
    ok, failed = fleet.requests(at_ms)
    latency = fleet.latency(failing, random)
    value = np.concatenate(
        [*fleet.gauges(at_ms, failing, random), ok.ravel(), failed.ravel(), latency.ravel()]
    )
    plain = len(value) - latency.size
    within = at_ms - step_ms + step_ms * (1 + np.arange(_OBSERVATIONS)) // _OBSERVATIONS
    times = np.concatenate(
        [np.full(plain, at_ms), np.tile(within, latency.size // _OBSERVATIONS)]
    ).astype(np.int64)
    return batch_request(SOURCE, MetricBatch(labels, types, units, series, times, value))


async def run_demo(
    edge: Edge,
    *,
    hosts: int = HOSTS,
    step_ms: int = STEP_MS,
    seed: int = 0,
    backfill_ms: int = BACKFILL_MS,
    stop: asyncio.Event | None = None,
    clock: Callable[[], int] = wall_clock_ms,
) -> None:
    """Writes the fleet's past, then each step as it ends, until stopped or cancelled.

    Run again on the same log it repeats what is there: those samples are known and not counted.
    """
    stop = stop or asyncio.Event()
    written_ms = (clock() - backfill_ms) // step_ms * step_ms

    async def catch_up() -> None:
        nonlocal written_ms
        while written_ms + step_ms <= clock() and not stop.is_set():
            last_ms = min(clock(), written_ms + _BACKFILL_STEPS * step_ms)
            due = range(written_ms + step_ms, last_ms + 1, step_ms)
            await asyncio.gather(
                *(
                    edge.collect(
                        fleet_batch(at_ms, step_ms, seed, hosts),
                        actor=SOURCE,
                        event_source="collector/demo",
                    )
                    for at_ms in due
                )
            )
            written_ms = due[-1]

    await every(step_ms / 1000, catch_up, name="demo fleet", stop=stop)


class _Fleet:
    """The shape of the fleet's behaviour; arrays are (host, service)."""

    def __init__(self, hosts: int, seed: int) -> None:
        random = np.random.default_rng([seed, hosts])
        self.phase: Floats = random.uniform(0, 0.15, hosts)
        self.size: Floats = random.uniform(0.6, 1.4, hosts)
        self.rate: Floats = random.uniform(2, 40, (hosts, len(SERVICES)))
        self.deploy_ms: Ints = random.integers(0, _DEPLOY_MS, hosts)
        self.incident_ms: Ints = random.integers(
            0, _INCIDENT_EVERY_MS - _INCIDENT_MS, len(SERVICES)
        )

    def day(self, at_ms: int) -> Floats:
        """The load of each host at that time of day, 0 (night) to 1."""
        turn = at_ms / _DAY_MS + self.phase
        return 0.5 - 0.5 * np.cos(2 * math.pi * turn)

    def incident(self, at_ms: int) -> Floats:
        """1 for each service that is in trouble, else 0."""
        into = at_ms % _INCIDENT_EVERY_MS - self.incident_ms
        return ((into >= 0) & (into < _INCIDENT_MS)).astype(np.float64)

    def gauges(
        self, at_ms: int, failing: Floats, random: np.random.Generator
    ) -> tuple[Floats, Floats, Floats]:
        load = self.day(at_ms) * self.size
        noise = random.normal(0, 2, (2, len(load)))
        cpu = 12 + 50 * load + 12 * failing.sum() + noise[0]
        memory = 35 + 25 * load + 10 * self.size + noise[1] / 4
        disk = 40 + 20 * self.size + 15 * (at_ms % (7 * _DAY_MS)) / (7 * _DAY_MS)
        return np.clip(cpu, 1, 100), np.clip(memory, 5, 99), np.clip(disk, 1, 99)

    def requests(self, at_ms: int) -> tuple[Floats, Floats]:
        """Requests answered and failed since each host's last deployment: rates, integrated."""
        begin = (at_ms - self.deploy_ms) // _DEPLOY_MS * _DEPLOY_MS + self.deploy_ms
        daily = self._load_until(np.full(len(begin), at_ms)) - self._load_until(begin)
        total = self.rate * (daily * self.size)[:, None]
        trouble_s = self._trouble_until(np.full(len(begin), at_ms)) - self._trouble_until(begin)
        failed = self.rate * (0.002 * daily[:, None] + 0.3 * trouble_s)
        return np.floor(total), np.floor(failed)

    def latency(self, failing: Floats, random: np.random.Generator) -> Floats:
        shape = (len(self.size), len(SERVICES), _OBSERVATIONS)
        usual = random.lognormal(math.log(0.04), 0.6, shape)
        return np.round(usual * (1 + 8 * failing)[None, :, None], 6)

    def _load_until(self, at_ms: Ints) -> Floats:
        """The integral over seconds of 0.2 + `day`."""
        turn = at_ms / _DAY_MS + self.phase
        swing = np.sin(2 * math.pi * turn) / (2 * math.pi)
        return at_ms / 1000 * 0.7 - 0.5 * swing * _DAY_MS / 1000

    def _trouble_until(self, at_ms: Ints) -> Floats:
        """Seconds of incidents up to each time, for each service."""
        cycles, into = np.divmod(at_ms[:, None], _INCIDENT_EVERY_MS)
        begun = np.clip(into - self.incident_ms[None, :], 0, _INCIDENT_MS)
        return (cycles * _INCIDENT_MS + begun) / 1000


@lru_cache(maxsize=4)
def _dictionary(hosts: int) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...], Index]:
    """Identities, types and units in the order of `fleet_batch`, and the series of its points."""
    named = [
        {"host": f"host-{number + 1:02}", "region": REGIONS[number % len(REGIONS)]}
        for number in range(hosts)
    ]
    rows = [
        make_entry(SOURCE, name, tags, MetricType.GAUGE.value, "percent")
        for name in _HOST_GAUGES
        for tags in named
    ]
    rows += [
        make_entry(
            SOURCE,
            "http_requests_total",
            {**tags, "service": service, "status": status},
            MetricType.COUNTER.value,
            None,
        )
        for status in ("200", "500")
        for tags in named
        for service in SERVICES
    ]
    plain = len(rows)
    rows += [
        make_entry(
            SOURCE,
            "http_request_duration_seconds",
            {**tags, "service": service},
            MetricType.HISTOGRAM.value,
            "seconds",
        )
        for tags in named
        for service in SERVICES
    ]
    series = np.concatenate(
        [np.arange(plain), np.repeat(np.arange(plain, len(rows)), _OBSERVATIONS)]
    ).astype(np.int32)
    return (
        tuple(row.text for row in rows),
        tuple(row.type for row in rows),
        tuple(row.unit for row in rows),
        series,
    )
