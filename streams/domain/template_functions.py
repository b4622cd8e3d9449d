"""The functions of annotation templates, as Prometheus has them, and Go's way to write values.

Sources: https://prometheus.io/docs/prometheus/latest/configuration/template_reference/ and Go's
fmt. `ValueError` for arguments that they do not take.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

Value = Any
"""str, float, bool or a mapping of them."""

_VERB = re.compile(r"%([-+# 0]*)([0-9]{1,2})?(?:\.([0-9]{1,2})?)?([a-zA-Z%])", re.ASCII)
_NUMBER = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?", re.ASCII)
_LARGE = ("k", "M", "G", "T", "P", "E", "Z", "Y")
_SMALL = ("m", "u", "n", "p", "f", "a", "z", "y")
_BINARY = ("ki", "Mi", "Gi", "Ti", "Pi", "Ei", "Zi", "Yi")


def text_of(value: Value) -> str:
    """A value as Go's ``%v`` writes it.

    >>> text_of(3.0), text_of(-1e-5), text_of(2_500_000.0), text_of({"b": "1", "a": "x"})
    ('3', '-1e-05', '2.5e+06', 'map[a:x b:1]')
    """
    match value:
        case bool():
            return "true" if value else "false"
        case float():
            return _number_text(value)
        case Mapping():
            return "map[" + " ".join(f"{k}:{text_of(value[k])}" for k in sorted(value)) + "]"
        case _:
            return str(value)


def truth(value: Value) -> bool:
    """Whether ``if`` and ``with`` take a value: not empty, not zero, not false."""
    return bool(value)


def number_of(value: Value) -> float:
    """A number, or a text that is one; `ValueError` for others."""
    if isinstance(value, float):
        return value
    if isinstance(value, str):
        if _NUMBER.fullmatch(value):
            return float(value)
        if value.lstrip("+-").lower() in ("inf", "infinity", "nan"):
            return float(value)
    raise ValueError(f"{text_of(value)!r} is not a number")


def humanize(value: Value) -> str:
    """With SI prefixes.

    >>> humanize(1234567.0), humanize(0.012), humanize(math.inf)
    ('1.235M', '12m', '+Inf')
    """
    number = number_of(value)
    return _scaled(number, _LARGE, 1_000) if abs(number) >= 1 else _small(number)


def humanize_1024(value: Value) -> str:
    """With binary prefixes.

    >>> humanize_1024(1536.0)
    '1.5ki'
    """
    return _scaled(number_of(value), _BINARY, 1_024)


def humanize_duration(value: Value) -> str:
    """Seconds in days, hours, minutes and seconds.

    >>> humanize_duration("43200"), humanize_duration(0.25), humanize_duration(90061.0)
    ('12h 0m 0s', '250ms', '1d 1h 1m 1s')
    """
    number = number_of(value)
    if not math.isfinite(number):
        return _short(number)
    if abs(number) < 1:
        return _small(number) + "s"
    sign, number = ("-" if number < 0 else ""), abs(number)
    minutes, seconds = divmod(int(number), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{sign}{days}d {hours}h {minutes}m {seconds}s"
    if hours:
        return f"{sign}{hours}h {minutes}m {seconds}s"
    return f"{sign}{minutes}m {seconds}s" if minutes else f"{sign}{_short(number)}s"


def humanize_percentage(value: Value) -> str:
    """A ratio as per cent.

    >>> humanize_percentage(0.05123)
    '5.123%'
    """
    return _short(number_of(value) * 100) + "%"


def humanize_timestamp(value: Value) -> str:
    """Unix seconds as a time in UTC.

    >>> humanize_timestamp(1435065584.128)
    '2015-06-23 13:19:44.128 +0000 UTC'
    """
    number = number_of(value)
    if not math.isfinite(number):
        return _short(number)
    # as Prometheus: nanoseconds, then milliseconds, each cut
    milliseconds = math.trunc(math.trunc(number * 1e9) / 10**6)
    try:
        moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=milliseconds)
    except OverflowError:
        raise ValueError(f"{text_of(number)} is not a time of the years 1 to 9999") from None
    fraction = f".{moment.microsecond:06d}".rstrip("0") if moment.microsecond else ""
    return f"{moment:%Y-%m-%d %H:%M:%S}{fraction} +0000 UTC"


def printf(layout: Value, *arguments: Value) -> str:
    """Go's, with the verbs v, s, q, d, t, e, f, g, x and their flags; widths up to 99.

    What does not fit is told in place, as Go does.

    >>> printf("%.2f of %s", 2.0, "x"), printf("%d", 1.5)
    ('2.00 of x', '%!d(float64=1.5)')
    """
    if not isinstance(layout, str):
        raise ValueError("printf wants a layout in quotes first")
    left = list(arguments)

    def written(match: re.Match[str]) -> str:
        if match[4] == "%":
            return "%"
        return _verb(match, left.pop(0)) if left else f"%!{match[4]}(MISSING)"

    text = _VERB.sub(written, layout)
    if left:
        extra = ", ".join(f"{_go_type(value)}={text_of(value)}" for value in left)
        text += f"%!(EXTRA {extra})"
    return text


def _verb(match: re.Match[str], value: Value) -> str:
    flags, width, verb = match[1], int(match[2] or 0), match[4]
    points = f".{match[3] or 0}" if "." in match[0] else ""
    if isinstance(value, float) and verb in "efgEFGv":
        text = _float_verb(value, verb, points, plus="+" in flags)
    elif isinstance(value, str) and verb in "svqx":
        value = value[: int(points[1:])] if points else value
        text = _quoted(value) if verb == "q" else value
        text = value.encode().hex() if verb == "x" else text
    elif verb == "v" or (isinstance(value, bool) and verb == "t"):
        text = text_of(value)
    else:
        return f"%!{verb}({_go_type(value)}={text_of(value)})"
    if "-" in flags:
        return text.ljust(width)
    if "0" in flags and isinstance(value, float) and math.isfinite(value):
        return text.zfill(width)
    return text.rjust(width)


def _float_verb(value: float, verb: str, points: str, *, plus: bool) -> str:
    if not math.isfinite(value):
        text = _short(value)
        return text.removeprefix("+") if not plus and verb != "v" and math.isnan(value) else text
    if verb in "gGv" and not points:
        text = _number_text(value)
    else:
        text = f"%{points}{'g' if verb == 'v' else verb}" % value
    return f"+{text}" if plus and not text.startswith("-") else text


def _number_text(value: float) -> str:
    """The shortest text that reads back, with an exponent from 1e6 on and below 1e-4."""
    if not math.isfinite(value):
        return _short(value)
    number = Decimal(repr(value))
    exponent = number.adjusted() if number else 0
    if -4 <= exponent < 6:
        return repr(value).removesuffix(".0")
    digits = "".join(map(str, number.as_tuple().digits)).rstrip("0")
    mantissa = digits[0] + ("." + digits[1:] if digits[1:] else "")
    return f"{'-' if value < 0 else ''}{mantissa}e{exponent:+03d}"


def _short(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return f"{value:.4g}"


def _scaled(number: float, prefixes: tuple[str, ...], step: int) -> str:
    chosen = ""
    if math.isfinite(number):
        for prefix in prefixes:
            if abs(number) < step:
                break
            chosen, number = prefix, number / step
    return _short(number) + chosen


def _small(number: float) -> str:
    chosen = ""
    if number and math.isfinite(number):
        for prefix in _SMALL:
            if abs(number) >= 1:
                break
            chosen, number = prefix, number * 1_000
    return _short(number) + chosen


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def _go_type(value: Value) -> str:
    match value:
        case bool():
            return "bool"
        case float():
            return "float64"
        case str():
            return "string"
        case _:
            return "map[string]string"


def _index(value: Value, *keys: Value) -> Value:
    for key in keys:
        if not isinstance(value, Mapping):
            raise ValueError(f"index of {text_of(value)!r}, which has no fields")
        value = value.get(key, "")
    return value


def _equal(first: Value, *others: Value) -> bool:
    return any(first == other for other in others)


def _less(first: Value, second: Value) -> bool:
    if isinstance(first, str) != isinstance(second, str):
        raise ValueError(f"{text_of(first)!r} and {text_of(second)!r} cannot be compared")
    return bool(first < second)


def _all(*values: Value) -> Value:
    return next((value for value in values if not truth(value)), values[-1])


def _any(*values: Value) -> Value:
    return next((value for value in values if truth(value)), values[-1])


FUNCTIONS: Final[Mapping[str, tuple[Callable[..., Value], int, int]]] = {
    "humanize": (humanize, 1, 1),
    "humanize1024": (humanize_1024, 1, 1),
    "humanizeDuration": (humanize_duration, 1, 1),
    "humanizePercentage": (humanize_percentage, 1, 1),
    "humanizeTimestamp": (humanize_timestamp, 1, 1),
    "printf": (printf, 1, 16),
    "toUpper": (lambda value: text_of(value).upper(), 1, 1),
    "toLower": (lambda value: text_of(value).lower(), 1, 1),
    "index": (_index, 2, 2),
    "eq": (_equal, 2, 16),
    "ne": (lambda first, second: first != second, 2, 2),
    "lt": (_less, 2, 2),
    "le": (lambda first, second: not _less(second, first), 2, 2),
    "gt": (lambda first, second: _less(second, first), 2, 2),
    "ge": (lambda first, second: not _less(first, second), 2, 2),
    "and": (_all, 1, 16),
    "or": (_any, 1, 16),
    "not": (lambda value: not truth(value), 1, 1),
}
"""Each with the number of arguments that it takes, from and to."""
