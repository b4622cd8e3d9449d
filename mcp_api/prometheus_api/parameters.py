"""What a request asks: its fields from the URL and the form, read as Prometheus reads them."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import parse_qsl

from streams.domain.durations import parse_duration_ms
from streams.errors import InputError
from streams.events.batch import AT_MS_MAX, AT_MS_MIN

FIELDS_MAX = 1_024
DURATION_MS_MAX = 2**63 // 1_000_000
"""292 years: what a Go duration holds."""

# The ends of time that Prometheus' own clients send for "all".
_ENDS = {
    "-292273086-05-16T16:47:06Z": AT_MS_MIN,
    "292277025-08-18T07:12:54.999999999Z": AT_MS_MAX,
    "+292277025-08-18T07:12:54.999999999Z": AT_MS_MAX,
}
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,4})?", re.ASCII)
_RFC_3339 = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.([0-9]{1,9}))?"
    r"(Z|[+-][0-9]{2}:[0-9]{2})",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class Parameters:
    """Names and values in order, the form's before the URL's; every error is an `InputError`."""

    fields: tuple[tuple[str, str], ...]

    @classmethod
    def parse(cls, query: bytes, form: bytes) -> Parameters:
        """Both are URL-encoded UTF-8, of at most `FIELDS_MAX` fields each."""
        fields: list[tuple[str, str]] = []
        for encoded in (form, query):
            try:
                fields += parse_qsl(
                    encoded.decode("utf-8"),
                    keep_blank_values=True,
                    errors="strict",
                    max_num_fields=FIELDS_MAX,
                )
            except ValueError as error:  # also UnicodeDecodeError
                raise InputError(
                    f"error parsing form values: not UTF-8 text of at most {FIELDS_MAX} fields"
                ) from error
        return cls(tuple(fields))

    def text(self, name: str) -> str:
        """The first value, empty where there is none."""
        return next((value for key, value in self.fields if key == name), "")

    def all(self, name: str) -> Sequence[str]:
        """Every value."""
        return [value for key, value in self.fields if key == name]

    def time_ms(self, name: str, default: int | None = None) -> int:
        """Unix milliseconds; a time is RFC 3339 or Unix seconds. None: it must be given."""
        text = self.text(name)
        if not text and default is not None:
            return default
        try:
            return parse_time(text)
        except ValueError as error:
            raise invalid(name, str(error)) from error

    def duration_ms(self, name: str) -> int | None:
        """Milliseconds of seconds or of a duration such as ``1h30m``; None where not given."""
        text = self.text(name)
        if not text:
            return None
        try:
            return parse_duration(text)
        except ValueError as error:
            raise invalid(name, str(error)) from error

    def limit(self, name: str, limit_max: int) -> int:
        """At least 1 and at most ``limit_max``, which 0 and nothing mean too."""
        text = self.text(name)
        if not text:
            return limit_max
        if not re.fullmatch(r"[+-]?[0-9]{1,18}", text, re.ASCII):
            raise invalid(name, f"cannot parse {_quoted(text)} to a whole number")
        number = int(text)
        if number < 0:
            raise invalid(name, f"{name} must be non-negative")
        return min(number or limit_max, limit_max)


def invalid(name: str, problem: str) -> InputError:
    """The error for one parameter, as Prometheus words it."""
    return InputError(f'invalid parameter "{name}": {problem}', field=name)


def parse_time(text: str) -> int:
    """Unix milliseconds of RFC 3339 or Unix seconds; `ValueError` for what is neither.

    >>> parse_time("2015-07-01T20:10:30.781Z"), parse_time("1435781430.781")
    (1435781430781, 1435781430781)
    """
    refused = ValueError(f"cannot parse {_quoted(text)} to a valid timestamp")
    if text in _ENDS:
        return _ENDS[text]
    if _NUMBER.fullmatch(text):
        seconds = float(text)
        if not math.isfinite(seconds):
            raise refused
        whole = math.trunc(seconds)
        return whole * 1_000 + round((seconds - whole) * 1_000)
    match = _RFC_3339.fullmatch(text)
    if match is None:
        raise refused
    try:
        moment = datetime.fromisoformat(match[1] + ("+00:00" if match[3] == "Z" else match[3]))
        delta = moment - datetime(1970, 1, 1, tzinfo=UTC)
    except (ValueError, OverflowError):
        raise refused from None
    return (delta.days * 86_400 + delta.seconds) * 1_000 + int((match[2] or "").ljust(3, "0")[:3])


def parse_duration(text: str) -> int:
    """Milliseconds, rounded down, of seconds (``90.5``) or of ``1h30m``; `ValueError` otherwise.

    >>> parse_duration("1h30m"), parse_duration("90.5")
    (5400000, 90500)
    """
    if _NUMBER.fullmatch(text):
        seconds = float(text)
        duration = seconds * 1_000
    else:
        try:
            duration = parse_duration_ms(text)
        except ValueError:
            raise ValueError(f"cannot parse {_quoted(text)} to a valid duration") from None
    if not -DURATION_MS_MAX <= duration <= DURATION_MS_MAX:
        raise ValueError(f"cannot parse {_quoted(text)} to a valid duration: it is over 292 years")
    return math.floor(round(duration, 6))


def _quoted(text: str) -> str:
    shown = text if len(text) <= 80 else text[:79] + "…"
    return f'"{shown}"'
