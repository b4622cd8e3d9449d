"""Names in a text exposition: any UTF-8 for a scraper that reads it, legacy names for the others.

https://prometheus.io/docs/instrumenting/content_negotiation/, and ``EscapeName`` in
github.com/prometheus/common/model: the schemes are Prometheus' own.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, assert_never, get_args

Scheme = Literal["allow-utf-8", "underscores", "dots", "values"]

_PLAIN = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*", re.ASCII)
_PLAIN_METRIC = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Format:
    """What a scraper reads: the version of the text format, how names are escaped for it."""

    version: str = "0.0.4"
    scheme: Scheme = "underscores"

    @property
    def content_type(self) -> bytes:
        """Of an answer in it."""
        told = f"text/plain; version={self.version}; charset=utf-8; escaping={self.scheme}"
        return told.encode()


def format_asked(accept: str) -> Format:
    """What an ``Accept`` says of ``text/plain``; names of UTF-8 need version 1.0.0.

    >>> format_asked("text/plain;version=1.0.0;escaping=allow-utf-8;q=0.6,text/plain;version=0.0.4")
    Format(version='1.0.0', scheme='allow-utf-8')
    >>> format_asked("text/plain;version=0.0.4;escaping=dots, */*")
    Format(version='0.0.4', scheme='dots')
    """
    for part in accept.split(","):
        kind, *parameters = (one.strip() for one in part.split(";"))
        if kind != "text/plain":
            continue
        told = dict(one.split("=", 1) for one in parameters if "=" in one)
        version = "1.0.0" if told.get("version") == "1.0.0" else "0.0.4"
        asked = told.get("escaping")
        for scheme in get_args(Scheme):
            if scheme == asked and (version == "1.0.0" or scheme != "allow-utf-8"):
                return Format(version, scheme)
        return Format(version)
    return Format()


def is_plain(name: str, *, metric: bool) -> bool:
    """Whether every version of Prometheus reads it as it stands."""
    return (_PLAIN_METRIC if metric else _PLAIN).fullmatch(name) is not None


def escaped(name: str, scheme: Scheme, *, metric: bool) -> str:
    """The name as it is written, without quotes; different names may become the same.

    >>> [escaped("http.in_flight", s, metric=True) for s in ("underscores", "dots", "values")]
    ['http_in_flight', 'http_dot_in__flight', 'U__http_2e_in__flight']
    >>> escaped("http.in_flight", "allow-utf-8", metric=True)
    'http.in_flight'
    """
    if scheme == "allow-utf-8" or (scheme != "dots" and is_plain(name, metric=metric)):
        return name
    written = "".join(_written(name, at, scheme, metric=metric) for at in range(len(name)))
    return "U__" + written if scheme == "values" else written


def _written(name: str, at: int, scheme: Scheme, *, metric: bool) -> str:
    one = name[at]
    plain = is_plain(one if at == 0 else "_" + one, metric=metric)
    match scheme:
        case "allow-utf-8":
            return one
        case "underscores":
            return one if plain else "_"
        case "dots":
            return {"_": "__", ".": "_dot_"}.get(one, one if plain else "__")
        case "values":
            return "__" if one == "_" else one if plain else f"_{ord(one):x}_"
        case _:
            assert_never(scheme)
