"""Hundreds of WebSocket clients beside thousands of alerts: what each change costs and takes."""

from __future__ import annotations

import argparse
import asyncio
import time

import numpy as np
from rich.console import Console
from rich.table import Table

from bench._server import Server, running
from tests.api.live_clients import gauge
from tests.api.live_swarm import Swarm, flip, make_rule, told_by_the_log

SETTLE_S = 3.0


def main(argv: list[str]) -> None:
    """``--clients N``, ``--alerts N`` (that change each second), ``--seconds N``."""
    parser = argparse.ArgumentParser(prog="python -m bench live_feed", description=__doc__)
    parser.add_argument("--clients", type=int, default=500)
    parser.add_argument("--alerts", type=int, default=1_000)
    parser.add_argument("--seconds", type=int, default=30)
    asked = parser.parse_args(argv)
    with running(TICK_INTERVAL="1", DEFAULT_TARGETS="off") as server:
        asyncio.run(_measured(server, asked.clients, asked.alerts, asked.seconds))


async def _measured(server: Server, clients: int, alerts: int, seconds: int) -> None:
    swarm = Swarm(clients)
    url = f"http://127.0.0.1:{server.port}"
    await make_rule(url)
    costs = [await _cost(server, url, alerts, seconds)]
    without_mb = server.rss_mb()
    known = len(await _settled(server))
    swarm.begin(url)
    await swarm.all_began()
    connected_mb = server.rss_mb()
    costs.append(await _cost(server, url, alerts, seconds))
    truth = (await _settled(server))[known:]
    await swarm.until_told(len(truth))
    missing = sum(one.offsets != truth for one in swarm.members)
    sent, cut = await gauge(url, "sent"), await gauge(url, "cut")
    table = Table(title=f"{clients} clients of /ws, {alerts:,} alerts that change each second")
    table.add_column("")
    table.add_column(f"over {seconds} s", justify="right")
    quantiles = np.percentile(swarm.waits_s, [50, 99]) * 1_000
    for name, value in (
        ("changes of alerts", f"{len(truth):,}"),
        ("changes told to all clients, per s", f"{len(truth) * clients / seconds:,.0f}"),
        ("messages sent, also of metrics", f"{sent:,.0f}"),
        ("clients that miss a change or have one twice", f"{missing}"),
        ("clients cut", f"{cut:.0f}"),
        ("from the log to a client, p50", f"{quantiles[0]:.0f} ms"),
        ("from the log to a client, p99", f"{quantiles[1]:.0f} ms"),
        ("server's CPU without clients", f"{costs[0]:.0%} of a core"),
        ("server's CPU with them", f"{costs[1]:.0%} of a core"),
        ("server's memory without clients", f"{without_mb:.0f} MB"),
        ("connected", f"{connected_mb:.0f} MB"),
        ("at the end", f"{server.rss_mb():.0f} MB"),
    ):
        table.add_row(name, value)
    Console().print(table)
    await swarm.end()


async def _settled(server: Server) -> list[int]:
    """All changes of alerts, once no more come."""
    told = told_by_the_log(server.data_dir)
    while True:
        await asyncio.sleep(SETTLE_S)
        before, told = told, told_by_the_log(server.data_dir)
        if len(told) == len(before):
            return told


async def _cost(server: Server, url: str, alerts: int, seconds: int) -> float:
    """The server's CPU time for each second in which all alerts change."""
    began, cpu_s = time.monotonic(), server.cpu_s()
    for second in range(seconds):
        await flip(url, (second + 1) % 2, alerts)
        await asyncio.sleep(max(0.0, began + second + 1 - time.monotonic()))
    return (server.cpu_s() - cpu_s) / (time.monotonic() - began)
