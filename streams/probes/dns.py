"""DNS: whether a name has an address, as programs on this machine would find it."""

from __future__ import annotations

import asyncio
import time

from streams.errors import InputError
from streams.events.health import Target
from streams.probes.addresses import AddressPolicy, NotResolved, NotToBeAsked, resolve
from streams.probes.endpoints import parse_host
from streams.probes.finding import Finding, elapsed_ms
from streams.probes.http_client import failed


async def look_dns(target: Target, policy: AddressPolicy) -> Finding:
    """Asks the system's resolver (hosts file, search list and caches as configured)."""
    start_s = time.perf_counter()
    try:
        async with asyncio.timeout(target.timeout_ms / 1000):
            await resolve(parse_host(target.endpoint), policy)
    except InputError as error:
        return Finding(cause="forbidden", reason=str(error))
    except (TimeoutError, NotResolved, NotToBeAsked) as error:
        return failed(error, target.timeout_ms)
    return Finding(cause="ok", latency_ms=elapsed_ms(start_s))
