"""HTTP, TCP, DNS: each failure for real, and named right."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from streams.events.health import Cause
from tests.probes.answering import (
    SHORT_MS,
    Answer,
    answering,
    certificate,
    checked,
    endless,
    endless_redirect,
    hang,
    hang_up,
    http,
    no_http,
    prober,
    target,
)

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

JSON = '{"status": "unhealthy", "checks": [{"up": true}]}'


@pytest.mark.parametrize(
    ("answer", "cause"),
    [
        (http(200), "ok"),
        (http(204), "ok"),
        (http(401), "unauthorized"),
        (http(403), "unauthorized"),
        (http(404), "not_found"),
        (http(500), "status"),
        (http(503), "status"),
        (http(302, Location="/fine"), "ok"),
        (http(302, Location="/it"), "status"),
        (http(302, Location="ftp://example.com/"), "invalid_reply"),
        (hang_up, "died"),
        (no_http, "invalid_reply"),
        (endless, "ok"),
        (endless_redirect, "invalid_reply"),
    ],
)
async def test_an_answer_is_named_for_what_it_is(answer: Answer, cause: Cause) -> None:
    async with answering({"/it": answer, "/fine": http(200)}) as server:
        found = await checked(target(server.url("/it")))
        assert (found.cause, bool(found.reason)) == (cause, cause != "ok"), found
        await server.until_all_are_closed()
    if cause == "ok":
        assert found.latency_ms is not None


async def test_a_server_that_hangs_is_a_time_out() -> None:
    async with answering({"/it": hang}) as server:
        found = await checked(target(server.url("/it"), timeout_ms=SHORT_MS))
        assert (found.cause, found.reason) == ("timeout", "no answer within 0.3 s")
        await server.until_all_are_closed()


async def test_the_status_that_is_expected_is_good_and_no_other() -> None:
    answers = {"/moved": http(301, Location="/"), "/": http(200), "/teapot": http(418)}
    async with answering(answers) as server:
        moved = await checked(target(server.url("/moved"), expected_status=(301,)))
        assert (moved.cause, moved.status_code) == ("ok", 301)
        teapot = await checked(target(server.url("/teapot"), expected_status=(200, 418)))
        assert (teapot.cause, teapot.status_code) == ("ok", 418)
        fine = await checked(target(server.url("/"), expected_status=(418,)))
        assert (fine.cause, fine.status_code) == ("status", 200)


@pytest.mark.parametrize(
    ("text", "path", "cause"),
    [
        ("unhealthy", "", "ok"),
        ("splendid", "", "body"),
        ("", "$.checks[0].up", "ok"),
        ("", "$.checks[1].up", "body"),
        ("unhealthy", "$.status", "ok"),
        ("healthy", "$.status", "body"),  # it is in "unhealthy", but is not the value
        ("true", "$.checks[*].up", "ok"),
    ],
)
async def test_a_body_is_judged_by_text_and_path(text: str, path: str, cause: Cause) -> None:
    async with answering({"/it": http(200, JSON)}) as server:
        it = target(server.url("/it"), body_contains=text, body_path=path)
        assert (await checked(it)).cause == cause


async def test_a_body_that_is_no_json_has_no_path() -> None:
    async with answering({"/it": http(200, "<p>up</p>"), "/deep": http(200, "[" * 100_000)}) as web:
        for path in ("/it", "/deep"):
            found = await checked(target(web.url(path), body_path="$.status"))
            assert (found.cause, found.reason) == ("body", "the answer is not JSON")


async def test_nothing_listening_is_refused() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    assert (await checked(target(f"http://127.0.0.1:{port}/"))).cause == "refused"
    assert (await checked(target(f"http://localhost:{port}/"))).cause == "refused"
    assert (await checked(target(f"127.0.0.1:{port}", "tcp"))).cause == "refused"


async def test_a_name_that_nobody_has_is_told_so() -> None:
    for it in (
        target("http://no.invalid/"),
        target("no.invalid:1", "tcp"),
        target("a.invalid", "dns"),
    ):
        assert (await checked(it)).cause == "name_resolution"


async def test_a_port_that_takes_connections_and_a_name_with_an_address_are_good() -> None:
    async with answering({}) as server:
        assert (await checked(target(f"localhost:{server.port}", "tcp"))).cause == "ok"
        await server.until_all_are_closed()
    assert (await checked(target("localhost", "dns"))).cause == "ok"


@pytest.mark.parametrize(
    ("days", "name", "said"),
    [
        (30, "127.0.0.1", "self-signed"),
        (-3, "127.0.0.1", ""),  # OpenSSL names its age or its maker, by version
        (30, "other.example", "self-signed"),
    ],
)
async def test_a_bad_certificate_is_named_and_its_days_are_told(
    tmp_path: Path, days: int, name: str, said: str
) -> None:
    pem = certificate(tmp_path, days=days, name=name)
    async with answering({"/it": http(200)}, pem) as server:
        found = await checked(target(server.url("/it", "https")))
        assert found.cause == "certificate", found
        assert said in found.reason
        assert found.certificate_days is not None
        assert abs(found.certificate_days - days) < 1
        assert server.paths == []  # nothing was asked of a server that is not who it should be
        await server.until_all_are_closed()


def test_a_good_certificates_days_are_told(tmp_path: Path) -> None:
    """By the name, though the connection goes to an address. In a process of its own, since whom
    to trust is read once."""
    pem = certificate(tmp_path, days=30, name="localhost")
    code = (
        "import asyncio, sys; from pathlib import Path\n"
        "from tests.probes.answering import answering, checked, http, target\n"
        "async def main():\n"
        "    async with answering({'/it': http(200)}, Path(sys.argv[1])) as server:\n"
        "        found = await checked(target(f'https://localhost:{server.port}/it'))\n"
        "        print(found.cause, round(found.certificate_days or 0))\n"
        "asyncio.run(main())\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code, str(pem)],
        env={"SSL_CERT_FILE": str(pem), "PYTHONPATH": "."},
        cwd=Path(__file__).parent.parent.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.stdout.split() == ["ok", "30"], ended.stderr


async def test_plain_http_where_tls_is_expected_is_named() -> None:
    async def speak_first(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(speak_first, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        found = await checked(target(f"https://127.0.0.1:{port}/"))
        assert (found.cause, found.reason) == ("protocol", "no TLS with it: WRONG_VERSION_NUMBER")


@pytest.mark.parametrize("kind", ["http", "mcp", "mcp-sse", "tcp", "dns", "mcp-stdio"])
async def test_a_target_from_the_network_is_no_way_in(kind: str) -> None:
    endpoints = {"tcp": "localhost:{port}", "dns": "localhost", "mcp-stdio": "sh"}
    async with answering({"/it": http(200)}) as server, prober() as probing:
        endpoint = endpoints.get(kind, "http://localhost:{port}/it").format(port=server.port)
        found = await probing.check(target(endpoint, kind))  # type: ignore[arg-type]
        assert found.cause == "forbidden"
        assert server.paths == []
        assert "127.0.0.1" not in found.reason


async def test_a_target_that_only_has_the_name_of_a_configured_one_is_no_way_in() -> None:
    async with answering({"/it": http(200)}) as server:
        configured = target("http://example.com/")
        async with prober(configured) as probing:
            assert (await probing.check(target(server.url("/it")))).cause == "forbidden"


async def test_a_redirect_leads_only_where_the_policy_permits() -> None:
    async with answering({"/secret": http(200)}) as inner:
        out = http(302, Location=inner.url("/secret").replace("127.0.0.1", "127.0.0.2"))
        cloud = http(307, Location="http://169.254.169.254/latest/meta-data/")
        async with answering({"/in": out, "/cloud": cloud}) as outer:
            only = ipaddress.ip_network("127.0.0.1/32")
            async with prober(allowed=(only,)) as probing:
                assert (await probing.check(target(outer.url("/in")))).cause == "forbidden"
            # Not even a configured target leads to a cloud's secrets.
            assert (await checked(target(outer.url("/cloud")))).cause == "forbidden"
            assert outer.paths == ["/in", "/cloud"]
        assert inner.paths == []


def no_content(heads: list[bytes]) -> Serve:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError):
            heads.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
        writer.close()

    return serve


async def test_the_host_header_is_the_name_though_the_connection_goes_to_an_address() -> None:
    heads: list[bytes] = []
    async with await asyncio.start_server(no_content(heads), "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        assert (await checked(target(f"http://localhost:{port}/"))).cause == "ok"
    (head,) = heads
    assert f"host: localhost:{port}" in head.decode().lower()


async def test_an_ipv6_address_is_asked() -> None:
    try:
        listening = await asyncio.start_server(no_content([]), "::1", 0)
    except OSError as error:
        pytest.skip(f"no IPv6 here: {error}")
    async with listening as server:
        port = server.sockets[0].getsockname()[1]
        assert (await checked(target(f"http://[::1]:{port}/"))).cause == "ok"


async def test_what_was_packed_unasked_is_not_unpacked() -> None:
    async with answering({"/it": http(200, "text", Content_Encoding="gzip")}) as server:
        assert (await checked(target(server.url("/it"), body_contains="text"))).cause == "ok"
