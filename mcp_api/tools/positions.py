"""The position token: ``metrics.points/0@57,metrics.points/1@12``, the last offset a partition.

A write returns one; a read takes one as ``min_position`` and waits until it is projected.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from streams.errors import InputError
from streams.events.topics import TOPICS
from streams.log.protocol import Position

Offsets = Mapping[tuple[str, int], int]

_PARTS_MAX = 4_096
_PART = re.compile(r"([a-z][a-z._-]{0,63})/([0-9]{1,6})@([0-9]{1,18})", re.ASCII)


def position_token(positions: Iterable[Position]) -> str:
    """The token of a write; empty where nothing was written.

    >>> position_token([Position("metrics.points", 0, 56), Position("metrics.points", 0, 57)])
    'metrics.points/0@57'
    """
    last: dict[tuple[str, int], int] = {}
    for position in positions:
        key = (position.topic, position.partition)
        last[key] = max(last.get(key, 0), position.offset)
    return _text(last)


def absorbed_token(next_offsets: Offsets) -> str:
    """The token of what a read model has absorbed, from the next offset it will read of each.

    >>> absorbed_token({("metrics.points", 0): 58, ("metrics.windows", 0): 0})
    'metrics.points/0@57'
    """
    return _text({key: offset - 1 for key, offset in next_offsets.items() if offset > 0})


def parse_position(text: str, field: str = "min_position") -> dict[tuple[str, int], int]:
    """The offsets of a token; of a partition named twice the higher one.

    Raises `InputError` for anything else than a token, an unknown topic, or over 4,096 partitions.

    >>> parse_position("metrics.points/0@57")
    {('metrics.points', 0): 57}
    """
    offsets: dict[tuple[str, int], int] = {}
    parts = text.split(",", _PARTS_MAX) if text else []
    for part in parts:
        match = _PART.fullmatch(part.strip())
        if match is None or match[1] not in TOPICS or len(parts) > _PARTS_MAX:
            raise InputError(
                f"{field} is {text[:60]!r}; expected the position of an earlier answer, "
                "such as metrics.points/0@57",
                field=field,
            )
        key = (match[1], int(match[2]))
        offsets[key] = max(offsets.get(key, 0), int(match[3]))
    return offsets


def _text(offsets: Offsets) -> str:
    return ",".join(f"{topic}/{part}@{offsets[topic, part]}" for topic, part in sorted(offsets))
