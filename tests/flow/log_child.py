"""A program beside the tests of the embedded log: another process that reads, writes or dies.

``python log_child.py COMMAND PATH [ARGUMENT]``; what it does is told line by line on stdout.
"""

from __future__ import annotations

import asyncio
import resource
import sqlite3
import sys
from pathlib import Path

from streams.errors import LogError, LogUnavailable
from streams.events.topics import POINTS, WINDOWS
from streams.log.protocol import Append, Entry, Message, RequestKey
from streams.log.sqlite_log import SqliteLog


def tell(*words: object) -> None:
    print(*words, flush=True)


def message(number: int) -> Message:
    return Message({"ce_id": str(number)}, b"%d" % number + b"." * (number * 37 % 3_000))


def own(path: Path) -> None:
    """Holds the log until it is killed or its input ends."""
    log = SqliteLog.open(path)
    tell("open")
    sys.stdin.read()
    log.close()


def follow(path: Path) -> None:
    """Tells each body, from the first on, as it comes."""

    async def run() -> None:
        log = SqliteLog.open(path, read_only=True)
        async for record in log.follow(POINTS, 0, 0):
            tell(record.offset, record.body.decode())

    asyncio.run(run())


def try_to_own(path: Path) -> None:
    try:
        SqliteLog.open(path).close()
    except LogError as error:
        tell(type(error).__name__, error)
    else:
        tell("open")


def write(path: Path) -> None:
    """Input, then its output with a table, for ever; tells the number of each once durable."""
    log = SqliteLog.open(path)
    number = log.ends()[POINTS, 0]
    if log.ends()[WINDOWS, 0] < number:
        step(log, number - 1)
    tell("open")
    while True:
        unit = Append((Entry(POINTS, 0, message(number)),), (RequestKey(f"k{number}", b"d"),))
        log.submit(unit).result()
        step(log, number)
        number += 1
        tell(number)


def step(log: SqliteLog, number: int) -> None:
    changes = {"head": b"%d" % (number + 1)}
    log.commit_step("p", 0, changes, [Entry(WINDOWS, 0, message(number))]).result()


def fill(path: Path, limit: int) -> None:
    """Writes until no file may grow further, then with room again; tells how many each time."""
    log = SqliteLog.open(path)
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    written = 0
    try:
        while True:
            log.submit(Append((Entry(POINTS, 0, message(written)),))).result()
            written += 1
    except LogUnavailable as error:
        tell("full", written, log.ends()[POINTS, 0], error)
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    for _ in range(50):
        log.submit(Append((Entry(POINTS, 0, message(written)),))).result()
        written += 1
    tell("room", written, log.ends()[POINTS, 0])
    log.close()


def hold(path: Path) -> None:
    """Holds SQLite's write lock until its input ends."""
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("BEGIN IMMEDIATE")
    tell("held")
    sys.stdin.read()
    db.execute("ROLLBACK")
    db.close()


if __name__ == "__main__":
    command, log_path = sys.argv[1], Path(sys.argv[2])
    if command == "fill":
        fill(log_path, int(sys.argv[3]))
    else:
        {"own": own, "follow": follow, "try": try_to_own, "write": write, "hold": hold}[command](
            log_path
        )
