"""TCP: whether a port takes a connection."""

from __future__ import annotations

import asyncio
import time

from streams.errors import InputError
from streams.events.health import Target
from streams.probes.addresses import AddressPolicy, NotResolved, NotToBeAsked, resolve
from streams.probes.endpoints import parse_host_port
from streams.probes.finding import Finding, elapsed_ms
from streams.probes.http_client import failed


async def look_tcp(target: Target, policy: AddressPolicy) -> Finding:
    """Connects to the first address that takes it, and closes at once; nothing is sent."""
    start_s = time.perf_counter()
    try:
        async with asyncio.timeout(target.timeout_ms / 1000):
            await _connect(target.endpoint, policy, target.timeout_ms / 1000)
    except InputError as error:
        return Finding(cause="forbidden", reason=str(error))
    except (OSError, NotResolved, NotToBeAsked) as error:
        return failed(error, target.timeout_ms)
    return Finding(cause="ok", latency_ms=elapsed_ms(start_s))


async def _connect(endpoint: str, policy: AddressPolicy, timeout_s: float) -> None:
    at = parse_host_port(endpoint)
    addresses = await resolve(at.host, policy)
    for address in addresses:
        try:
            async with asyncio.timeout(timeout_s / len(addresses)):
                _, writer = await asyncio.open_connection(str(address), at.port)
        except OSError:
            if address == addresses[-1]:
                raise
        else:
            writer.transport.abort()
            return
