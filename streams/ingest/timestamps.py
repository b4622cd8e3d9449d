"""A point's `timestamp` as Unix milliseconds, from ISO 8601 text or a Unix time.

A number below 1e11 counts seconds (it reaches the year 5138), from there to 1e14 milliseconds
(which begin in March 1973). Milliseconds of 1970 to 1973 would be read as seconds of a far future
and are therefore refused as such, never taken for another time. Fractions of a millisecond are cut.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import numpy as np
import pyarrow as pa

from streams.events.batch import Ints
from streams.ingest.parsed import shown

ABSENT: Final = int(np.iinfo(np.int64).min)
"""Stands in a column of times for a point that states none."""

FUTURE_MS_MAX: Final = 600_000
"""How far a point's time may lie after the time of receipt."""

_MS_FROM = 1e11
_MS_BELOW = 1e14
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_ISO = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d)(:\d\d)?(?:\.(\d{1,9}))?([Zz]|[+-]\d\d(?::?\d\d)?)", re.ASCII
)
_NO_OFFSET = re.compile(r"\d{4}-\d\d-\d\d([Tt ]\d\d:\d\d(:\d\d)?(\.\d+)?)?", re.ASCII)
_EXPECTED = "expected ISO 8601 with offset, such as 2026-01-31T12:00:00Z, or Unix seconds"
_LOOKED_AT = (
    64  # where most of these differ, Arrow parses; else each is parsed once, looked up after
)
_COLUMN_TEXT_MIN = 20  # shorter texts leave out minutes, which Arrow would take and we do not


def time_ms(stated: str | float) -> int:
    """Unix milliseconds of one stated time; `ValueError` with a sentence that starts ``timestamp``.

    >>> time_ms("2026-01-31T13:00:00.5+01:00"), time_ms(1769860800.5), time_ms(1769860800500)
    (1769860800500, 1769860800500, 1769860800500)
    """
    at_ms = _text_ms(stated) if isinstance(stated, str) else _number_ms(stated)
    if at_ms < 0:
        raise ValueError(f"timestamp is {shown(stated)}, before 1970; {_EXPECTED}")
    return at_ms


def times_column(stated: Sequence[str | float | None]) -> Ints:
    """The times of many points, `ABSENT` for None; `ValueError` where `time_ms` raises it.

    A request mostly states one time, or a few again and again: each distinct one is parsed once.
    """
    count = len(stated)
    if stated[-1] == stated[0] and stated.count(stated[0]) == count:
        return np.full(count, _or_absent(stated[0]), np.int64)
    beginning = stated[:_LOOKED_AT]
    many = count > _LOOKED_AT and len(set(beginning)) > _LOOKED_AT // 2
    if many and (column := _text_column(stated)) is not None:
        return column
    return np.fromiter(map(_Times().__getitem__, stated), np.int64, count)


class _Times(dict[str | float | None, int]):
    """Stated times to milliseconds, each parsed when it is first asked for."""

    def __missing__(self, stated: str | float | None) -> int:
        at_ms = self[stated] = _or_absent(stated)
        return at_ms


def _or_absent(stated: str | float | None) -> int:
    return ABSENT if stated is None else time_ms(stated)


def _text_column(stated: Sequence[str | float | None]) -> Ints | None:
    """Arrow's parser takes a part of what `time_ms` takes, and gives the same; None: ask that."""
    import pyarrow.compute as pc  # late: 9 MB that an idle server does without

    try:
        texts = pa.array(stated, pa.utf8())
        if texts.null_count or pc.min(pc.binary_length(texts)).as_py() < _COLUMN_TEXT_MIN:
            return None
        moments = texts.cast(pa.timestamp("us", "UTC"))
    except (pa.ArrowException, UnicodeError):
        return None
    at_ms: Ints = moments.cast(pa.int64()).to_numpy() // 1000
    return at_ms if int(at_ms.min()) >= 0 else None


def _text_ms(stated: str) -> int:
    match = _ISO.fullmatch(stated)
    if match is None:
        if _NO_OFFSET.fullmatch(stated):
            raise ValueError(f"timestamp is {shown(stated)}, without an offset; {_EXPECTED}")
        raise ValueError(f"timestamp is {shown(stated)}; {_EXPECTED}")
    date, minutes, seconds, fraction, offset = match.groups()
    if fraction and not seconds:
        raise ValueError(f"timestamp is {shown(stated)}; {_EXPECTED}")
    text = f"{date}T{minutes}{seconds or ':00'}.{(fraction or '0')[:6]:0<6}{offset.upper()}"
    try:
        return (datetime.fromisoformat(text) - _EPOCH) // _MILLISECOND
    except (ValueError, OverflowError) as error:
        raise ValueError(f"timestamp is {shown(stated)}, which is no time: {error}") from error


def _number_ms(stated: float) -> int:
    try:
        number = float(stated)
    except OverflowError:
        number = float("inf")
    if not -1 < number < _MS_BELOW:
        raise ValueError(
            f"timestamp is {shown(stated)}, neither Unix seconds nor milliseconds; {_EXPECTED}"
        )
    return int(number) if number >= _MS_FROM else round(number * 1000)
