"""Spans of calls and batches, without a word of OpenTelemetry: who takes them is installed.

By default nobody does, and a span costs a function call. The trace context goes from process to
process as the ``traceparent`` of requests and events (https://www.w3.org/TR/trace-context/).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from itertools import islice
from typing import Final, Protocol

TRACEPARENT: Final = "traceparent"
"""The header of a request, and of a record."""

TRACEPARENT_CHARS_MAX: Final = 128
"""Longer ones are none."""

LINKS_MAX: Final = 32
"""Causes of a batch that its span names beside the first."""

LOOKED_AT_MAX: Final = 256
"""Records of a batch in which causes are looked for."""

_TRACEPARENT: Final = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")

Attributes = Mapping[str, str | int | float]


class Span(Protocol):
    """What lasts; it ends with its ``with`` block, as an error where that raises."""

    def rename(self, name: str) -> None:
        """For what is known only at the end."""
        ...

    def put(self, attributes: Attributes) -> None:
        """Adds attributes."""
        ...

    def fail(self, reason: str) -> None:
        """It went wrong without an exception."""
        ...


class Tracer(Protocol):
    """Takes spans; `mcp_api.observability.spans` is one for OpenTelemetry."""

    def span(
        self, name: str, parents: tuple[str, ...], attributes: Attributes, *, server: bool
    ) -> AbstractContextManager[Span]:
        """``parents``: traceparents, valid or not; the first valid one is the parent, the others
        are linked; without one the parent is the span around it, if any."""
        ...

    def current(self) -> str:
        """The traceparent of the span around it, "" outside of all."""
        ...


class Record(Protocol):
    """A record of the log, as far as it matters here."""

    @property
    def headers(self) -> Mapping[str, str]:
        """Those of `streams.log.protocol.Record`."""
        ...


class _Untraced:
    def rename(self, name: str) -> None:
        """Nothing."""

    def put(self, attributes: Attributes) -> None:
        """Nothing."""

    def fail(self, reason: str) -> None:
        """Nothing."""


_UNTRACED: Final[AbstractContextManager[Span]] = nullcontext(_Untraced())
_tracer: Tracer | None = None


def install(tracer: Tracer | None) -> None:
    """From now on this process' spans go there; None: nowhere."""
    global _tracer  # noqa: PLW0603 - as OpenTelemetry's own provider, one a process
    _tracer = tracer


def on() -> bool:
    """Whether somebody takes spans."""
    return _tracer is not None


def current() -> str:
    """The traceparent of what is under way, for the events that it makes; "" for none."""
    return "" if _tracer is None else _tracer.current()


def traceparent_of(record: Record) -> str:
    """Of the call that a record comes of; "" where nobody traced it."""
    found = record.headers.get(TRACEPARENT, "")
    return found if len(found) <= TRACEPARENT_CHARS_MAX else ""


def ids_of(traceparent: str) -> tuple[int, int, int] | None:
    """Trace, span and flags of a traceparent of version 00; None where it is no valid one.

    >>> ids_of("00-" + "0" * 31 + "7-" + "0" * 15 + "5-01"), ids_of("00-7-5-01")
    ((7, 5, 1), None)
    """
    match = _TRACEPARENT.fullmatch(traceparent)
    if match is None:
        return None
    trace, span_id, flags = (int(part, 16) for part in match.groups())
    return (trace, span_id, flags) if trace and span_id else None


def span(
    name: str, attributes: Attributes | None = None, *, parent: str = "", server: bool = False
) -> AbstractContextManager[Span]:
    """One call. ``parent``: a traceparent, by default that of the span around it; ``server``: it
    answers a request from outside."""
    if _tracer is None:
        return _UNTRACED
    return _tracer.span(name, (parent,) if parent else (), attributes or {}, server=server)


def of_batch(
    name: str, parents: Iterable[str], attributes: Attributes | None = None
) -> AbstractContextManager[Span]:
    """One batch of what several calls caused: a child of the first, linked to the others. What no
    traced call caused makes no span."""
    if _tracer is None:
        return _UNTRACED
    causes = tuple(islice(dict.fromkeys(filter(None, parents)), LINKS_MAX + 1))
    return _tracer.span(name, causes, attributes or {}, server=False) if causes else _UNTRACED


def of_records(
    name: str, records: Iterable[Record], /, **attributes: str | int | float
) -> AbstractContextManager[Span]:
    """One step over records of the log: `of_batch` of the calls that caused them."""
    if _tracer is None:
        return _UNTRACED
    parents = map(traceparent_of, islice(records, LOOKED_AT_MAX))
    return of_batch(name, parents, attributes)
