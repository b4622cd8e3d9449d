"""HTTP to an address that was judged, and what went wrong in the words of a finding.

One client a look: no connection, cookie or session outlives it, so each look finds what a new
caller finds: the name, the connection, TLS. Proxies of the environment are not used: a probe is to
find the target, not what stands before it.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import cache
from typing import Final

import httpx2

from streams.events.health import Cause
from streams.probes.addresses import AddressPolicy, NotResolved, NotToBeAsked, resolve
from streams.probes.finding import Finding
from streams.probes.own_headers import OwnHeaders

USER_AGENT: Final = "logfire-mcp-server"

ANSWER_BYTES_MAX: Final = 4 << 20
"""Of one answer, or of one stream of events: what is asked cannot fill our memory."""


@dataclass(slots=True)
class Seen:
    """What went over the wire last. The MCP SDK keeps it to itself, and a finding needs it."""

    status: int | None = None
    content_type: str = ""
    error: Exception | None = None


class JudgedTransport(httpx2.AsyncBaseTransport):
    """Resolves the host of each request, of each redirect too, and connects to an address that the
    policy permits. Host header, SNI and the certificate's check keep the name.

    Raises `NotToBeAsked`, `NotResolved`, or what httpx2 raises.
    """

    def __init__(self, policy: AddressPolicy, seen: Seen, own: OwnHeaders) -> None:
        """``own``: not among the client's, which go along with a redirect to anywhere."""
        self._own = own
        self._policy = policy
        self._seen = seen
        self._of_host: dict[tuple[str, str], httpx2.AsyncHTTPTransport] = {}

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Tries the permitted addresses in turn until one takes the connection."""
        # A side stream of MCP's handshake era, and the end of its session, decide nothing.
        is_told = request.method == "POST" or self._seen.status is None
        try:
            response = await self._send(request)
        except Exception as error:
            if is_told:
                self._seen.error = error
            raise
        if is_told:
            self._seen.error = None
            self._seen.status = response.status_code
            self._seen.content_type = response.headers.get("Content-Type", "")
        # Nothing packed was asked for: unpacked it could be a thousand times what was sent.
        response.headers.pop("Content-Encoding", None)
        assert isinstance(response.stream, httpx2.AsyncByteStream)
        return httpx2.Response(
            response.status_code,
            headers=response.headers,
            stream=_Bounded(response.stream),
            extensions=response.extensions,
        )

    async def _send(self, request: httpx2.Request) -> httpx2.Response:
        host, scheme = request.url.host, request.url.scheme
        if scheme not in {"http", "https"}:
            raise httpx2.UnsupportedProtocol(f"a redirect to {scheme}:")
        addresses = await resolve(host, self._policy)
        timeout = request.extensions.get("timeout") or {}
        connect_s = timeout.get("connect")
        if connect_s is not None:
            timeout = {**timeout, "connect": connect_s / len(addresses)}
        # A connection is one name's: another name at the same address has another certificate.
        transport = self._of_host.get((scheme, host))
        if transport is None:
            verify = verifying() if scheme == "https" else _nothing_to_verify()
            transport = httpx2.AsyncHTTPTransport(verify=verify, trust_env=False)
            self._of_host[scheme, host] = transport
        headers = request.headers.copy()
        headers.update(self._own.of(str(request.url)))
        for address in addresses:
            pinned = httpx2.Request(
                request.method,
                request.url.copy_with(host=str(address)),
                headers=headers,
                stream=request.stream,
                extensions={**request.extensions, "sni_hostname": host, "timeout": timeout},
            )
            try:
                return await transport.handle_async_request(pinned)
            except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
                if address == addresses[-1] or is_certificate(error):
                    raise
        raise AssertionError("a host has at least one address")

    async def aclose(self) -> None:
        """Closes every connection."""
        for transport in self._of_host.values():
            await transport.aclose()


class _Bounded(httpx2.AsyncByteStream):
    def __init__(self, stream: httpx2.AsyncByteStream) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        count = 0
        async for chunk in self._stream:
            count += len(chunk)
            if count > ANSWER_BYTES_MAX:
                raise httpx2.StreamError(f"an answer of more than {ANSWER_BYTES_MAX} bytes")
            yield chunk

    async def aclose(self) -> None:
        await self._stream.aclose()


def make_client(
    policy: AddressPolicy, seen: Seen, timeout_s: float, own: OwnHeaders
) -> httpx2.AsyncClient:
    """A client for one look; redirects are followed only where a request says so, at most 5."""
    return httpx2.AsyncClient(
        transport=JudgedTransport(policy, seen, own),
        timeout=timeout_s,
        headers={"User-Agent": USER_AGENT, "Accept-Encoding": "identity"},
        max_redirects=5,
        trust_env=False,
    )


@cache
def verifying() -> ssl.SSLContext:
    """The context that verifies certificates, by the system's or httpx2's authorities and
    ``SSL_CERT_FILE``; one for all looks, since to load the authorities takes 20 ms."""
    return httpx2.create_ssl_context()


@cache
def _nothing_to_verify() -> ssl.SSLContext:
    """For plain HTTP: without the authorities, which take 7 MB."""
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def failed(error: BaseException, timeout_ms: int) -> Finding:
    """What an error of a connection says about its target."""
    cause, reason = _judged(error, timeout_ms)
    return Finding(cause=cause, reason=reason)


def is_certificate(error: BaseException) -> bool:
    """Whether the other side's certificate is why."""
    return _caused_by(error, ssl.SSLCertVerificationError) is not None


def _judged(error: BaseException, timeout_ms: int) -> tuple[Cause, str]:
    certificate = _caused_by(error, ssl.SSLCertVerificationError)
    if isinstance(certificate, ssl.SSLCertVerificationError):
        return "certificate", f"its certificate: {certificate.verify_message}"
    if isinstance(error, NotToBeAsked):
        return "forbidden", str(error)
    if isinstance(error, NotResolved):
        return "name_resolution", str(error)
    if isinstance(error, TimeoutError | httpx2.TimeoutException):
        step = " to the connection" if isinstance(error, httpx2.ConnectTimeout) else ""
        return "timeout", f"no answer{step} within {timeout_ms / 1000:g} s"
    tls = _caused_by(error, ssl.SSLError)
    if isinstance(tls, ssl.SSLError):
        return "protocol", f"no TLS with it: {tls.reason or tls}"
    if _caused_by(error, ConnectionRefusedError) is not None:
        return "refused", "nothing listens there: connection refused"
    if isinstance(error, httpx2.ConnectError | OSError):
        system = _caused_by(error, OSError)
        text = system.strerror if isinstance(system, OSError) and system.strerror else str(error)
        return "unreachable", text or type(error).__name__
    if isinstance(error, httpx2.ReadError | httpx2.WriteError):
        return "died", "it closed the connection before its answer was whole"
    if isinstance(error, httpx2.RemoteProtocolError):
        if "without sending" in str(error) or "closed" in str(error):
            return "died", f"it closed the connection: {error}"
        return "invalid_reply", f"its answer is not HTTP: {error}"
    if isinstance(error, httpx2.UnsupportedProtocol):
        return "invalid_reply", str(error)
    if isinstance(error, httpx2.TooManyRedirects):
        return "status", "more than 5 redirects"
    return "invalid_reply", f"{type(error).__name__}: {error}"


def _caused_by(error: BaseException | None, kind: type[BaseException]) -> BaseException | None:
    """The first of that kind among the error, its causes and its group's members."""
    at: BaseException | None = error
    for _ in range(20):
        if at is None or isinstance(at, kind):
            return at
        if isinstance(at, BaseExceptionGroup):
            found = (_caused_by(each, kind) for each in at.exceptions)
            return next((each for each in found if each is not None), None)
        at = at.__cause__ or at.__context__
    return None
