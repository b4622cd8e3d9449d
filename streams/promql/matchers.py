"""Label matchers: which series a selector means.

A missing label is an empty one. Regular expressions are RE2's (linear time), match the whole value
and let ``.`` match a newline, as Prometheus 3 has it
(https://prometheus.io/docs/prometheus/latest/querying/basics/#instant-vector-selectors).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import pyarrow as pa

from streams.errors import QueryError
from streams.promql.frames import Flags

Operator = Literal["=", "!=", "=~", "!~"]

_SIMPLE: Final = re.compile(r"[A-Za-z0-9_ :/,=@%-]*(?:[.|][A-Za-z0-9_ :/,=@%-]*)*")
"""Letters that mean themselves, ``.`` and alternatives."""


@dataclass(frozen=True)
class Matcher:
    """One condition on one label; a selector's matchers must all hold."""

    name: str
    op: Operator
    value: str

    def __str__(self) -> str:
        return f"{self.name}{self.op}{self.value!r}"


def matches(matcher: Matcher, values: Sequence[str]) -> Flags:
    """Which of these label values the matcher takes; `QueryError` where RE2 refuses its pattern.

    >>> matches(Matcher("job", "=~", "a|b.*"), ["a", "ab", "bc", ""]).tolist()
    [True, False, True, False]
    """
    if matcher.op in ("=", "!="):
        equal = np.fromiter((v == matcher.value for v in values), dtype=np.bool_, count=len(values))
        return equal if matcher.op == "=" else ~equal
    flags = _matched_simply(matcher, values)
    if flags is None:
        flags = _matched_by_re2(matcher, values)
    return flags if matcher.op == "=~" else ~flags


def _matched_simply(matcher: Matcher, values: Sequence[str]) -> Flags | None:
    """For a pattern without repetition, in which Python's engine has nothing to go back for, and
    agrees with RE2; None for others."""
    if matcher.value == ".+":
        return np.fromiter(map(bool, values), dtype=np.bool_, count=len(values))
    if not _SIMPLE.fullmatch(matcher.value):
        return None
    taken = re.compile(matcher.value, re.DOTALL).fullmatch
    return np.fromiter((bool(taken(v)) for v in values), dtype=np.bool_, count=len(values))


def _matched_by_re2(matcher: Matcher, values: Sequence[str]) -> Flags:
    import pyarrow.compute as pc  # late: 9 MB that an idle server does without

    pattern = f"\\A(?s:{matcher.value})\\z"
    try:
        found = pc.match_substring_regex(pa.array(values, type=pa.string()), pattern)
    except pa.ArrowInvalid as problem:
        raise QueryError(f"regular expression of {matcher} is refused: {problem}") from None
    flags: Flags = found.to_numpy(zero_copy_only=False).astype(np.bool_)
    return flags


def takes_absent(matcher: Matcher) -> bool:
    """Whether series without the label are taken.

    >>> takes_absent(Matcher("job", "!=", "a")), takes_absent(Matcher("job", "=~", ".+"))
    (True, False)
    """
    return bool(matches(matcher, [""])[0])
