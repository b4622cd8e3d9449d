"""Protobuf's wire format, as much of it as OTLP's messages need.

Written by hand, since protobuf's own objects cost several times as much for each point.
https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Final

_FIXED64: Final = struct.Struct("<Q")


def varint(number: int) -> bytes:
    """An unsigned number, seven bits a byte.

    >>> varint(300)
    b'\\xac\\x02'
    """
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def message(number: int, body: bytes) -> bytes:
    """Field ``number`` with bytes, a text or a message."""
    return varint(number << 3 | 2) + varint(len(body)) + body


def text(number: int, value: str) -> bytes:
    """Field ``number`` with a text; what is no UTF-8 is replaced."""
    return message(number, value.encode("utf-8", "replace")) if value else b""


def count(number: int, value: int) -> bytes:
    """Field ``number`` with an unsigned number or an enumeration's value."""
    return varint(number << 3) + varint(value)


def fixed64(number: int, value: int) -> bytes:
    """Field ``number`` with eight bytes."""
    return varint(number << 3 | 1) + _FIXED64.pack(value)


def attributes(number: int, values: Mapping[str, str]) -> bytes:
    """Field ``number`` with a ``KeyValue`` for each."""
    return b"".join(
        message(number, text(1, name) + message(2, message(1, value.encode("utf-8", "replace"))))
        for name, value in values.items()
    )


def envelope(resource: Mapping[str, str], content: bytes) -> bytes:
    """An export request: what all signals have in common around the ``content`` of a scope."""
    scoped = message(1, text(1, "logfire-mcp-server")) + content
    return message(1, message(1, attributes(1, resource)) + message(2, scoped))
