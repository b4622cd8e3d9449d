"""What no log takes: unknown topics, headers that are no text, too much of anything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from streams.errors import InputError, TooLarge
from streams.log.protocol import BODY_BYTES_MAX, HEADER_BYTES_MAX, Message, RequestKey

KEY_BYTES_MAX = 1_024
DIGEST_BYTES_MAX = 64


def require_partition(topics: Mapping[str, int], topic: str, partition: int) -> None:
    """`InputError` where the log has no such partition. ``topics``: their numbers of partitions."""
    count = topics.get(topic)
    if count is None:
        raise InputError(f"the log has no topic {topic!r}; it has {', '.join(topics)}")
    if not 0 <= partition < count:
        raise InputError(f"{topic} has no partition {partition}; it has 0 to {count - 1}")


def encoded_headers(message: Message) -> list[tuple[str, bytes]]:
    """The headers with their values in UTF-8, once the message is within its limits.

    `TooLarge` over one, `InputError` for what is no text.
    """
    if len(message.body) > BODY_BYTES_MAX:
        raise TooLarge(f"a body of {len(message.body)} bytes; at most {BODY_BYTES_MAX} are taken")
    size = 0
    encoded = []
    try:
        for name, value in message.headers.items():
            text = value.encode()
            size += len(name.encode()) + len(text)
            encoded.append((name, text))
    except (UnicodeEncodeError, AttributeError) as error:
        raise InputError(f"a header is no UTF-8 text: {error}") from error
    if size > HEADER_BYTES_MAX:
        raise TooLarge(f"headers of {size} bytes; at most {HEADER_BYTES_MAX} are taken")
    return encoded


def check_keys(keys: Sequence[RequestKey]) -> None:
    """`InputError` for keys or digests over their limits, and for a key named twice."""
    if len({key.key for key in keys}) != len(keys):
        raise InputError("a unit names one idempotency key twice")
    for key in keys:
        _check_key(key)


def _check_key(key: RequestKey) -> None:
    try:
        size = len(key.key.encode())
    except UnicodeEncodeError as error:
        raise InputError(f"an idempotency key is no UTF-8 text: {error}") from error
    if not 0 < size <= KEY_BYTES_MAX or len(key.digest) > DIGEST_BYTES_MAX:
        raise InputError(
            f"an idempotency key has 1 to {KEY_BYTES_MAX} bytes and a digest of at most "
            f"{DIGEST_BYTES_MAX}; got {size} and {len(key.digest)}"
        )
