"""What is said over a live feed: requests as clients write them, and the parts of answers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Annotated, Literal

import msgspec

from streams.errors import InputError

ID_CHARS_MAX = 64
PING_CHARS_MAX = 128

PART_BYTES_MAX = 64 << 10
"""What is larger is said in several messages; one event or series alone may be larger."""

Feed = Literal["metrics", "alerts", "health", "events"]

_Id = Annotated[str, msgspec.Meta(min_length=1, max_length=ID_CHARS_MAX)]
_EXPECTED = '{"subscribe": {"id": …, "feed": …}}, {"unsubscribe": id} or {"ping": text}'


class Subscribe(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``promql``, ``interval``: of feed metrics; ``topics``, ``types``: of feed events; ``after``:
    a position, of all but metrics."""

    id: _Id
    feed: Feed
    promql: str | None = None
    interval: str | None = None
    topics: tuple[str, ...] | None = None
    types: tuple[str, ...] | None = None
    after: str | None = None


class Unsubscribe(msgspec.Struct, frozen=True):
    """Ends the subscription with this id."""

    id: str


class Ping(msgspec.Struct, frozen=True):
    """To be answered with the same text: a browser cannot send the protocol's own."""

    text: str


Request = Subscribe | Unsubscribe | Ping


class _Wire(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    subscribe: Subscribe | None = None
    unsubscribe: _Id | None = None
    ping: Annotated[str, msgspec.Meta(max_length=PING_CHARS_MAX)] | None = None


_decode = msgspec.json.Decoder(_Wire).decode
_encode = msgspec.json.Encoder().encode


def read_request(text: str | None) -> Request:
    """The request of a text message; ``None``: of a binary one. `InputError` in one sentence."""
    if text is None:
        raise InputError(f"a binary message cannot be read; send text: {_EXPECTED}")
    try:
        wire = _decode(text)
    except (msgspec.MsgspecError, UnicodeEncodeError, RecursionError) as error:
        why = str(error).replace("`", "'")
        raise InputError(f"the message cannot be read ({why}); send {_EXPECTED}") from error
    asked: list[Request] = []
    if wire.subscribe is not None:
        asked.append(wire.subscribe)
    if wire.unsubscribe is not None:
        asked.append(Unsubscribe(wire.unsubscribe))
    if wire.ping is not None:
        asked.append(Ping(wire.ping))
    if len(asked) != 1:
        raise InputError(f"the message asks for {len(asked)} things, not one; send {_EXPECTED}")
    return asked[0]


def json_text(value: object) -> str:
    """Anything that JSON can say."""
    return _encode(value).decode()


def head_of(subscription: str) -> str:
    """How each message about a subscription begins; what follows may be shared by clients."""
    return f'{{"id":{json_text(subscription)},'


def error_text(message: str, subscription: str | None = None) -> str:
    """One sentence about a request, or about a subscription, which it ends."""
    said: dict[str, str] = {} if subscription is None else {"id": subscription}
    return json_text({**said, "type": "error", "message": message})


def in_parts(items: Iterable[str]) -> Iterator[list[str]]:
    """The items in their order, cut into runs of at most `PART_BYTES_MAX`; at least one run."""
    part: list[str] = []
    size = 0
    for item in items:
        length = len(item) if item.isascii() else len(item.encode())
        if part and size + length > PART_BYTES_MAX:
            yield part
            part, size = [], 0
        part.append(item)
        size += length + 1
    yield part


def snapshot_tails(field: str, items: Iterable[str], last: str) -> list[str]:
    """A snapshot's messages without their heads: ``more`` in all but the last, which has ``last``
    (members of the object, e.g. its position)."""
    return _tails("snapshot", field, items, last)


def change_tails(field: str, items: Iterable[str], last: str) -> list[str]:
    """A change's messages without their heads, as of `snapshot_tails`."""
    return _tails("change", field, items, last)


def _tails(kind: str, field: str, items: Iterable[str], last: str) -> list[str]:
    parts = [",".join(part) for part in in_parts(items)]
    begin = f'"type":"{kind}","{field}":['
    return [f'{begin}{part}],"more":true}}' for part in parts[:-1]] + [
        f"{begin}{parts[-1]}],{last}}}"
    ]
