"""Which series a selection means: Prometheus' matchers over series texts, pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import assert_never

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from projections.answers import Matcher
from projections.series import SeriesTable
from streams.errors import InputError
from streams.events.labels import NAME, parse_series

PATTERN_BYTES_MAX = 1_024
"""A regular expression's length."""


@dataclass(frozen=True, slots=True)
class Matched:
    """Series that match, by id ascending; ``labels[i]`` are those of ``ids[i]`` with
    ``__name__``."""

    ids: tuple[int, ...]
    labels: tuple[dict[str, str], ...]


def match_series(
    known: SeriesTable, names: Sequence[str] | None, matchers: Sequence[Matcher]
) -> Matched:
    """The series with one of these names (None: any) for which every matcher holds.

    Raises `InputError` for an invalid or over-long regular expression, whatever series there are.
    """
    for matcher in matchers:
        check_matcher(matcher)
    if names is None:
        ids: Sequence[int] = range(len(known))
    else:
        ids = sorted({number for name in names for number in known.named(name)})
    labels = [_labels(known.texts[number]) for number in ids]
    keep = np.ones(len(labels), dtype=np.bool_)
    for matcher in matchers:
        keep &= _holds(matcher, [one.get(matcher.label, "") for one in labels])
    rows = np.flatnonzero(keep).tolist()
    return Matched(tuple(ids[i] for i in rows), tuple(labels[i] for i in rows))


def check_matcher(matcher: Matcher) -> None:
    """`InputError` for a regular expression that RE2 refuses, or that is too long."""
    if matcher.op not in ("=~", "!~"):
        return
    if len(matcher.value.encode("utf-8", "surrogatepass")) > PATTERN_BYTES_MAX:
        raise InputError(
            f"the regular expression for {matcher.label!r} is longer than {PATTERN_BYTES_MAX} bytes"
        )
    import pyarrow.compute as pc  # late: 9 MB that an idle server does without

    try:
        pc.match_substring_regex(pa.array([""]), matcher.value)
    except (pa.ArrowException, UnicodeEncodeError) as error:
        raise InputError(
            f"{matcher.value!r} is not a valid regular expression (RE2) for label "
            f"{matcher.label!r}: {error}"
        ) from error


def _labels(text: str) -> dict[str, str]:
    name, labels = parse_series(text)
    return {NAME: name, **labels}


def _holds(matcher: Matcher, values: list[str]) -> npt.NDArray[np.bool_]:
    match matcher.op:
        case "=":
            return np.array([value == matcher.value for value in values], dtype=np.bool_)
        case "!=":
            return np.array([value != matcher.value for value in values], dtype=np.bool_)
        case "=~" | "!~":
            # Late: the engine's matchers bring 9 MB that an idle server does without.
            from streams.promql import matchers

            asked = matchers.Matcher(matcher.label, matcher.op, matcher.value)
            return matchers.matches(asked, values)
        case _:
            assert_never(matcher.op)
