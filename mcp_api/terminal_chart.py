"""Charts of plain text: one line a series, eight heights a character."""

from __future__ import annotations

import math
from collections.abc import Sequence

HEIGHTS = "▁▂▃▄▅▆▇█"
GAP = " "


def sparkline(values: Sequence[float | None], width: int, low: float, high: float) -> str:
    """At most ``width`` characters between ``low`` and ``high``; where there are more values, each
    character is the mean of its share. None and what is not finite leave a gap.

    >>> sparkline([0.0, 1.0, None, 7.0], 10, 0.0, 7.0)
    '▁▂ █'
    >>> sparkline([5.0, 5.0], 10, 5.0, 5.0)
    '▄▄'
    """
    count = min(len(values), width)
    shares = [
        values[i * len(values) // count : (i + 1) * len(values) // count] for i in range(count)
    ]
    return "".join(_height(share, low, high) for share in shares)


def bounds(values: Sequence[float | None]) -> tuple[float, float]:
    """The smallest and the largest finite value; zeros where there is none.

    >>> bounds([3.0, None, float("inf"), 1.0])
    (1.0, 3.0)
    """
    finite = [value for value in values if value is not None and math.isfinite(value)]
    return min(finite, default=0.0), max(finite, default=0.0)


def _height(share: Sequence[float | None], low: float, high: float) -> str:
    finite = [value for value in share if value is not None and math.isfinite(value)]
    if not finite:
        return GAP
    # Parts are taken before they are added: the sum or span of large values may overflow.
    span = high / 2 - low / 2
    if span <= 0:
        return HEIGHTS[len(HEIGHTS) // 2 - 1]
    place = sum((value / 2 - low / 2) / span / len(finite) for value in finite)
    return HEIGHTS[min(max(round(place * (len(HEIGHTS) - 1)), 0), len(HEIGHTS) - 1)]
