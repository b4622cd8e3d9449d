"""CPU of looking at 200 targets every 30 s, and of one look of each kind."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import time
from collections import Counter

from rich.console import Console
from rich.table import Table

from bench._server import running
from streams.events.health import HealthChecked, Kind, Target
from streams.probes.prober import Prober

LOOKS = 50
"""Of each kind, one after another, for the price of one."""


def targets(port: int, count: int, interval_ms: int) -> dict[str, Target]:
    """Half HTTP, a quarter MCP, the rest TCP and DNS."""
    kinds: tuple[Kind, ...] = ("http", "mcp", "http", "tcp", "http", "mcp", "http", "dns")
    endpoints = {
        "http": f"http://127.0.0.1:{port}/health",
        "mcp": f"http://127.0.0.1:{port}/mcp",
        "tcp": f"127.0.0.1:{port}",
        "dns": "localhost",
    }
    return {
        f"target-{n}": Target(
            name=f"target-{n}",
            kind=kinds[n % len(kinds)],
            endpoint=endpoints[kinds[n % len(kinds)]],
            interval_ms=interval_ms,
        )
        for n in range(count)
    }


async def measure(port: int, count: int, interval_s: float, seconds: float) -> None:
    """Prints both tables; CPU is of this process, which does nothing else."""
    of = targets(port, count, round(interval_s * 1000))
    causes: Counter[str] = Counter()

    async def tell(checked: HealthChecked) -> None:
        causes[checked.cause] += 1

    prober = Prober(lambda: of, tell, configured=of, commands={}, last_beat_ms=lambda _: None)
    price = Table(title="One look", title_justify="left")
    for heading in ("kind", "CPU ms"):
        price.add_column(heading, justify="right")
    for kind in ("http", "mcp", "tcp", "dns"):
        target = next(each for each in of.values() if each.kind == kind)
        await prober.check(target)  # what is made once is made
        begin_s = time.process_time()
        for _ in range(LOOKS):
            await prober.check(target)
        price.add_row(kind, f"{(time.process_time() - begin_s) / LOOKS * 1000:.2f}")
    Console().print(price)

    task = asyncio.create_task(prober.run())
    await asyncio.sleep(2)
    before, begin_s, causes_before = time.process_time(), time.monotonic(), causes.total()
    await asyncio.sleep(seconds)
    percent = (time.process_time() - before) / (time.monotonic() - begin_s) * 100
    checks = causes.total() - causes_before
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    table = Table(title=f"{count} targets every {interval_s:g} s for {seconds:g} s")
    for heading in ("checks", "causes", "skipped", "% of a core"):
        table.add_column(heading, justify="right")
    table.add_row(str(checks), str(dict(causes)), str(prober.status().skipped), f"{percent:.2f}")
    Console().print(table)


def main(argv: list[str]) -> None:
    """``--targets N --interval S --seconds N``: how many, how often, how long to look."""
    parser = argparse.ArgumentParser(prog="python -m bench probes", description=__doc__)
    parser.add_argument("--targets", type=int, default=200)
    parser.add_argument("--interval", type=float, default=30)
    parser.add_argument("--seconds", type=float, default=60)
    options = parser.parse_args(argv)
    with running() as server:
        asyncio.run(measure(server.port, options.targets, options.interval, options.seconds))
