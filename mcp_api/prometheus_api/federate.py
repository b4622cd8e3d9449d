"""``GET /federate?match[]=…``: the newest sample of each selected series, for another Prometheus.

https://prometheus.io/docs/prometheus/latest/federation/
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from mcp_api.asgi import Headers, Receive, Refusal, Scope, Send, header, send_bytes, send_refusal
from mcp_api.prometheus_api.encoding import failure_of, number_text
from mcp_api.prometheus_api.exposed_names import Format, Scheme, escaped, format_asked, is_plain
from mcp_api.prometheus_api.parameters import Parameters, invalid
from mcp_api.prometheus_api.route import PrometheusApi, takes_gzip
from mcp_api.tools.prometheus_names import is_observed, unique
from projections.reading import Ending
from streams.errors import (
    InputError,
    LogfireMcpError,
    Overloaded,
    QueryCancelled,
    QuerySyntaxError,
)
from streams.events.batch import MetricType
from streams.events.labels import NAME

if TYPE_CHECKING:
    from projections.promql_newest import NewestSample

LOOKBACK_MS = 300_000
SERIES_MAX = 100_000
SELECTORS_MAX = 100
INSTANCE = "instance"

_SUFFIXES = ("_total", "_bucket", "_count", "_sum")


class Federate:
    """The handler; it takes turns with the queries of `PrometheusApi`."""

    def __init__(self, api: PrometheusApi) -> None:
        self._api = api

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The text, or a refusal."""
        form = format_asked(header(scope, b"accept"))
        headers: Headers = ((b"vary", b"accept, accept-encoding"),)
        try:
            selectors = _selectors(Parameters.parse(scope["query_string"], b""))

            def made(now_ms: int, ending: Ending) -> bytes:
                found = self._api.queries(ending).newest(
                    selectors, now_ms, lookback_ms=LOOKBACK_MS, limit=SERIES_MAX
                )
                return "".join(exposition(found, form)).encode()

            zipped = takes_gzip(header(scope, b"accept-encoding"))
            body, zipped = await self._api.in_turn(receive, made, zipped=zipped)
        except QueryCancelled:  # who asked is gone
            return
        except (LogfireMcpError, TimeoutError) as error:
            await send_refusal(send, _refusal(error))
            return
        if zipped:
            headers += ((b"content-encoding", b"gzip"),)
        await send_bytes(send, 200, form.content_type, body, headers)


def exposition(samples: Iterable[NewestSample], form: Format) -> Iterator[str]:
    """All samples of a name together, by name, each with its time.

    A type is told where the name keeps to the convention for it; observations, and names whose
    series do not agree, are ``untyped``. A series without an ``instance`` gets an empty one, which
    keeps a scraper with ``honor_labels`` from adding its own (as Prometheus does). Where escaping
    makes two names one, the later one gets a hash of its own.
    """
    families: dict[str, list[NewestSample]] = {}
    for one in samples:
        families.setdefault(dict(one.labels)[NAME], []).append(one)
    taken: set[str] = set()
    for name in sorted(families, key=lambda name: (not is_plain(name, metric=True), name)):
        told = unique(escaped(name, form.scheme, metric=True), name, taken)
        yield from _family(name, told, families[name], form)


def _family(name: str, told: str, samples: Sequence[NewestSample], form: Format) -> Iterator[str]:
    plain = is_plain(told, metric=True)
    shown = told if plain else f'"{_quoted(told)}"'
    units = {one.unit for one in samples}
    unit = units.pop() if len(units) == 1 else ""
    about = f"{name} in {unit}" if unit else name
    yield f"# HELP {shown} {_escaped(about)}\n"
    yield f"# TYPE {shown} {_type(told, samples)}\n"
    for one in sorted(samples, key=lambda one: one.labels):
        pairs = _pairs(one, form)
        start = f"{told}{{" if plain else "{" + ",".join([shown, ""])
        yield f"{start}{','.join(pairs)}}} {number_text(one.value)} {one.at_ms}\n"


def _type(name: str, samples: Iterable[NewestSample]) -> str:
    types = {one.type for one in samples}
    kind = types.pop()
    if types or is_observed(kind):
        return "untyped"
    by_convention = kind == MetricType.COUNTER if name.endswith("_total") else False
    if kind == MetricType.GAUGE:
        by_convention = not name.endswith(_SUFFIXES)
    return kind if by_convention else "untyped"


def _pairs(one: NewestSample, form: Format) -> list[str]:
    tags = {INSTANCE: "", **dict(one.labels)}
    del tags[NAME]
    names = {tag: _label_name(tag, form.scheme) for tag in sorted(tags)}
    if len(set(names.values())) < len(names):  # then no name is quoted
        taken: set[str] = set()
        in_order = sorted(names, key=lambda tag: (not is_plain(tag, metric=False), tag))
        names = {tag: unique(names[tag], tag, taken) for tag in in_order}
    return [f'{name}="{_quoted(tags[tag])}"' for tag, name in names.items()]


@lru_cache(maxsize=10_000)
def _label_name(tag: str, scheme: Scheme) -> str:
    """As it is written, in quotes where it needs them."""
    told = escaped(tag, scheme, metric=False)
    if told.startswith("__") and scheme != "allow-utf-8":  # reserved for Prometheus itself
        told = f"tag{told}"
    return told if is_plain(told, metric=False) else f'"{_quoted(told)}"'


def _selectors(parameters: Parameters) -> Sequence[str]:
    asked = parameters.all("match[]")
    if not asked:
        raise InputError(
            "no match[] parameter provided; say which series, as in "
            '/federate?match[]={__name__=~"system_.+"}',
            field="match[]",
        )
    if len(asked) > SELECTORS_MAX:
        raise invalid("match[]", f"there are {len(asked)}, at most {SELECTORS_MAX} are taken")
    return asked


def _refusal(error: Exception) -> Refusal:
    if isinstance(error, QuerySyntaxError):
        error = invalid("match[]", str(error))
    status, _, message = failure_of(error)
    retry_after_s = error.retry_after_s if isinstance(error, Overloaded) else None
    return Refusal(status, message, retry_after_s=retry_after_s)


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n")


def _quoted(text: str) -> str:
    return _escaped(text).replace('"', '\\"')
