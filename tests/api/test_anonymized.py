"""Tags whose values are personal: pseudonyms are stored, and what they stand for nowhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from mcp_api.server import Server
from streams.config import load_settings
from streams.errors import ConfigError
from streams.ingest.pseudonyms import PREFIX, Pseudonyms
from tests.api.processes import quick_settings
from tests.api.test_alert_tools import tool

KEY = "no-key-of-yours-0123"
ANN, BOB = "ann@example.org", "bob@example.org"


def logins(*emails: str) -> dict[str, Any]:
    metrics = [
        {
            "name": "logins",
            "value": count,
            "metric_type": "gauge",
            "tags": {"email": email, "shop": "north"},
        }
        for count, email in enumerate(emails, 1)
    ]
    return {"source": "shop", "metrics": metrics}


async def test_who_it_was_is_nowhere_but_can_be_counted_and_grouped_by(tmp_path: Path) -> None:
    settings = quick_settings(tmp_path, anonymize_tags=("email", "user"), anonymize_key=KEY)
    async with Server(settings) as server:
        await server.until_ready()
        async with httpx.AsyncClient(base_url=server.url, timeout=30) as client:
            await tool(client, "collect_metrics", **logins(ANN, BOB))
            again = {"request_id": "one", **logins(ANN)}
            stored = await tool(client, "collect_metrics", **again)
            repeated = await tool(client, "collect_metrics", **again)
            assert repeated["duplicate"]
            answer = await tool(
                client,
                "query_metrics",
                metric_name="logins",
                group_by=["email", "shop"],
                aggregation="count",
                min_position=stored["position"],
            )
    found = {one["tags"]["email"]: one["value"] for one in answer["results"]}
    names = Pseudonyms(["email"], KEY.encode())
    assert found == {names.value("email", ANN): 2, names.value("email", BOB): 1}
    assert {one["tags"]["shop"] for one in answer["results"]} == {"north"}
    assert all(name.startswith(PREFIX) for name in found)
    kept = b"".join(file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())
    assert b"logins" in kept
    assert b"example.org" not in kept


async def test_a_series_that_gets_too_long_by_it_is_refused_in_a_sentence(tmp_path: Path) -> None:
    tags = {f"t{n}": "x" for n in range(10)}
    long = {"a": "y" * 4_090, "b": "y" * 4_090, "c": "y" * 4_090, "d": "y" * 3_850}
    point = {"name": "m", "value": 1, "metric_type": "gauge", "tags": {**tags, **long}}
    settings = quick_settings(tmp_path, anonymize_tags=tuple(tags), anonymize_key=KEY)
    async with (
        Server(settings) as server,
        httpx.AsyncClient(base_url=server.url, timeout=30) as client,
    ):
        body = {"tool": "collect_metrics", "arguments": {"source": "s", "metrics": [point]}}
        answer = await client.post("/logfire-mcp", json=body)
        assert answer.status_code == 400
        assert "with its tags anonymized, name and tags together are longer" in answer.text


@pytest.mark.parametrize("key", [None, "short"])
def test_tags_are_not_anonymized_without_a_key_that_cannot_be_guessed(key: str | None) -> None:
    environ = {"ANONYMIZE_TAGS": "email", **({"ANONYMIZE_KEY": key} if key else {})}
    with pytest.raises(ConfigError, match="it takes ANONYMIZE_KEY, a secret of 16 characters"):
        load_settings(environ)
