"""Real servers that answer as a test wants, well or badly, on free ports of loopback."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import json
import re
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from streams.events.health import HealthChecked, Kind, Target
from streams.probes.addresses import Network
from streams.probes.mcp_stdio_command import StdioCommand
from streams.probes.prober import Prober

TIMEOUT_MS = 20_000
"""Of targets that are to answer: no test fails since a machine is slow."""

SHORT_MS = 300
"""Of targets that never answer."""


@dataclass
class Asked:
    """``paths``: asked for so far, ``heads``: with their headers, in small letters; ``open``:
    connections now; ``changed``: whenever that is."""

    port: int = 0
    paths: list[str] = field(default_factory=list)
    heads: list[str] = field(default_factory=list)
    open: int = 0
    closed: asyncio.Condition = field(default_factory=asyncio.Condition)

    def url(self, path: str, scheme: str = "http") -> str:
        return f"{scheme}://127.0.0.1:{self.port}{path}"

    async def until_all_are_closed(self) -> None:
        async with self.closed:
            await asyncio.wait_for(self.closed.wait_for(lambda: self.open == 0), 20)


@dataclass(frozen=True)
class Request:
    """``reader``: what comes after it."""

    method: str
    body: bytes
    reader: asyncio.StreamReader


Answer = Callable[[Request, asyncio.StreamWriter], Awaitable[None]]


def http(status: int, body: str = "", **headers: str) -> Answer:
    """One answer, then the connection is closed; ``content_type`` is written Content-Type."""

    async def answer(_asked: Request, writer: asyncio.StreamWriter) -> None:
        lines = [f"HTTP/1.1 {status} Said", f"Content-Length: {len(body.encode())}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        writer.write("\r\n".join([*lines, "Connection: close", "", body]).encode())
        await writer.drain()

    return answer


async def hang(asked: Request, _writer: asyncio.StreamWriter) -> None:
    """Never answers, until whoever asked has gone."""
    await asked.reader.read()


async def hang_up(_asked: Request, _writer: asyncio.StreamWriter) -> None:
    """Closes without an answer."""


async def no_http(_asked: Request, writer: asyncio.StreamWriter) -> None:
    """Speaks another protocol."""
    writer.write(b"220 mail.example ESMTP\r\n\r\n")


async def endless(_asked: Request, writer: asyncio.StreamWriter) -> None:
    """A body without an end."""
    await _endless(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", writer)


async def endless_redirect(_asked: Request, writer: asyncio.StreamWriter) -> None:
    """Leads on, with a body without an end."""
    await _endless(b"HTTP/1.1 302 Found\r\nLocation: /fine\r\n\r\n", writer)


async def _endless(head: bytes, writer: asyncio.StreamWriter) -> None:
    writer.write(head)
    while not writer.is_closing():
        writer.write(b"x" * 65_536)
        await writer.drain()


@asynccontextmanager
async def answering(answers: Mapping[str, Answer], tls: Path | None = None) -> AsyncIterator[Asked]:
    """A server of these paths; all others are 404."""
    asked = Asked()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.open += 1
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            method, url, *_ = head.split()
            path = url.partition("?")[0]
            asked.paths.append(path)
            asked.heads.append(head)
            length = re.search(r"content-length: (\d+)", head)
            body = b"" if length is None else await reader.readexactly(int(length[1]))
            request = Request(method.upper(), body, reader)
            await answers.get(path, http(404))(request, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass  # whoever asked has gone
        finally:
            writer.close()
            async with asked.closed:
                asked.open -= 1
                asked.closed.notify_all()

    context = None
    if tls is not None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(tls)
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    asked.port = server.sockets[0].getsockname()[1]
    async with server:
        yield asked


def target(
    endpoint: str, kind: Kind = "http", *, timeout_ms: int = TIMEOUT_MS, **more: object
) -> Target:
    return Target(name="it", kind=kind, endpoint=endpoint, timeout_ms=timeout_ms, **more)  # type: ignore[arg-type]


@asynccontextmanager
async def prober(
    *configured: Target,
    commands: Mapping[str, StdioCommand] | None = None,
    allowed: tuple[Network, ...] = (),
    **more: Any,
) -> AsyncIterator[Prober]:
    """A prober that is asked for single checks; ``more``: as `Prober` has it."""
    targets = {each.name: each for each in configured}

    async def tell(_checked: HealthChecked) -> None:
        raise AssertionError("a check beside the schedule is not told")

    probing = Prober(
        dict,
        tell,
        configured=targets,
        commands=commands or {},
        last_beat_ms=lambda _: None,
        allowed=allowed,
        **more,
    )
    try:
        yield probing
    finally:
        await probing.close()


async def checked(asked_for: Target) -> HealthChecked:
    """One check of a configured target."""
    async with prober(asked_for) as probing:
        return await probing.check(asked_for)


def certificate(folder: Path, *, days: int, name: str = "127.0.0.1") -> Path:
    """A PEM file with a key and a certificate that vouches for itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    try:
        alternative: x509.GeneralName = x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        alternative = x509.DNSName(name)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=100))
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([alternative]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    path = folder / f"{name}-{days}.pem"
    path.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return path


Reply = Callable[[dict[str, Any]], object]
"""A JSON-RPC message to its result; an `RpcError` to an error; None for what has no answer."""


@dataclass(frozen=True)
class RpcError:
    code: int
    data: object = None


def mcp(reply: Reply, said: list[str], **headers: str) -> Answer:
    """A server of Streamable HTTP; ``said`` is told the methods, of HTTP where it is no POST."""

    async def answer(asked: Request, writer: asyncio.StreamWriter) -> None:
        if asked.method != "POST":
            said.append(asked.method)
            return await http(405)(asked, writer)
        message = json.loads(asked.body)
        said.append(message["method"])
        result = reply(message)
        if result is None:
            return await http(202)(asked, writer)
        told: dict[str, object] = {"jsonrpc": "2.0", "id": message["id"]}
        if isinstance(result, RpcError):
            told["error"] = {"code": result.code, "message": "no", "data": result.data}
        else:
            told["result"] = result
        json_answer = http(200, json.dumps(told), Content_Type="application/json", **headers)
        return await json_answer(asked, writer)

    return answer
