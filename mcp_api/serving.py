"""``serve`` and ``demo``: a server until a signal says stop, and what a person sees meanwhile."""

from __future__ import annotations

import asyncio
import signal
from contextlib import suppress
from dataclasses import replace

from rich.live import Live

from mcp_api import screen
from mcp_api.ending import end_within
from mcp_api.screen import Numbers
from mcp_api.server import Server
from streams.config import Settings

STATUS_S = 1.0
KAFKA_STOP_S = 8.0
"""On Kafka a node ends then, whatever still waits for a broker."""


async def serve_until_stopped(
    settings: Settings, *, demo_hosts: int = 0, with_worker: bool = False
) -> None:
    """Serves until SIGTERM or SIGINT; ``demo_hosts``: the size of the synthetic fleet, 0 for none.

    Prints where to look, and a line with "Ready" when every read model is up to date. On Kafka a
    node that cannot go on ends with the error, for its supervisor to start it again.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with Server(settings, demo_hosts=demo_hosts, with_worker=with_worker) as server:
        screen.banner(server.url, settings.data_dir, token=settings.token is not None)
        serving = asyncio.create_task(_serve(server, stop))
        failing = asyncio.create_task(server.until_failed())
        done, _ = await asyncio.wait({serving, failing}, return_when=asyncio.FIRST_COMPLETED)
        for task in (serving, failing):
            task.cancel()
        screen.err.print("Stopping …")
        if settings.kafka() is not None and stop.is_set():
            end_within(KAFKA_STOP_S, 0)
        for task in done:
            task.result()


async def _serve(server: Server, stop: asyncio.Event) -> None:
    if not await _until_ready(server, stop):
        return
    screen.out.print(f"Ready at {server.url}; stop with Ctrl+C.")
    screen.out.file.flush()  # a parent that waits for this line reads from a pipe
    await _watch(server, stop)


async def _until_ready(server: Server, stop: asyncio.Event) -> bool:
    """False if it was stopped before."""
    waiting = {asyncio.create_task(server.until_ready()), asyncio.create_task(stop.wait())}
    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    for task in waiting:
        task.cancel()
    return not stop.is_set()


async def _watch(server: Server, stop: asyncio.Event) -> None:
    if not screen.interactive():
        await stop.wait()
        return
    last: Numbers | None = None
    with Live(console=screen.out, auto_refresh=False, transient=True) as live:
        while not stop.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(STATUS_S):
                    await stop.wait()
            now = await asyncio.to_thread(server.numbers)
            if now is None:
                continue
            since = 0 if last is None else now.points - last.points
            last = replace(now, points_per_s=since / STATUS_S)
            live.update(screen.status_line(last), refresh=True)
