"""Events, the log that keeps them, and the deterministic processors over it.

As the data flows::

  setting_kinds  the kinds of values that settings have
  kafka_settings      those of the log on Kafka
  sink_settings       those of what the log is copied to
  telemetry_settings  those of what is told about this server
  config         all settings: the only reader of the environment
  errors         every exception
  references     secrets that configuration refers to
  events         what the log holds: event types, their wire format, batches of samples
  ingest         where samples come in: parsers, the edge, collectors
  log            the event log: its interface, the embedded one, the one on Kafka
  tracing        spans of calls and batches, taken by whoever is installed
  domain         windows, sketches, ticks: pure functions
  promql         the query language over any source of series: pure, too
  processors     folds over one partition: the clock, windows, dead letters
  probes         health checks of MCP servers and others, and what runs them
  runners        what drives the processors
  notifications  the effects that tell somebody outside
  commanding     appends commands, each once
  delivery       records to Kafka until each is acknowledged
  outflow        what a producer has taken and not yet delivered
  producer       for programs that send metrics straight to Kafka

They need only what is here: ``from streams import MetricsProducer``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from streams.log.kafka_config import KafkaConfig
    from streams.producer import MetricsProducer, ProducerStats, Series, SyncMetricsProducer

__all__ = ["KafkaConfig", "MetricsProducer", "ProducerStats", "Series", "SyncMetricsProducer"]


def __getattr__(name: str) -> object:
    """Late: who imports one module of this package does not load a Kafka client."""
    if name == "KafkaConfig":
        from streams.log.kafka_config import KafkaConfig

        return KafkaConfig
    if name in __all__:
        from streams import producer

        return getattr(producer, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
