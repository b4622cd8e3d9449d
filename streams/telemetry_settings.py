"""The settings of what tells Logfire and OpenTelemetry about this server."""

from __future__ import annotations

from pydantic import BaseModel

from streams.setting_kinds import Token, Url, secret, setting


class TelemetrySettings(BaseModel):
    """A part of `streams.config.Settings`. Without a token and without an endpoint nothing is told
    to anybody."""

    logfire_token: Token | None = secret(
        "LOGFIRE_TOKEN", "the write token of a Logfire project: spans and firings go there"
    )
    logfire_base_url: Url | None = setting(
        None, "LOGFIRE_BASE_URL", "of a Logfire of your own; by default the token's region"
    )
    logfire_project_name: str | None = setting(
        None, "LOGFIRE_PROJECT_NAME", "attribute logfire.project_name of all that is sent"
    )
    logfire_service_name: str = setting(
        "logfire-mcp", "LOGFIRE_SERVICE_NAME", "service.name of all that is sent", min_length=1
    )
    environment: str | None = setting(
        None, "ENVIRONMENT", "deployment.environment.name of all that is sent, like production"
    )
    forward_points: bool = setting(
        False, "LOGFIRE_FORWARD_POINTS", "on or off: send all collected points, too"
    )
    otlp_endpoint: Url | None = setting(
        None,
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "an OpenTelemetry collector that takes OTLP over HTTP, like http://localhost:4318, for the "
        "same; the standard's other variables hold, too",
    )
    otlp_traces_endpoint: Url | None = setting(
        None, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "the whole URL for spans, instead"
    )
    otlp_metrics_endpoint: Url | None = setting(
        None, "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "the whole URL for points, instead"
    )
    otlp_logs_endpoint: Url | None = setting(
        None, "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "the whole URL for firings, instead"
    )
