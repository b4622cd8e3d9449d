"""Durations as Prometheus writes them: ``5m``, ``1h30m``, ``500ms``.

https://prometheus.io/docs/prometheus/latest/querying/basics/#float-literals-and-time-durations
"""

from __future__ import annotations

import re
from typing import Final

UNITS_MS: Final = {
    "y": 365 * 86_400_000,
    "w": 7 * 86_400_000,
    "d": 86_400_000,
    "h": 3_600_000,
    "m": 60_000,
    "s": 1_000,
    "ms": 1,
}
_DURATION = re.compile("".join(rf"(?:([0-9]{{1,15}}){unit})?" for unit in UNITS_MS), re.ASCII)


def parse_duration_ms(text: str) -> int:
    """Milliseconds; units from large to small, each once, or ``0``. `ValueError` for other texts.

    >>> parse_duration_ms("1h30m"), parse_duration_ms("0")
    (5400000, 0)
    """
    match = _DURATION.fullmatch(text)
    if text == "0":
        return 0
    if match is None or not text:
        raise ValueError(f"{text[:40]!r} is not a duration such as 30s, 5m or 1h30m")
    counts = [int(count or 0) for count in match.groups()]
    return sum(n * ms for n, ms in zip(counts, UNITS_MS.values(), strict=True))


def duration_text(duration_ms: int) -> str:
    """What `parse_duration_ms` reads back, without weeks and years; ``0s`` for zero.

    >>> duration_text(5_400_000), duration_text(90_500)
    ('1h30m', '1m30s500ms')
    """
    parts = []
    for unit in ("d", "h", "m", "s", "ms"):
        count, duration_ms = divmod(duration_ms, UNITS_MS[unit])
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"
