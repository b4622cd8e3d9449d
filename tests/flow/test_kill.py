"""Kill -9 at random moments under load: nothing acknowledged is missing, nothing counts twice.

The parent keeps every acknowledgement. ``KILL_ROUNDS`` (default 20) rounds; 200 every night.
"""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from streams.events.topics import POINTS, WINDOWS
from streams.log.protocol import Record
from streams.log.sqlite_log import SqliteLog
from streams.processors.seam import Tracked, advance, restore
from streams.processors.windows import WindowsProcessor
from tests.api.processes import run, serving
from tests.effort import UNTRACED

ROUNDS = int(os.environ.get("KILL_ROUNDS", "20"))
WRITERS = 4
POINTS_A_REQUEST = 50
START_MS = 1_760_000_000_000


@dataclass
class Writer:
    """Sends numbered requests, each with its own key, and counts those acknowledged."""

    number: int
    acknowledged: int = 0
    answered: threading.Condition = field(default_factory=threading.Condition)

    def request(self, sequence: int) -> dict[str, object]:
        metrics = [
            {
                "name": "work_done",
                "value": sequence * POINTS_A_REQUEST + i,
                "metric_type": "counter",
                "tags": {"writer": str(self.number)},
                "timestamp": (START_MS + (sequence * POINTS_A_REQUEST + i) * 100) / 1000,
            }
            for i in range(POINTS_A_REQUEST)
        ]
        return {
            "source": "kill-test",
            "metrics": metrics,
            "request_id": f"{self.number}-{sequence}",
        }

    def run(self, url: str) -> None:
        """Until the server is gone. The request that was in flight is sent again next time."""
        with httpx.Client(base_url=url, timeout=30) as client:
            while True:
                arguments = self.request(self.acknowledged)
                try:
                    answer = client.post(
                        "/logfire-mcp", json={"tool": "collect_metrics", "arguments": arguments}
                    )
                except httpx.TransportError:
                    return
                if answer.status_code == 200:
                    assert answer.json()["collected_count"] == POINTS_A_REQUEST
                    with self.answered:
                        self.acknowledged += 1
                        self.answered.notify_all()


def load_until_killed(folder: Path, writers: list[Writer], chance: random.Random) -> None:
    """One round: all writers at full speed, then SIGKILL after a random number of answers."""
    with serving(folder, **UNTRACED) as (process, found):
        threads = [threading.Thread(target=writer.run, args=(found.url,)) for writer in writers]
        for thread in threads:
            thread.start()
        watched = writers[0]
        goal = watched.acknowledged + chance.randint(1, 80)
        with watched.answered:
            assert watched.answered.wait_for(lambda: watched.acknowledged >= goal, timeout=60)
        process.kill()
        process.wait()
        for thread in threads:
            thread.join()


def call(url: str, tool: str, arguments: dict[str, object]) -> Any:
    """The answer of one tool call."""
    body = {"tool": tool, "arguments": arguments}
    return httpx.post(f"{url}/logfire-mcp", json=body, timeout=60).raise_for_status().json()


def counted(url: str) -> dict[str, int]:
    """Points a writer, as the projection counts them."""
    arguments = {
        "metric_name": "work_done",
        "start_time": "2025-01-01T00:00:00Z",
        "aggregation": "count",
        "group_by": ["writer"],
    }
    answer = call(url, "query_metrics", arguments)
    return {row["tags"]["writer"]: row["count"] for row in answer["results"]}


def records(log: SqliteLog, topic: str) -> Iterator[Record]:
    offset = 0
    while part := log.read_now(topic, 0, offset):
        yield from part
        offset = part[-1].offset + 1


def test_nothing_acknowledged_is_lost_or_counted_twice_through_kills(tmp_path: Path) -> None:
    chance = random.Random(ROUNDS)
    writers = [Writer(number) for number in range(WRITERS)]
    for _ in range(ROUNDS):
        load_until_killed(tmp_path, writers, chance)
        verified = run("verify", "--data-dir", str(tmp_path))
        assert verified.returncode == 0, verified.stdout + verified.stderr

    with serving(tmp_path) as (_, found):
        for writer in writers:  # what was in flight at the last kill may or may not be in the log
            answer = call(found.url, "collect_metrics", writer.request(writer.acknowledged))
            writer.acknowledged += 1
            seen = {"operation": "list_metrics", "min_position": answer["position"]}
            call(found.url, "query_metrics", seen)
        assert counted(found.url) == {
            str(writer.number): writer.acknowledged * POINTS_A_REQUEST for writer in writers
        }
    outputs_are_those_of_one_uninterrupted_run(tmp_path)


def outputs_are_those_of_one_uninterrupted_run(folder: Path) -> None:
    """The window events in the log, byte for byte, against a fresh fold of the same log."""
    log = SqliteLog.open(folder / "logfire_mcp.db", read_only=True)
    try:
        processor = WindowsProcessor(sizes_ms=(60_000,), grace_ms=1_000)
        tracked: Tracked[object] = restore(processor, {}, lambda _from, _to: ())
        entries = []
        for record in records(log, POINTS):
            tracked, _, out = advance(processor, 0, tracked, [record])
            entries += out
        stored = list(records(log, WINDOWS))
        expected = [entry.message for entry in entries if entry.topic == WINDOWS]
        assert stored
        assert [r.body for r in stored] == [m.body for m in expected[: len(stored)]]
        assert [r.headers for r in stored] == [m.headers for m in expected[: len(stored)]]
    finally:
        log.close()
