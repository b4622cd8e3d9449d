"""Answers and errors in Prometheus' shapes, as bytes.

https://prometheus.io/docs/prometheus/latest/querying/api/#format-overview
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from operator import add

import msgspec
import numpy as np

from streams.errors import InputError, LogfireMcpError, Overloaded, ProjectionError, QueryError
from streams.promql.answer import Answer
from streams.promql.frames import Floats

NOTES_MAX = 10
"""Warnings, and infos, that an answer tells."""

_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Reply:
    """``data``: JSON. Warnings and infos stand beside it."""

    data: bytes
    warnings: tuple[str, ...] = ()
    infos: tuple[str, ...] = ()

    @classmethod
    def of(cls, data: object, *, truncated: bool = False) -> Reply:
        """Anything that JSON can say; ``truncated``: a limit cut it."""
        return cls(_encode(data), (TRUNCATED,) if truncated else ())


TRUNCATED = "results truncated due to limit"


def success(reply: Reply) -> bytes:
    """The body of an answer."""
    parts = [b'{"status":"success","data":', reply.data]
    for name, notes in ((b"warnings", reply.warnings), (b"infos", reply.infos)):
        if notes:
            parts += [b',"', name, b'":', _encode(notes[:NOTES_MAX])]
    return b"".join([*parts, b"}"])


def failure(kind: str, message: str) -> bytes:
    """The body of an error; ``kind`` is one of Prometheus' error types."""
    return _encode({"status": "error", "errorType": kind, "error": message})


def failure_of(error: Exception) -> tuple[int, str, str]:
    """Status, error type and message. What is not ours is told without its text."""
    match error:
        case QueryError():
            return error.status, error.kind, str(error)
        case InputError():
            return error.status, "bad_data", str(error)
        case TimeoutError():
            return 503, "timeout", "the query took too long"
        case Overloaded():
            return 503, "unavailable", str(error)
        case ProjectionError():
            return 503, "unavailable", str(error)
        case LogfireMcpError():
            return 500, "internal", str(error)
        case _:
            return 500, "internal", "something went wrong here; the server's log says what"


def encode_answer(answer: Answer, at_ms: int) -> Reply:
    """The value of an expression; ``at_ms``: the time of a string, which has none of its own."""
    warnings = tuple(f"PromQL warning: {text}" for text in answer.warnings)
    infos = tuple(f"PromQL info: {text}" for text in answer.infos)
    head = b'{"resultType":"%s","result":' % answer.kind.encode()
    return Reply(head + _result(answer, at_ms) + b"}", warnings, infos)


def _result(answer: Answer, at_ms: int) -> bytes:
    if answer.kind == "string":
        return b"[" + time_text(at_ms).encode() + b"," + _encode(answer.text) + b"]"
    if answer.kind == "scalar":
        text = number_text(float(answer.value[0]), exponents=False)
        return f'[{time_text(at_ms)},"{text}"]'.encode()
    pairs = _pairs(answer)
    rows = []
    key, opened, closed = (
        ('"value":', "", "") if answer.kind == "vector" else ('"values":', "[", "]")
    )
    ends: Sequence[int] = answer.offsets.tolist()
    for labels, begin, end in zip(answer.labels, ends, ends[1:], strict=False):
        metric = _encode(dict(labels)).decode()
        samples = '"],'.join(pairs[begin:end]) + '"]'
        rows.append(f'{{"metric":{metric},{key}{opened}{samples}{closed}}}')
    return f"[{','.join(rows)}]".encode()


def _pairs(answer: Answer) -> list[str]:
    """``[time,"value`` of each sample: the rest of each stands between two, too."""
    begun = map(_Begun().__getitem__, answer.at_ms.tolist())
    return list(map(add, begun, _number_texts(answer.value)))


class _Begun(dict[int, str]):
    """The same steps come again in each series."""

    def __missing__(self, at_ms: int) -> str:
        text = self[at_ms] = f'[{time_text(at_ms)},"'
        return text


def _number_texts(value: Floats) -> list[str]:
    """`number_text` of each, faster: most are as Python tells them, or nearly."""
    size = np.abs(value)
    if (size < 2**53).all() and (value == np.floor(value)).all():
        texts = list(map(str, value.astype(np.int64).tolist()))
        for row in np.flatnonzero((size == 0) & np.signbit(value)).tolist():
            texts[row] = "-0"
        return texts
    texts = list(map(repr, value.tolist()))
    usual = (size == 0) | ((size >= 1e-4) & (size < 1e16))
    with np.errstate(invalid="ignore"):  # NaN
        whole = usual & (value == np.floor(value))
    for row in np.flatnonzero(whole).tolist():
        texts[row] = texts[row][:-2]
    for row in np.flatnonzero(~usual).tolist():
        texts[row] = number_text(float(value[row]))
    return texts


def time_text(at_ms: int) -> str:
    """Unix seconds, with three digits after the point unless they are zero.

    >>> time_text(1_435_781_430_781), time_text(-500), time_text(2_000)
    ('1435781430.781', '-0.500', '2')
    """
    seconds, rest = divmod(abs(at_ms), 1_000)
    sign = "-" if at_ms < 0 else ""
    return f"{sign}{seconds}.{rest:03d}" if rest else f"{sign}{seconds}"


def number_text(value: float, *, exponents: bool = True) -> str:
    """The shortest digits that read back the same. ``exponents``: with one below 1e-6 and from
    1e21, as samples have it; scalars never do.

    >>> [number_text(v) for v in (1.0, 0.00001, 1e20, 1e21, 1e-7, -0.0, float("inf"))]
    ['1', '0.00001', '100000000000000000000', '1e+21', '1e-07', '-0', '+Inf']
    >>> number_text(1e-7, exponents=False)
    '0.0000001'
    """
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    text = repr(value)
    if "e" not in text:
        return text.removesuffix(".0")
    if not exponents or 1e-6 <= abs(value) < 1e21:
        return format(Decimal(text), "f")
    return text
