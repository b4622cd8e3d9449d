"""Targets registered while the server runs: over HTTP, and by the `targets` commands."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import httpx

from mcp_api.server import Server
from mcp_api.target_commands import KINDS
from mcp_api.targets_route import TARGETS_A_REQUEST
from streams.events.health import Kind
from tests.api.kafka_nodes import eventually
from tests.api.processes import quick_settings, run, serving
from tests.api.test_health_check import HERE, one, web
from tests.api.test_health_check import serving as serving_targets


async def take(client: httpx.AsyncClient, targets: dict[str, Any]) -> dict[str, str]:
    """The outcomes by name; of what is refused the reason."""
    answer = await client.post("/admin/targets", json={"targets": targets})
    assert answer.status_code == 200, answer.text
    return {each["name"]: each.get("reason", each["outcome"]) for each in answer.json()["outcomes"]}


async def listed(client: httpx.AsyncClient) -> dict[str, dict[str, Any]]:
    answer = await client.get("/admin/targets")
    assert answer.status_code == 200, answer.text
    return {each["target"]["name"]: each for each in answer.json()["targets"]}


async def test_what_is_registered_is_checked_until_it_is_removed(tmp_path: Path) -> None:
    with web() as site:
        async with serving_targets(tmp_path, {}, health_allowed_networks=HERE) as client:
            line = {"endpoint": site.url, "interval": "60s"}
            assert await take(client, {"shop": line}) == {"shop": "registered"}
            assert (await one(client, "shop"))["state"] == "healthy"
            assert await take(client, {"shop": line}) == {"shop": "unchanged"}
            assert await take(client, {"shop": site.url}) == {"shop": "replaced"}
            shop = (await listed(client))["shop"]
            assert shop["target"]["endpoint"] == site.url
            assert shop["registered_by"] == "local/http:127.0.0.1"
            overview = {"tool": "system_overview", "arguments": {}}
            found = (await client.post("/logfire-mcp", json=overview)).json()
            assert list(found["mcp_servers"]) == ["shop"]
            removed = await client.delete("/admin/targets", params={"name": "shop"})
            assert removed.json() == {"name": "shop", "outcome": "removed"}

            async def gone() -> bool:
                return not await listed(client)

            await eventually(gone, "the list is empty")
            assert (
                await client.delete("/admin/targets", params={"name": "shop"})
            ).status_code == 404


async def test_an_address_that_came_over_the_network_is_no_way_into_it(tmp_path: Path) -> None:
    with web() as site:
        async with serving_targets(tmp_path, {}) as client:
            names = await take(client, {"inside": site.url})
            assert names == {"inside": "registered"}
            check = await one(client, "inside")
            assert check["healthy"] is False
            assert check["status_code"] is None
            assert "private" in check["reason"]


async def test_what_the_configuration_has_is_changed_there_alone(tmp_path: Path) -> None:
    with web() as site:
        async with serving_targets(tmp_path, {"shop": site.url}) as client:
            outcomes = await take(
                client, {"shop": "https://other.example.org/", "new": "http://a/"}
            )
            assert outcomes["new"] == "registered"
            assert "HEALTH_TARGETS" in outcomes["shop"]
            refused = await client.delete("/admin/targets", params={"name": "shop"})
            assert refused.status_code == 409
            assert "HEALTH_TARGETS" in refused.json()["error"]["message"]
            assert (await listed(client))["shop"]["target"]["endpoint"] == site.url


async def test_a_target_is_held_to_the_rules_of_the_file(client: httpx.AsyncClient) -> None:
    wrong = {
        "a": {"endpoint": "file:///etc/passwd"},
        "b": {"endpoint": "http://a/", "interval": "soon"},
        "c": {"endpoint": "http://a/", "timeout": "2h", "interval": "1h"},
        "d": {"endpoint": "http://a/", "colour": "red"},
        "e": {"kind": "mcp-stdio"},
        "": "http://a/",
    }
    for name, line in wrong.items():
        answer = await client.post("/admin/targets", json={"targets": {name: line}})
        assert answer.status_code == 400, answer.text
        assert answer.json()["error"]["field"] == "targets"
        assert "HEALTH_TARGETS" not in answer.text
    for body in (b"", b"\xff", b"[targets]\na = 1", b'{"targets": [1]}', b'{"target": {}}'):
        answer = await client.post("/admin/targets", content=body)
        assert answer.status_code == (200 if not body else 400), answer.text
    many = {f"t{i}": "http://a/" for i in range(TARGETS_A_REQUEST + 1)}
    answer = await client.post("/admin/targets", json={"targets": many})
    assert "at most 200" in answer.json()["error"]["message"]
    process = {"kind": "mcp-stdio", "command": "touch", "args": ["/tmp/x"]}
    outcomes = await take(client, {"run": process})
    assert "only the configuration" in outcomes["run"]
    circle = {"x": {"endpoint": "http://a/", "depends_on": ["x"]}}
    answer = await client.post("/admin/targets", json={"targets": circle})
    assert "depends on itself" in answer.json()["error"]["message"]
    toml = b'[targets]\nshop = "http://shop.example.org/"\n'
    answer = await client.post("/admin/targets", content=toml)
    assert answer.json() == {"outcomes": [{"name": "shop", "outcome": "registered"}]}
    assert set(await listed(client)) == {"shop"}


async def test_names_with_any_characters_can_be_removed(client: httpx.AsyncClient) -> None:
    for name in ("a/b", "a b?c#d", "Ünïcode-クライアント", "100%41", "/"):
        assert await take(client, {name: "http://a/"}) == {name: "registered"}
        ended = await client.delete("/admin/targets", params={"name": name})
        assert ended.json() == {"name": name, "outcome": "removed"}, ended.text
    assert (await client.delete("/admin/targets")).status_code == 404


async def test_only_who_may_administer_changes_targets(tmp_path: Path) -> None:
    async with Server(quick_settings(tmp_path, token="s3cret")) as server:
        await server.until_ready()
        async with httpx.AsyncClient(base_url=server.url) as client:
            assert (await client.get("/admin/targets")).status_code == 401
            assert (await client.delete("/admin/targets?name=a")).status_code == 401
            client.headers["authorization"] = "Bearer s3cret"
            assert await take(client, {"a": "http://a/"}) == {"a": "registered"}
            assert (await listed(client))["a"]["registered_by"] == "token/http:127.0.0.1"


def test_the_commands_list_add_and_remove(tmp_path: Path) -> None:
    assert set(KINDS) == set(get_args(Kind)) - {"mcp-stdio"}
    directory = ("--data-dir", str(tmp_path))
    none = run("targets", "list", *directory)
    assert none.returncode == 1
    assert "no server is running" in none.stderr
    with serving(tmp_path, LOGFIRE_MCP_TOKEN="s3cret"):

        def targets(*arguments: str) -> Any:
            return run("targets", *arguments, *directory, LOGFIRE_MCP_TOKEN="s3cret")

        added = targets("add", "db", "db.example.org:5432", "--kind", "tcp", "--interval", "1h")
        assert added.stdout == "db: registered\n", added.stderr
        assert targets("add", "job", "--kind", "heartbeat").stdout == "job: registered\n"
        shown = targets("list").stdout
        assert "db.example.org:5432" in shown
        assert "heartbeat" in shown
        assert "token/http:127.0.0.1" in shown
        wrong = targets("add", "x", "ftp://a/")
        assert wrong.returncode == 1
        assert "http://" in wrong.stderr
        assert targets("remove", "db").stdout == "db: removed\n"
        again = targets("remove", "db")
        assert (again.returncode, again.stdout) == (1, "")
        assert "no target 'db'" in again.stderr
