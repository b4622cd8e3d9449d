"""What a target's endpoint may be, and which addresses may be connected to."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from streams.errors import InputError
from streams.events.health import Kind
from streams.probes.addresses import AddressPolicy, NotResolved, NotToBeAsked, resolve
from streams.probes.endpoints import HostPort, check_endpoint, parse_host_port, parse_url
from tests.effort import examples

PUBLIC = AddressPolicy(public_only=True)
ANY = AddressPolicy(public_only=False)


@pytest.mark.parametrize(
    ("kind", "endpoint"),
    [
        ("http", "http://localhost:8000/task-master/health"),
        ("http", "https://[::1]/"),
        ("mcp", "https://mcp.example.com/mcp?tenant=a"),
        ("mcp-sse", "http://10.0.0.1/sse"),
        ("tcp", "db:5432"),
        ("tcp", "[::1]:5432"),
        ("dns", "bücher.example"),
        ("dns", "_sip._tcp.example.com."),
        ("mcp-stdio", "server-time"),
        ("heartbeat", ""),
    ],
)
def test_an_endpoint_of_its_kind_is_valid(kind: Kind, endpoint: str) -> None:
    check_endpoint(kind, endpoint)


@pytest.mark.parametrize(
    ("kind", "endpoint"),
    [
        ("http", "ftp://example.com/"),
        ("http", "localhost:8000"),
        ("http", "http://"),
        ("http", "http://user:secret@example.com/"),
        ("http", "http://example.com:99999/"),
        ("http", "http://example.com:0/"),
        ("http", "http://exa mple.com/"),
        ("http", "http://example.com/a\r\nHost: b"),
        ("http", "http://[::1/"),
        ("mcp", "http://example.com/" + "a" * 2_000),
        ("tcp", "db"),
        ("tcp", "::1:5432"),
        ("tcp", "db:port"),
        ("dns", ""),
        ("dns", "-a.example"),
        ("dns", "a..b"),
        ("mcp-stdio", "rm -rf /"),
    ],
)
def test_an_endpoint_of_another_kind_is_refused(kind: Kind, endpoint: str) -> None:
    with pytest.raises(InputError) as refused:
        check_endpoint(kind, endpoint)
    assert refused.value.field == "endpoint"


def test_a_url_without_a_port_has_its_schemes() -> None:
    assert parse_url("https://example.com/") == HostPort("example.com", 443)
    assert parse_url("http://example.com/") == HostPort("example.com", 80)


@hypothesis_settings(max_examples=examples(300))
@given(st.text(max_size=80), st.sampled_from(["http", "tcp", "dns", "mcp-stdio"]))
def test_any_text_is_an_endpoint_or_refused(text: str, kind: Kind) -> None:
    try:
        check_endpoint(kind, text)
    except InputError:
        return
    if kind == "tcp":
        assert 1 <= parse_host_port(text).port <= 65_535


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.8.8.8",
        "0.0.0.0",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "100.64.0.1",  # carriers' NAT
        "169.254.1.1",
        "169.254.169.254",
        "100.100.100.200",
        "168.63.129.16",
        "192.0.2.1",  # documentation
        "198.18.0.1",  # benchmarks
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "::127.0.0.1",
        "64:ff9b::a00:1",
        "64:ff9b::a9fe:a9fe",
        "2002:7f00:1::",
        "2002:a9fe:a9fe::1",
        "2001::1",  # Teredo
        "fc00::1",
        "fd00:ec2::254",
        "fe80::1",
        "fec0::1",
        "ff02::1",
        "2001:db8::1",
    ],
)
def test_an_address_that_is_not_public_is_not_for_strangers(address: str) -> None:
    assert not PUBLIC.permits(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "1.1.1.1", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]
)
def test_a_public_address_is_for_everybody(address: str) -> None:
    assert PUBLIC.permits(ipaddress.ip_address(address))


def test_a_configured_target_may_be_anywhere_but_where_clouds_keep_secrets() -> None:
    for address in ("127.0.0.1", "10.1.2.3", "::1", "fe80::1"):
        assert ANY.permits(ipaddress.ip_address(address))
    for address in ("169.254.169.254", "::ffff:169.254.169.254", "fd00:ec2::254"):
        assert not ANY.permits(ipaddress.ip_address(address))


def test_an_allowed_network_is_permitted_and_nothing_beside_it() -> None:
    some = AddressPolicy(public_only=True, allowed=(ipaddress.ip_network("10.1.0.0/16"),))
    assert some.permits(ipaddress.ip_address("10.1.255.255"))
    assert some.permits(ipaddress.ip_address("::ffff:10.1.0.1"))
    assert not some.permits(ipaddress.ip_address("10.2.0.0"))


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.1", "2130706433", "0x7f.1", "0"])
async def test_no_spelling_of_loopback_is_asked_for_a_stranger(host: str) -> None:
    with pytest.raises((NotToBeAsked, NotResolved)):
        await resolve(host, PUBLIC)


async def test_a_name_without_an_address_says_so() -> None:
    with pytest.raises(NotResolved, match=r"no-such-host\.invalid"):
        await resolve("no-such-host.invalid", ANY)
