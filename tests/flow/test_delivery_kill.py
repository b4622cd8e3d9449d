"""Kill -9 between decision and delivery: none is lost, and what comes twice says so.

``DELIVERY_KILL_ROUNDS`` (default 20; 50 every night) processes decide and deliver over one log;
each is killed when some notification arrives, before or after it is answered.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

from streams.events.alerting import (
    NotificationAttempted,
    NotificationDelivered,
    NotificationRequested,
)
from streams.events.catalogue import EventData
from streams.events.codec import decode
from streams.events.topics import ALERTS
from streams.log.sqlite_log import SqliteLog
from tests.effort import UNTRACED
from tests.flow.mortal_delivery import ALERTS_A_ROUND
from tests.flow.receiving import PASSWORD, Inbox, Received, http_server, smtp_server
from tests.flow.test_delivery import hook, mailbox

ROOT = Path(__file__).parent.parent.parent
ROUNDS = int(os.environ.get("DELIVERY_KILL_ROUNDS", "20"))


class Killer:
    """Kills the process of a round when a notification arrives that was chosen by chance."""

    def __init__(self, folder: Path, receivers: str) -> None:
        self._folder = folder
        told = {"ALERT_RECEIVERS": receivers, "SMTP_PASSWORD": PASSWORD}
        self._environ = {**os.environ, **UNTRACED, **told}
        self.process: subprocess.Popen[bytes] | None = None
        self.victim: tuple[str, int] | None = None

    def start(self, number: int) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "tests.flow.mortal_delivery", str(self._folder)]
        self.process = subprocess.Popen([*command, str(number)], cwd=ROOT, env=self._environ)
        return self.process

    def live(self, number: int) -> None:
        """A round, until the kill."""
        process = self.start(number)
        try:
            assert process.wait(60) == -signal.SIGKILL
        finally:
            process.kill()
            process.wait()

    def arrived(self, when: str, count: int) -> None:
        """``count``: of what arrived where the killing of this kind is done."""
        victim, process = self.victim, self.process
        if victim is not None and process is not None and victim[0] == when and count >= victim[1]:
            process.send_signal(signal.SIGKILL)
            process.wait()


def test_every_notification_arrives_through_kills_and_only_marked_ones_twice(
    tmp_path: Path,
) -> None:
    dice = random.Random(5)
    with http_server() as web, smtp_server(tmp_path, tls="starttls") as post:
        killer = Killer(tmp_path, _config(tmp_path, web, post))

        def before(_: Received) -> int:
            killer.arrived("before", len(web.received) + len(post.received))
            return 200

        def after(_: Received) -> None:
            killer.arrived("after", len(web.received))

        web.arrives, post.arrives, web.answered = before, before, after
        for number in range(ROUNDS):
            if dice.random() < 0.5:
                count = len(web.received) + len(post.received)
                killer.victim = ("before", count + dice.randint(1, 2 * ALERTS_A_ROUND))
            else:
                killer.victim = ("after", len(web.received) + dice.randint(1, ALERTS_A_ROUND))
            killer.live(number)
        killer.victim = None
        _finish(killer, tmp_path)
    events = _events(tmp_path)
    requests = [each for each in events if isinstance(each, NotificationRequested)]
    assert len(requests) >= 2 * ROUNDS  # of each receiver and round at least one came to be decided
    _check(requests, {"web": web.received, "post": post.received})
    again = [each for each in events if isinstance(each, NotificationAttempted) and each.again]
    assert again
    assert {each.id for each in events if isinstance(each, NotificationDelivered)} == {
        each.id for each in requests
    }


def _config(folder: Path, web: Inbox, post: Inbox) -> str:
    route = {
        "receiver": "web",
        "group_wait": "0s",
        "group_by": ["..."],
        "routes": [{"receiver": "web", "continue": True}, {"receiver": "post"}],
    }
    receivers: dict[str, Any] = {
        "web": hook(web.url),
        "post": mailbox(folder, post.url, "starttls"),
    }
    return json.dumps({"receivers": receivers, "route": route})


def _finish(killer: Killer, folder: Path) -> None:
    """A last process, which lives until nothing is outstanding."""
    process = killer.start(-1)
    try:
        log = SqliteLog.open(folder / "log.db", read_only=True)
        try:
            end = 0
            while _open(folder):
                assert log.wait_for({(ALERTS, 0): end}, 60)
                end = log.ends()[ALERTS, 0]
        finally:
            log.close()
    finally:
        process.kill()
        process.wait()


def _open(folder: Path) -> set[str]:
    """Requested and not delivered."""
    events = _events(folder)
    requested = {each.id for each in events if isinstance(each, NotificationRequested)}
    return requested - {each.id for each in events if isinstance(each, NotificationDelivered)}


def _events(folder: Path) -> list[EventData]:
    log = SqliteLog.open(folder / "log.db", read_only=True)
    try:
        records = log.read_now(ALERTS, 0, 0, records_max=1_000_000)
    finally:
        log.close()
    return [decode(record.headers, record.body).data for record in records]


def _check(requests: list[NotificationRequested], received: dict[str, list[Received]]) -> None:
    found: dict[tuple[str, str], list[Received]] = defaultdict(list)
    for receiver, all_received in received.items():
        for each in all_received:
            found[receiver, each.key].append(each)
    assert found.keys() == {(each.receiver, each.id) for each in requests}
    for copies in found.values():
        assert all(each.again for each in copies[1:])
