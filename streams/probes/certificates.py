"""When a certificate expires."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from typing import Any

from streams.probes.addresses import AddressPolicy, resolve
from streams.probes.endpoints import HostPort

DAY_S = 86_400


def days_left(certificate: Mapping[str, Any], now_s: float) -> float | None:
    """Of a certificate that was verified, as `ssl.SSLSocket.getpeercert` gives it; None where it
    says nothing. Negative after its end."""
    until = certificate.get("notAfter")
    return None if until is None else round((ssl.cert_time_to_seconds(until) - now_s) / DAY_S, 2)


async def days_left_unverified(at: HostPort, policy: AddressPolicy, now_s: float) -> float | None:
    """Of whatever certificate is shown there: a handshake that verifies nothing and sends nothing.
    None where there is none to be read."""
    # 50 ms, and only a certificate that fails needs it.
    from cryptography.x509 import load_der_x509_certificate

    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    address, *_ = await resolve(at.host, policy)
    _, writer = await asyncio.open_connection(
        str(address), at.port, ssl=context, server_hostname=at.host
    )
    try:
        der = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    finally:
        writer.transport.abort()
    if der is None:
        return None
    until = load_der_x509_certificate(der).not_valid_after_utc
    return round((until.timestamp() - now_s) / DAY_S, 2)
