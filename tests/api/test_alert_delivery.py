"""From a sample to a receiver: a whole server tells a real webhook, and says which one is dead."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Queue
from typing import Any

import httpx
import pytest

from mcp_api.server import Server
from streams.errors import ConfigError
from tests.api.kafka_nodes import eventually
from tests.api.processes import quick_settings
from tests.api.test_alert_tools import RULE, collect, create, manage

GOT_S = 30.0


class Hook:
    """A webhook: what it was sent, body and idempotency key."""

    def __init__(self) -> None:
        self.got: Queue[tuple[dict[str, Any], str]] = Queue()
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                hook.got.put((json.loads(body), self.headers["idempotency-key"]))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook"
        self._thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self._thread.start()


@pytest.fixture
def hook() -> Iterator[Hook]:
    made = Hook()
    yield made
    made.server.shutdown()
    made.server.server_close()


def receivers(hook: Hook) -> str:
    """Everything goes to the hook; ``dead`` is asked for by name."""
    told = {
        "receivers": {
            "ops": {"kind": "webhook", "url": hook.url},
            "dead": {"kind": "webhook", "url": "http://127.0.0.1:1/hook", "timeout_s": 1},
        },
        "route": {"receiver": "ops", "group_wait": "1s", "group_interval": "1s"},
    }
    return json.dumps(told)


async def test_what_fires_reaches_its_receiver_though_another_is_dead(
    tmp_path: Path, hook: Hook
) -> None:
    async with (
        Server(quick_settings(tmp_path, alert_receivers=receivers(hook))) as server,
        httpx.AsyncClient(base_url=server.url, timeout=30) as client,
    ):
        await server.until_ready()
        made = await create(client, notify=["dead", "opps"])
        assert "no receiver is named 'opps' (dead, ops): it gets nothing" in made["warnings"]
        await collect(client, 95.0)
        got: list[tuple[dict[str, Any], str]] = []

        async def told() -> bool:
            while not hook.got.empty():
                got.append(hook.got.get())
            return bool(got)

        await eventually(told, "the hook is told", GOT_S)
        body, key = got[0]
        assert body["status"] == "firing"
        assert body["alerts"][0]["labels"]["host"] == "a"
        assert body["alerts"][0]["annotations"]["summary"] == "a is at 95"
        assert key

        async def seen() -> bool:
            page = (await client.get("/metrics")).text
            return 'logfire_mcp_receiver_failing{receiver="dead"} 1.0' in page

        await eventually(seen, "the dead receiver shows", GOT_S)
        asked = {"tool": "get_server_status", "arguments": {}}
        status = (await client.post("/logfire-mcp", json=asked)).json()
        assert any("receiver dead fails since" in problem for problem in status["problems"])

        async def in_the_ledger() -> bool:
            history = (await manage(client, "history", alert_id=RULE["name"]))["history"]
            entries = [entry for entry in history if "notification" in entry["event"]]
            return any(
                "to ops" in entry["what"] and "attempt 1 delivered at" in entry["what"]
                for entry in entries
            ) and any(
                "to dead" in entry["what"] and "attempt 1 failed at" in entry["what"]
                for entry in entries
            )

        await eventually(in_the_ledger, "both outcomes are in the ledger", GOT_S)


async def test_a_configuration_that_is_wrong_is_told_at_the_start(tmp_path: Path) -> None:
    wrong = '{"receivers": {"ops": {"kind": "webhook", "url": "nowhere"}}}'
    with pytest.raises(ConfigError, match=r"ALERT_RECEIVERS: receivers\.ops\.url"):
        async with Server(quick_settings(tmp_path, alert_receivers=wrong)):
            pass
