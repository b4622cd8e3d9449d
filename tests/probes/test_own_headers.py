"""Headers of a target's requests: from where they come, and to whom alone they go."""

from __future__ import annotations

import asyncio
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import msgspec
import pytest

from streams.domain import targets as targets_file
from streams.domain.targets import read_targets
from streams.errors import ConfigError
from streams.events.health import HealthChecked, Kind, Target
from tests.probes.answering import Request, answering, http, prober, target

HEADERS = {"it": {"Authorization": "Bearer ${TOKEN}", "X-Team": "core"}}
ENVIRON = {"TOKEN": "t0p-s3cret"}


async def looked_at(it: Target, asked: Target | None = None, **more: Any) -> HealthChecked:
    """A check of a target, or of what ``asked`` makes of it."""
    known: dict[str, Any] = {"headers": HEADERS, "environ": ENVIRON, **more}
    async with prober(it, **known) as probing:
        return await probing.check(asked or it)


@pytest.mark.parametrize("kind", ["http", "mcp", "mcp-sse"])
async def test_every_request_to_the_target_carries_them(kind: Kind) -> None:
    async with answering({"/it": http(401)}) as server:
        found = await looked_at(target(server.url("/it"), kind))
    assert found.cause == "unauthorized"
    assert server.heads
    for head in server.heads:
        assert "authorization: bearer t0p-s3cret" in head
        assert "x-team: core" in head
    assert b"s3cret" not in msgspec.json.encode(found)


async def test_a_redirect_to_another_server_gets_none_of_them() -> None:
    async with answering({"/it": http(200)}) as other:

        async def lead(_: Request, writer: asyncio.StreamWriter) -> None:
            writer.write(f"HTTP/1.1 302 Found\r\nLocation: {other.url('/it')}\r\n\r\n".encode())

        async with answering({"/it": lead}) as server:
            found = await looked_at(target(server.url("/it")))
    assert found.cause == "ok"
    assert "x-team" in server.heads[0]
    assert "x-team" not in other.heads[0]
    assert "s3cret" not in other.heads[0]


async def test_another_target_under_the_name_gets_none_of_them() -> None:
    async with answering({"/it": http(200)}) as server, answering({"/it": http(200)}) as other:
        it = target(server.url("/it"))
        found = await looked_at(it, target(other.url("/it")), allowed=(ip_network("127.0.0.0/8"),))
    assert found.cause == "ok", found
    assert "authorization" not in other.heads[0]


async def test_what_cannot_be_sent_is_a_finding_without_the_secret(tmp_path: Path) -> None:
    async with answering({"/it": http(200)}) as server:
        it = target(server.url("/it"))
        missing = await looked_at(it, environ={})
        broken = await looked_at(it, environ={"TOKEN": "two\nlines"})
        token = tmp_path / "token"
        from_file = {"it": {"Authorization": f"${{file:{token}}}"}}
        no_file = await looked_at(it, headers=from_file)
        token.write_text("from-a-file\n")
        there = await looked_at(it, headers=from_file)
    assert (missing.cause, missing.reason) == (
        "unauthorized",
        "the header Authorization refers to TOKEN, which is not set in the environment",
    )
    assert broken.reason.startswith("the header Authorization has a value that cannot be sent")
    assert "two" not in broken.reason
    assert no_file.reason.endswith("No such file or directory")
    assert there.cause == "ok"
    assert "authorization: from-a-file" in server.heads[-1]


async def test_a_server_that_answers_with_the_secret_does_not_bring_it_into_the_log() -> None:
    secret = "t0p-s3cret" * 20  # longer than what is told of a body
    body = f'{{"you": "{secret}"}}'
    async with answering({"/it": http(200, body)}) as server:
        it = target(server.url("/it"), body_path="$.you", body_contains="nobody")
        found = await looked_at(it, environ={"TOKEN": secret})
    assert found.cause == "body"
    assert found.reason == "$.you is '***', not 'nobody'"


def test_the_example_of_the_file_is_taken() -> None:
    assert targets_file.__doc__ is not None
    example = targets_file.__doc__.partition("::")[2]
    read = read_targets("\n".join(line[4:] for line in example.splitlines()), 30_000, 10_000)
    assert read.headers == {"tools": {"Authorization": "Bearer ${TOOLS_TOKEN}"}}
    assert "TOOLS_TOKEN" not in repr(read.targets)
    assert set(read.targets) >= {"shop", "clock", "tools"}


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('{kind = "tcp", endpoint = "a:1", headers = {A = "b"}}', "kind http, mcp, mcp-sse"),
        ('{endpoint = "http://a", headers = {"A B" = "b"}}', "headers has 'A B'"),
        ('{endpoint = "http://a", headers = {Host = "b"}}', "headers has 'Host'"),
        ('{endpoint = "http://a", headers = {A = 1}}', r"headers\[\.\.\.\]"),
    ],
)
def test_what_is_wrong_with_headers_in_the_file_is_one_sentence(line: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        read_targets(f"[targets]\nit = {line}", 30_000, 10_000)
