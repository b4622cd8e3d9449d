"""Spans by OpenTelemetry: `streams.tracing.Tracer` over its SDK."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, SpanContext, SpanKind, StatusCode, TraceFlags

from streams.tracing import Attributes, ids_of


class OtelSpan:
    """See `streams.tracing.Span`."""

    __slots__ = ("_span",)

    def __init__(self, span: trace.Span) -> None:
        self._span = span

    def rename(self, name: str) -> None:
        """See `streams.tracing.Span`."""
        self._span.update_name(name)

    def put(self, attributes: Attributes) -> None:
        """See `streams.tracing.Span`."""
        self._span.set_attributes(attributes)

    def fail(self, reason: str) -> None:
        """See `streams.tracing.Span`."""
        self._span.set_status(StatusCode.ERROR, reason)


class OtelTracer:
    """See `streams.tracing.Tracer`; of the provider that is this process' own."""

    def __init__(self) -> None:
        self._tracer = trace.get_tracer("logfire-mcp-server")

    @contextmanager
    def span(
        self, name: str, parents: tuple[str, ...], attributes: Attributes, *, server: bool
    ) -> Iterator[OtelSpan]:
        """See `streams.tracing.Tracer`."""
        contexts = [found for text in parents if (found := _span_context(text)) is not None]
        around: Context | None = None
        if contexts:
            around = trace.set_span_in_context(trace.NonRecordingSpan(contexts[0]))
        with self._tracer.start_as_current_span(
            name,
            context=around,
            kind=SpanKind.SERVER if server else SpanKind.INTERNAL,
            attributes=attributes,
            links=[Link(each) for each in contexts[1:]],
        ) as span:
            yield OtelSpan(span)

    def current(self) -> str:
        """See `streams.tracing.Tracer`."""
        found = trace.get_current_span().get_span_context()
        return _traceparent(found) if found.is_valid else ""


def _span_context(text: str) -> SpanContext | None:
    ids = ids_of(text)
    if ids is None:
        return None
    return SpanContext(ids[0], ids[1], is_remote=True, trace_flags=TraceFlags(ids[2]))


def _traceparent(context: SpanContext) -> str:
    """As https://www.w3.org/TR/trace-context/#traceparent-header has it."""
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"
