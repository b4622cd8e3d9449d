"""Alerts that fired or were resolved as OTLP logs, in the trace of what made them.

https://github.com/open-telemetry/opentelemetry-proto/blob/v1.9.0/opentelemetry/proto/logs/v1/logs.proto
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from mcp_api.observability import wire
from streams.errors import PoisonError
from streams.events.alerting import AlertFired, AlertResolved
from streams.events.codec import decode
from streams.log.protocol import Record
from streams.tracing import ids_of, traceparent_of

SEVERITIES: Final[Mapping[str, tuple[int, str]]] = {
    "critical": (21, "FATAL"),
    "high": (17, "ERROR"),
    "medium": (13, "WARN"),
    "low": (10, "INFO2"),
    "info": (9, "INFO"),
}
"""OpenTelemetry's number and text for each severity of a rule; what is resolved is ``INFO``."""

_TOLD: Final = frozenset({"alerts.fired", "alerts.resolved"})


def log_record(record: Record) -> bytes | None:
    """The ``log_records`` entry of a record of the alerts topic; None where it is no firing."""
    name = record.headers.get("ce_type", "").rpartition(".")[0]
    if name not in _TOLD:
        return None
    try:
        event = decode(record.headers, record.body)
    except PoisonError:
        return None  # told as a dead letter by the processor that reads it
    told = event.data
    assert isinstance(told, AlertFired | AlertResolved)
    alert = told.alert
    number, text = SEVERITIES["info"]
    word = "resolved"
    if isinstance(told, AlertFired):
        number, text = SEVERITIES[alert.severity]
        word = "fired"
    attributes = {
        **{f"label.{label}": value for label, value in alert.labels.items()},
        **{f"annotation.{label}": value for label, value in told.annotations.items()},
        "alert.id": alert.alert_id,
        "alert.name": alert.name,
        "alert.fingerprint": alert.fingerprint,
        "alert.severity": alert.severity,
        "alert.value": "" if alert.value is None else str(alert.value),
        "alert.reason": told.reason,
        "event.id": event.envelope.id,
    }
    ids = ids_of(traceparent_of(record))
    trace = b""
    if ids is not None:
        trace = wire.message(9, ids[0].to_bytes(16)) + wire.message(10, ids[1].to_bytes(8))
    return wire.message(
        2,
        wire.fixed64(1, max(told.at_ms, 0) * 1_000_000)
        + wire.count(2, number)
        + wire.text(3, text)
        + wire.message(5, wire.text(1, f"{alert.name} {word}: {told.reason}"))
        + wire.attributes(6, attributes)
        + trace
        + wire.fixed64(11, record.at_ms * 1_000_000)
        + wire.text(12, name),
    )
