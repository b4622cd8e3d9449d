"""Notifications to real servers, and what the log has of it."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from streams.errors import ConfigError
from streams.events.alerting import (
    NotificationAttempted,
    NotificationDelivered,
    NotificationFailed,
    NotificationRequested,
)
from streams.events.catalogue import EventData
from streams.events.codec import decode
from streams.events.rules import TestRequested as AskedToTest
from streams.events.topics import ALERTS
from streams.notifications.heartbeat import Heartbeats
from streams.notifications.receivers import Receiver
from streams.notifications.senders import make_senders
from tests.flow.delivering import delivering
from tests.flow.notify_rig import fired, resolved, rule
from tests.flow.receiving import PASSWORD, USER, certificate, http_server, smtp_server

IMPLICIT_TLS = pytest.mark.filterwarnings("ignore:Requiring AUTH while not:UserWarning")
APPRISE_IMPORTS = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")
ROUTE = {"receiver": "ops", "group_wait": "0s", "group_by": ["..."]}


def config(route: dict[str, Any] | None = None, **receivers: dict[str, Any]) -> str:
    return json.dumps({"receivers": receivers, "route": route or ROUTE})


def hook(url: str, **fields: Any) -> dict[str, Any]:
    return {"kind": "webhook", "url": url, **fields}


def nobody() -> str:
    """A URL where nothing listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


async def test_a_webhook_gets_alertmanagers_payload_and_a_key(tmp_path: Path) -> None:
    with http_server() as inbox:
        async with delivering(tmp_path, config(ops=hook(inbox.url))) as deliverer:
            await deliverer.happens(fired("a"), "one")
            await deliverer.told(NotificationDelivered)
            (request,) = await deliverer.told(NotificationRequested)
    (received,) = inbox.received
    assert (received.key, received.again) == (request.id, False)
    body = received.content
    assert (body["version"], body["status"], body["receiver"]) == ("4", "firing", "ops")
    assert body["commonLabels"]["series"] == "a"
    (alert,) = body["alerts"]
    assert alert["endsAt"] == "0001-01-01T00:00:00Z"
    assert alert["annotations"]["summary"] == "the disk is nearly full"
    assert alert["fingerprint"] == "a"


async def test_an_attempt_is_durable_before_it_is_made(tmp_path: Path) -> None:
    known: list[int] = []
    with http_server() as inbox:
        async with delivering(tmp_path, config(ops=hook(inbox.url))) as deliverer:

            def look(_: object) -> int:
                records = deliverer.log.read_now(ALERTS, 0, 0)
                data: list[EventData] = [decode(each.headers, each.body).data for each in records]
                known.append(sum(isinstance(each, NotificationAttempted) for each in data))
                return 200

            inbox.arrives = look
            await deliverer.happens(fired("a"), "one")
            await deliverer.told(NotificationDelivered)
    assert known == [1]


async def test_a_dead_receiver_delays_no_other_and_shows(tmp_path: Path) -> None:
    route = {**ROUTE, "routes": [{"receiver": "dead", "continue": True}, {"receiver": "ops"}]}
    with http_server() as inbox:
        text = config(route, dead=hook(nobody()), ops=hook(inbox.url))
        async with delivering(tmp_path, text) as deliverer:
            for name in "abcdefgh":
                await deliverer.happens(fired(name), name)
            await deliverer.told(NotificationDelivered, 8)
            (failed, *_) = await deliverer.told(NotificationFailed)
            status = deliverer.delivery.status()
    assert (failed.receiver, failed.retry_ms is not None) == ("dead", True)
    assert "ConnectError" in failed.reason
    assert status["dead"].failing_since_ms is not None
    assert status["ops"].failure == ""
    assert {each.content["receiver"] for each in inbox.received} == {"ops"}


async def test_a_receiver_that_hangs_delays_no_other(tmp_path: Path) -> None:
    released = threading.Event()
    with http_server() as slow, http_server() as quick:
        slow.arrives = lambda _: 200 if released.wait(30) else 500
        route = {**ROUTE, "routes": [{"receiver": "slow", "continue": True}, {"receiver": "ops"}]}
        text = config(route, slow=hook(slow.url), ops=hook(quick.url))
        async with delivering(tmp_path, text) as deliverer:
            for name in "abcdefgh":
                await deliverer.happens(fired(name), name)
            told = await deliverer.told(NotificationDelivered, 8)
            assert {each.receiver for each in told} == {"ops"}
            assert len(slow.received) <= 4
            released.set()
            await deliverer.told(NotificationDelivered, 16)


async def test_what_is_refused_for_now_is_sent_again_with_the_same_key(tmp_path: Path) -> None:
    answers = iter([503, 200])
    with http_server() as inbox:
        inbox.arrives = lambda _: next(answers)
        async with delivering(tmp_path, config(ops=hook(inbox.url))) as deliverer:
            await deliverer.happens(fired("a"), "one")
            (failed,) = await deliverer.told(NotificationFailed)
            assert failed.reason == "HTTP 503"
            deliverer.late_ms = failed.retry_ms - failed.at_ms
            (delivered,) = await deliverer.told(NotificationDelivered)
    first, second = inbox.received
    assert (first.key, first.again) == (second.key, not second.again)
    assert delivered.attempt == 2


async def test_of_one_group_what_came_first_is_sent_first(tmp_path: Path) -> None:
    answers = iter([503, 200, 200])
    with http_server() as inbox:
        inbox.arrives = lambda _: next(answers)
        text = config({**ROUTE, "group_interval": "1s"}, ops=hook(inbox.url))
        async with delivering(tmp_path, text) as deliverer:
            await deliverer.happens(fired("a"), "one")
            await deliverer.told(NotificationFailed)
            await deliverer.happens(resolved("a"), "two")
            await deliverer.told(NotificationRequested, 2)
            deliverer.late_ms = 60_000
            await deliverer.told(NotificationDelivered, 2)
    assert [each.content["status"] for each in inbox.received] == ["firing", "firing", "resolved"]


async def test_a_replay_sends_nothing(tmp_path: Path) -> None:
    with http_server() as inbox:
        for number, name in enumerate("ab", 1):
            async with delivering(tmp_path, config(ops=hook(inbox.url))) as deliverer:
                await deliverer.happens(fired(name), name)
                await deliverer.told(NotificationDelivered, number)
    assert [each.content["alerts"][0]["fingerprint"] for each in inbox.received] == ["a", "b"]


async def test_what_a_receiver_will_never_take_is_given_up(tmp_path: Path) -> None:
    with http_server() as inbox:
        inbox.arrives = lambda _: 400
        async with delivering(tmp_path, config(ops=hook(inbox.url))) as deliverer:
            await deliverer.happens(fired("a"), "one")
            (failed,) = await deliverer.told(NotificationFailed)
    assert (failed.reason, failed.retry_ms) == ("HTTP 400", None)


async def test_after_a_day_a_notification_is_given_up(tmp_path: Path) -> None:
    async with delivering(tmp_path, config(ops=hook(nobody()))) as deliverer:
        deliverer.late_ms = 24 * 3_600_000
        await deliverer.happens(fired("a"), "one")
        (failed,) = await deliverer.told(NotificationFailed)
    assert failed.retry_ms is None


async def test_a_receiver_that_nobody_configured_is_told_as_failed(tmp_path: Path) -> None:
    async with delivering(tmp_path, "") as deliverer:
        await deliverer.happens(AskedToTest(rule(notify=("boss",))), "test")
        (failed,) = await deliverer.told(NotificationFailed)
    assert (failed.receiver, failed.retry_ms) == ("boss", None)
    assert "no such receiver" in failed.reason


async def test_no_secret_is_ever_in_the_log(tmp_path: Path) -> None:
    host = nobody().removeprefix("http://")
    environ = {"KEY": "s3cr3t-key", "TOKEN": "s3cr3t-token"}
    dead = hook(f"http://me:${{KEY}}@{host}/${{TOKEN}}", headers={"X-Key": "${KEY}"})
    async with delivering(tmp_path, config(ops=dead), environ) as deliverer:
        await deliverer.happens(fired("a"), "one")
        await deliverer.told(NotificationFailed)
        assert b"s3cr3t" not in deliverer.bytes_told()


@IMPLICIT_TLS
@pytest.mark.parametrize("tls", ["starttls", "tls"])
async def test_mail_goes_by_tls_and_authentication(tmp_path: Path, tls: str) -> None:
    with smtp_server(tmp_path, tls=tls) as inbox:
        async with delivering(
            tmp_path, config(ops=mailbox(tmp_path, inbox.url, tls)), ENVIRON
        ) as d:
            await d.happens(fired("a"), "one")
            await d.told(NotificationDelivered)
            (request,) = await d.told(NotificationRequested)
    (received,) = inbox.received
    mail = received.content
    assert received.key == request.id
    assert mail["Message-ID"] == f"<{request.id}@example.org>"
    assert mail["Subject"] == "[FIRING:1] Disk series=a severity=high"
    assert (mail["From"], mail["To"]) == ("al@example.org", "ops@example.org, b@example.org")
    assert "the disk is nearly full" in mail.get_body(("plain",)).get_content()
    assert "<table>" in mail.get_body(("html",)).get_content()


async def test_a_wrong_password_is_told_without_it(tmp_path: Path) -> None:
    with smtp_server(tmp_path, tls="starttls") as inbox:
        text = config(ops=mailbox(tmp_path, inbox.url, "starttls"))
        async with delivering(tmp_path, text, {"SMTP_PASSWORD": "wr0ng-password"}) as deliverer:
            await deliverer.happens(fired("a"), "one")
            (failed,) = await deliverer.told(NotificationFailed)
            assert "refused the login" in failed.reason
            assert b"wr0ng-password" not in deliverer.bytes_told()
    assert not inbox.received


@IMPLICIT_TLS
async def test_a_mail_server_that_nobody_vouches_for_gets_nothing(tmp_path: Path) -> None:
    with smtp_server(tmp_path, tls="tls") as inbox:
        text = config(ops={**mailbox(tmp_path, inbox.url, "tls", ca="")})
        async with delivering(tmp_path, text, ENVIRON) as deliverer:
            await deliverer.happens(fired("a"), "one")
            (failed,) = await deliverer.told(NotificationFailed)
    assert "certificate verify failed" in failed.reason
    assert not inbox.received


@APPRISE_IMPORTS
async def test_all_other_services_go_by_apprise(tmp_path: Path) -> None:
    with http_server() as inbox:
        url = inbox.url.replace("http://", "json://")
        text = config(ops={"kind": "apprise", "url": f"{url}/hook"})
        async with delivering(tmp_path, text) as deliverer:
            await deliverer.happens(fired("a"), "one")
            await deliverer.told(NotificationDelivered)
    (received,) = inbox.received
    assert received.content["title"] == "[FIRING:1] Disk series=a severity=high"
    assert received.content["type"] == "failure"


@APPRISE_IMPORTS
async def test_a_url_that_apprise_does_not_know_is_refused_at_the_start() -> None:
    with pytest.raises(ConfigError, match="knows no service"):
        make_senders({"x": Receiver("x", "apprise", "nosuchservice://token")})


async def test_heartbeats_come_as_long_as_the_pipeline_ticks() -> None:
    ticks = iter(range(3))
    with http_server() as inbox:
        receiver = Receiver("dog", "heartbeat", f"{inbox.url}/ping", every_s=0.01)
        beating = Heartbeats([receiver], lambda: next(ticks, 2))
        task = asyncio.create_task(beating.run())
        await asyncio.to_thread(inbox.wait_for, 3)
        async with asyncio.timeout(30):
            while beating.status()["dog"].failure != "the pipeline does not tick":
                await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert (len(inbox.received), beating.status()["dog"].beats) == (3, 3)


ENVIRON = {"SMTP_PASSWORD": PASSWORD}


def mailbox(folder: Path, where: str, tls: str, ca: str | None = None) -> dict[str, Any]:
    ca = str(certificate(folder)) if ca is None else ca
    query = f"to=ops@example.org,b@example.org&from=al@example.org&ca={quote(ca)}"
    scheme = "smtps" if tls == "tls" else "smtp"
    return {"kind": "email", "url": f"{scheme}://{USER}:${{SMTP_PASSWORD}}@{where}/?{query}"}
