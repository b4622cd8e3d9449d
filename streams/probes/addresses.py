"""Which addresses a probe may connect to.

An endpoint that came over the network must not become a way into this machine's network (forged
requests, SSRF). A name is resolved once, each address is judged, and the connection goes to an
address that was judged: a name that answers otherwise a moment later gains nothing.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

ADDRESSES_MAX: Final = 4
"""Addresses of one name that are tried, in the resolver's order."""

METADATA: Final = frozenset(
    ipaddress.ip_address(text)
    for text in (
        "169.254.169.254",  # AWS, Azure, Google, and most others
        "169.254.170.2",  # AWS ECS: credentials of a task
        "fd00:ec2::254",  # AWS over IPv6
        "100.100.100.200",  # Alibaba
        "168.63.129.16",  # Azure's host, a public address
        "192.0.0.192",  # Oracle
    )
)
"""Where clouds give a machine its secrets: never asked, not even for a configured target, unless
their network is allowed by name."""

_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")
"""IPv4 as a network without it sees it (RFC 6052)."""

_GLOBAL6: Final = ipaddress.IPv6Network("2000::/3")
"""All that is global unicast today (RFC 4291, IANA); and of it not the IPv4 tunnels below."""

_TUNNELS: Final = (ipaddress.IPv6Network("2002::/16"), ipaddress.IPv6Network("2001::/32"))
"""6to4 and Teredo: obsolete (RFC 7526), and ways to IPv4 addresses of any kind."""

_RESOLVERS: Final = ThreadPoolExecutor(8, thread_name_prefix="resolve")
"""Apart from the event loop's own threads: a resolver that hangs takes none of theirs."""


class NotToBeAsked(Exception):
    """Every address of a host is one that is not to be asked: the finding is ``forbidden``."""


class NotResolved(Exception):
    """A name has no address, or the resolver does not answer."""


@dataclass(frozen=True, slots=True)
class AddressPolicy:
    """``public_only``: for endpoints that came over the network. ``allowed``: networks that are
    permitted whatever they are."""

    public_only: bool
    allowed: tuple[Network, ...] = ()

    def permits(self, address: Address) -> bool:
        """Whether it may be connected to."""
        if any(address in network for network in self.allowed):
            return True
        inner = embedded(address)
        if inner is not None:
            return self.permits(inner)
        if address in METADATA:
            return False
        return not self.public_only or _is_public(address)


def _is_public(address: Address) -> bool:
    if isinstance(address, ipaddress.IPv6Address) and (
        address not in _GLOBAL6 or any(address in network for network in _TUNNELS)
    ):
        return False
    return address.is_global and not address.is_multicast and not address.is_reserved


async def resolve(host: str, policy: AddressPolicy) -> tuple[Address, ...]:
    """The addresses of a host that the policy permits, 1 to `ADDRESSES_MAX`.

    Raises `NotToBeAsked` or `NotResolved`; names the reason, but never a refused address.
    """
    found = await _addresses(host)
    permitted = tuple(address for address in found if policy.permits(address))
    if not permitted:
        raise NotToBeAsked(
            f"{host[:100]} is at no public address; private, link-local and metadata addresses are"
            " asked only of configured targets or where they are allowed"
        )
    return permitted[:ADDRESSES_MAX]


def embedded(address: Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address that an IPv6 address stands for, or None.

    >>> embedded(ipaddress.ip_address("::ffff:10.0.0.1"))
    IPv4Address('10.0.0.1')
    """
    if isinstance(address, ipaddress.IPv4Address):
        return None
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    return address.ipv4_mapped


async def _addresses(host: str) -> list[Address]:
    try:
        return [ipaddress.ip_address(host)]
    except ValueError:
        pass
    loop = asyncio.get_running_loop()
    try:
        # What is a number only to C's resolver (0x7f.1, 2130706433) becomes an address too.
        infos = await loop.run_in_executor(
            _RESOLVERS, lambda: socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        )
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise NotResolved(f"{host[:100]}: {reason}") from None
    texts = dict.fromkeys(str(info[4][0]).partition("%")[0] for info in infos)
    return [ipaddress.ip_address(text) for text in texts]
