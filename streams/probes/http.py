"""HTTP: status, latency, body, certificate."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import replace
from typing import Final

import httpx2

from streams.errors import InputError
from streams.events.health import Target
from streams.probes.addresses import AddressPolicy, NotResolved, NotToBeAsked
from streams.probes.certificates import days_left, days_left_unverified
from streams.probes.endpoints import parse_url
from streams.probes.finding import Finding, elapsed_ms
from streams.probes.http_client import Seen, failed, make_client
from streams.probes.json_path import find, parse_path
from streams.probes.own_headers import NONE, OwnHeaders

BODY_BYTES_MAX: Final = 1 << 20
"""What is read of an answer; a text or path beyond it is not there."""


_WRONG = (
    httpx2.HTTPError,
    httpx2.InvalidURL,
    httpx2.StreamError,  # a redirect with a body over the limit
    OSError,
    NotResolved,
    NotToBeAsked,
)


async def look_http(target: Target, policy: AddressPolicy, own: OwnHeaders = NONE) -> Finding:
    """A GET. Redirects are followed unless a status of 300 to 399 is expected; an https target's
    certificate is verified, and its remaining days told also where it fails."""
    timeout_s = target.timeout_ms / 1000
    try:
        async with asyncio.timeout(timeout_s):
            return await _asked(target, policy, own)
    except InputError as error:
        return Finding(cause="forbidden", reason=str(error))
    except _WRONG as error:
        finding = failed(error, target.timeout_ms)
    if finding.cause != "certificate":
        return finding
    return replace(finding, certificate_days=await _days_left(target, policy))


async def _asked(target: Target, policy: AddressPolicy, own: OwnHeaders) -> Finding:
    parse_url(target.endpoint)
    follow = not any(300 <= status < 400 for status in target.expected_status)
    start_s = time.perf_counter()
    async with make_client(policy, Seen(), target.timeout_ms / 1000, own) as client:
        request = client.build_request("GET", target.endpoint)
        answer = await client.send(request, stream=True, follow_redirects=follow)
        try:
            tls = answer.extensions["network_stream"].get_extra_info("ssl_object")
            days = None if tls is None else days_left(tls.getpeercert() or {}, time.time())
            body = own.redacted_body(await _body(answer))
        finally:
            await answer.aclose()
        latency_ms = elapsed_ms(start_s)
    finding = _judged(target, answer.status_code, body)
    return replace(
        finding, status_code=answer.status_code, latency_ms=latency_ms, certificate_days=days
    )


async def _body(answer: httpx2.Response) -> bytes:
    body = bytearray()
    async for chunk in answer.aiter_raw():
        body += chunk
        if len(body) >= BODY_BYTES_MAX:
            break
    return bytes(body[:BODY_BYTES_MAX])


def _judged(target: Target, status: int, body: bytes) -> Finding:
    if not _is_expected(target, status):
        match status:
            case 401 | 403 | 407:
                return Finding(cause="unauthorized", reason=f"HTTP {status}")
            case 404 | 410:
                return Finding(cause="not_found", reason=f"HTTP {status}: no such path")
            case _:
                return Finding(cause="status", reason=f"HTTP {status}")
    if target.body_path:
        return _judged_path(target, body)
    if target.body_contains and target.body_contains.encode() not in body:
        return Finding(cause="body", reason=f"{target.body_contains[:80]!r} is not in the answer")
    return Finding(cause="ok")


def _judged_path(target: Target, body: bytes) -> Finding:
    """With a text as well, one of the values must be that text: "healthy" is in "unhealthy"."""
    try:
        found = find(parse_path(target.body_path), json.loads(body))
    except InputError as error:
        return Finding(cause="body", reason=str(error))
    except (ValueError, RecursionError):
        return Finding(cause="body", reason="the answer is not JSON")
    if not found:
        return Finding(cause="body", reason=f"the answer has no {target.body_path[:80]}")
    if not target.body_contains:
        return Finding(cause="ok")
    texts = [value if isinstance(value, str) else json.dumps(value) for value in found[:100]]
    if target.body_contains in texts:
        return Finding(cause="ok")
    wanted = f"{target.body_path[:80]} is {texts[0][:80]!r}, not {target.body_contains[:80]!r}"
    return Finding(cause="body", reason=wanted)


def _is_expected(target: Target, status: int) -> bool:
    return status in target.expected_status if target.expected_status else 200 <= status < 300


async def _days_left(target: Target, policy: AddressPolicy) -> float | None:
    try:
        async with asyncio.timeout(target.timeout_ms / 1000):
            return await days_left_unverified(parse_url(target.endpoint), policy, time.time())
    except (OSError, NotResolved, NotToBeAsked):
        return None  # the finding is the certificate; its days are an extra
