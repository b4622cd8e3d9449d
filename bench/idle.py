"""Resident memory and CPU of an idle server with its default collectors."""

from __future__ import annotations

import argparse
import time

from rich.console import Console
from rich.table import Table

from bench._server import running


def main(argv: list[str]) -> None:
    """``--seconds N``: how long to look."""
    parser = argparse.ArgumentParser(prog="python -m bench idle", description=__doc__)
    parser.add_argument("--seconds", type=int, default=60)
    seconds = parser.parse_args(argv).seconds
    with running() as server:
        time.sleep(5)
        cpu = server.cpu_s()
        time.sleep(seconds)
        percent = (server.cpu_s() - cpu) / seconds * 100
        table = Table(title=f"Idle for {seconds} s, default collectors")
        table.add_column("RSS MB", justify="right")
        table.add_column("% of a core", justify="right")
        table.add_row(f"{server.rss_mb():.0f}", f"{percent:.2f}")
        Console().print(table)
